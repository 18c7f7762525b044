"""What of a client's headers is taken, returned, logged and sent on; and what never is."""

from __future__ import annotations

import re

import pytest

from tests.inbound.http.posts import Pairs, headers_of, message, post
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

CALL = message()
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
CANARY = "canary-5f1c"


@pytest.mark.covers("B-35")
@ERAS
async def test_the_request_id_of_the_client_is_returned_logged_and_sent_on(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), CALL, x_request_id="caller-7")
        assert answer.headers["x-request-id"] == "caller-7"
        assert len(sidecar.calls(request_id="caller-7", code="OK")) == 1
        assert up.requests[-1].headers["x-request-id"] == "caller-7"


@pytest.mark.covers("B-35")
@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "a\tb"])
async def test_a_request_id_that_is_none_is_replaced_by_one_of_ours(given):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        made = [(await post(sidecar.url("up"), CALL, x_request_id=given)).headers["x-request-id"] for _ in range(2)]
        assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in made)
        assert made[0] != made[1]


@pytest.mark.covers("B-22", "B-35")
@pytest.mark.parametrize(
    ("path", "changes", "status"),
    [
        ("up", {"mcp_name": "x"}, 400),
        ("up", {"accept": "text/html"}, 406),
        ("up", {"content_type": "text/plain"}, 415),
        ("up", {"origin": "null"}, 403),
        ("nobody", {}, 404),
    ],
)
async def test_a_refusal_carries_the_request_id_and_says_that_nothing_ran(path, changes, status):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url(path), CALL, x_request_id="caller-8", **changes)
        assert answer.status == status
        assert answer.headers["x-request-id"] == "caller-8"
        assert answer.headers["mcp-sidecar-execution"] == "none"
        assert len(sidecar.calls(request_id="caller-8", execution="none")) == 1


@pytest.mark.covers("B-35")
@ERAS
async def test_a_trace_goes_on_in_header_and_message(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        await post(sidecar.url("up"), CALL, traceparent=TRACE, tracestate="a=1")
        heard = up.requests[-1]
        for carrier in (heard.headers, heard.meta):
            assert (carrier["traceparent"], carrier["tracestate"]) == (TRACE, "a=1")
        assert sidecar.calls()[0]["trace_id"] == TRACE[3:35]


@pytest.mark.covers("B-35")
@pytest.mark.parametrize("parent", ["", "00-0-0-00", TRACE.upper(), "ff" + TRACE[2:], TRACE.replace("4bf9", "zzzz")])
async def test_a_malformed_trace_is_dropped_and_harms_nothing(parent):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        assert (await post(sidecar.url("up"), CALL, traceparent=parent, tracestate="a=1")).status == 200
        assert "traceparent" not in up.requests[-1].headers
        assert "tracestate" not in up.requests[-1].headers
        assert "traceparent" not in up.requests[-1].meta


@pytest.mark.covers("B-35")
@ERAS
async def test_nothing_else_of_the_client_goes_upstream_and_no_secret_is_logged(era):
    foreign: Pairs = [
        (name, f"{CANARY}-{name}")
        for name in (
            "authorization", "proxy-authorization", "cookie", "x-upstream-authorization", "x-forwarded-for", "via",
            "forwarded", "user-agent", "referer", "x-custom", "mcp-session-id", "last-event-id", "x-api-key",
        )
    ]  # fmt: skip
    body = message(params={"name": "echo", "arguments": {"text": f"{CANARY}-argument"}})
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), body, [*headers_of(body), *foreign])
        assert answer.facts == (200, None)
        heard = [value for received in up.requests for value in received.headers.values()]
        assert not [value for value in heard if CANARY in value]
        assert not [line for line in sidecar.lines if CANARY in str(line)]
        assert "mcp-session-id" not in answer.headers
        assert up.violations == []


@pytest.mark.covers("B-35")
@ERAS
async def test_hop_headers_of_the_client_end_here(era):
    pairs: Pairs = [
        ("TE", "trailers"),
        ("Keep-Alive", "timeout=5"),
        ("Connection", "keep-alive, x-hop"),
        ("X-Hop", "1"),
    ]
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        assert (await post(sidecar.url("up"), CALL, [*headers_of(CALL), *pairs])).status == 200
        assert not {"te", "keep-alive", "x-hop"} & set(up.requests[-1].headers)


@pytest.mark.covers("B-30", "B-35")
async def test_a_line_of_the_log_cannot_be_forged():
    body = message(params={"name": 'a"\n{"event":"forged"}', "arguments": {}})
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        await post(sidecar.url("up"), body, mcp_name="=?base64?YSIKeyJldmVudCI6ImZvcmdlZCJ9?=")
        assert [line["event"] for line in sidecar.lines if line["event"] == "forged"] == []
        assert sidecar.calls()[0]["name"] == 'a"\n{"event":"forged"}'
