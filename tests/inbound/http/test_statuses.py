"""Every refusal has the status the specification gives it, and the client learns whether the call may have run."""

from __future__ import annotations

import json

import pytest

from mcp_sidecar.settings import AdmissionSettings, TimeoutSettings, UpstreamSettings
from tests.inbound.http.posts import Answer, exchanged, headers_of, message, post, written
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.sidecar import Sidecar
from tests.wire.loopback import dial

CALL = message()


@pytest.mark.covers("B-42")
@pytest.mark.parametrize("verb", ["GET", "HEAD", "DELETE", "PUT", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/mcp", "/servers/up/mcp"])
async def test_other_verbs_than_post_are_405_and_told_what_is_allowed(verb, path):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        url = f"http://{sidecar.address('http')}{path}"
        async with raw_http.opened(verb, url, headers={"MCP-Protocol-Version": "2026-07-28"}) as exchange:
            assert exchange.status == 405
            assert exchange.headers["allow"] == "POST"
        assert up.connections == 0


@pytest.mark.covers("B-42")
@pytest.mark.parametrize(
    "path",
    ["/mcp/", "/mcp/x", "/servers/up", "/servers/up/mcp/", "/servers/UP/mcp", "/servers//mcp", "/servers/../mcp",
     "/servers/a%2fb/mcp", "/servers/up/mcp;x", "/mcp%0a", "/api/drain/", "/servers/" + "a" * 64 + "/mcp", "//mcp"],
)  # fmt: skip
async def test_other_paths_are_404(path):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        url = f"http://{sidecar.address('http')}{path}"
        assert (await post(url, CALL)).status == 404
        assert up.connections == 0


@pytest.mark.covers("B-40", "B-42")
async def test_a_query_changes_nothing():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        body, headers = Modern("").compose("tools/list")
        reply = await raw_http.request("POST", sidecar.url() + "?a=/servers/x/mcp", body, headers)
        assert reply.status == 200


@pytest.mark.covers("B-42")
@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json, text/event-stream", 200),
        ("text/event-stream;q=0.9,application/json;q=1", 200),
        ("APPLICATION/JSON, Text/Event-Stream", 200),
        ("*/*", 200),
        ("application/*, text/*", 200),
        (None, 200),
        ("application/json", 406),
        ("text/event-stream", 406),
        ("text/html", 406),
        ("application/jsonp, text/event-stream", 406),
        ("application/*", 406),
    ],
)
async def test_a_client_has_to_take_json_and_events(accept, status):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        assert (await post(sidecar.url("up"), CALL, accept=accept)).status == status


@pytest.mark.covers("B-42")
async def test_what_a_client_accepts_may_stand_in_two_fields():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        pairs = [*headers_of(CALL, accept="application/json"), ("Accept", "text/event-stream")]
        assert (await post(sidecar.url("up"), CALL, pairs)).status == 200


@pytest.mark.covers("B-42")
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"content_type": "application/json; charset=utf-8"}, 200),
        ({"content_type": "Application/JSON"}, 200),
        ({"content_type": "application/json-rpc"}, 415),
        ({"content_type": "application/jsonx"}, 415),
        ({"content_type": ""}, 415),
        ({"content_encoding": "gzip"}, 415),
        ({"content_encoding": "identity"}, 200),
    ],
)
async def test_only_plain_json_is_taken(changes, status):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        assert (await post(sidecar.url("up"), CALL, **changes)).status == status


@pytest.mark.covers("B-03", "B-42")
async def test_a_body_of_four_mebibytes_passes_and_one_byte_more_does_not():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        small = message(params={"name": "echo", "arguments": {"text": ""}})
        room = 4 * 1024 * 1024 - len(small)
        fits = message(params={"name": "echo", "arguments": {"text": "x" * room}})
        assert len(fits) == 4 * 1024 * 1024
        assert (await post(sidecar.url("up"), fits)).status == 200
        before = len(up.requests)
        assert (await post(sidecar.url("up"), fits.replace(b'"x', b'"xx', 1))).status == 413
        assert len(up.requests) == before


@pytest.mark.covers("B-42")
async def test_a_body_announced_too_large_is_refused_before_it_is_sent():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        sent = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\nExpect: 100-continue\r\n\r\n"
        assert (await exchanged(sidecar.url(), sent)).status == 413


async def _told(sidecar: Sidecar, body: bytes, path: str = "up") -> Answer:
    answer = await post(sidecar.url(path), body)
    (line,) = sidecar.calls(request_id=answer.headers["x-request-id"])
    assert line["execution"] == answer.headers["mcp-sidecar-execution"]
    return answer


@pytest.mark.covers("B-22", "B-30", "B-42")
@pytest.mark.parametrize(
    ("body", "facts"),
    [
        (message("tools/unknown"), (404, -32601)),
        (message(params={"name": "nothing"}), (400, -32602)),
        (message("resources/read", {"uri": "fake://nothing"}), (400, -32602)),
        (message(params={"name": "crash", "arguments": {"code": -32603}}), (200, -32603)),
        (message(params={"name": "crash", "arguments": {"code": -32021}}), (400, -32021)),
        (message(params={"name": "crash", "arguments": {"code": -40000}}), (200, -40000)),
        (message(params={"name": "fail"}), (200, None)),
    ],
)
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_what_a_server_says_keeps_its_meaning_and_gets_its_status(era, body, facts):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        answer = await _told(sidecar, body)
        assert answer.facts == facts, answer
        assert answer.message["id"] == 1
        assert answer.headers["mcp-sidecar-execution"] == "done"


@pytest.mark.covers("B-01", "B-42")
async def test_a_failing_tool_is_a_result():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), message(params={"name": "fail"}))
        assert answer.message["result"]["isError"] is True


@pytest.mark.covers("B-22", "B-30")
@pytest.mark.parametrize(
    ("rudeness", "facts", "execution"),
    [
        ("html200", (502, -32603), "unknown"),
        ("closes_before_reply", (502, -31014), "unknown"),
        ("reset", (502, -31014), "unknown"),
        ("status_500", (502, -32603), "unknown"),
        ("status_503", (502, -31014), "unknown"),
        ("status_401", (502, -31014), "none"),
        ("wrong_id", (502, -32603), "unknown"),
    ],
)
async def test_a_server_that_fails_is_a_bad_gateway(rudeness, facts, execution):
    async with FakeServer(script={"tools/call": rudeness}) as up, Sidecar({"up": up.url}) as sidecar:
        answer = await _told(sidecar, CALL)
        assert answer.facts == facts, answer
        assert answer.headers["mcp-sidecar-execution"] == execution
        assert answer.message["error"]["data"]["execution"] == execution


@pytest.mark.covers("B-16")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_redirect_is_not_followed(era):
    async with FakeServer(era, script={"tools/call": "status_307"}) as up, Sidecar({"up": up.url}) as sidecar:
        answer = await _told(sidecar, CALL)
        assert answer.facts == (502, -32603)
        assert answer.headers["mcp-sidecar-execution"] == "none"
        assert all(received.http.target == "/mcp" for received in up.requests)
        assert b"location" not in answer.body.lower()


@pytest.mark.covers("B-22")
async def test_a_server_that_is_not_there_is_a_bad_gateway_and_nothing_ran():
    async with FakeServer() as up:
        url = up.url
    async with Sidecar({"up": url}) as sidecar:
        answer = await _told(sidecar, CALL)
        assert answer.facts == (502, -31014)
        assert answer.headers["mcp-sidecar-execution"] == "none"


@pytest.mark.covers("B-21", "B-22")
async def test_a_call_beyond_its_time_is_a_gateway_timeout():
    async with FakeServer() as up:
        patient = UpstreamSettings(name="up", url=up.url, timeout=TimeoutSettings(call=0.03))
        async with Sidecar({"up": patient}) as sidecar:
            # Connected and asked for its era, within one such time or two.
            while (await post(sidecar.url("up"), CALL)).status != 200:
                pass
            answer = await _told(sidecar, message(params={"name": "hold", "arguments": {"gate": "never"}}))
            assert answer.facts == (504, -31004)
            assert answer.headers["mcp-sidecar-execution"] == "unknown"
            await up.until(lambda up: up.cancelled)


@pytest.mark.covers("B-09", "B-42")
async def test_a_server_nobody_configured_is_404_with_those_there_are():
    async with FakeServer() as up, Sidecar({"up": up.url, "other": up.url}) as sidecar:
        answer = await _told(sidecar, CALL, "nobody")
        assert answer.facts == (404, -32602)
        assert "up, other" in answer.message["error"]["message"]
        assert up.connections == 0


@pytest.mark.covers("B-172", "B-42")
async def test_a_name_of_several_servers_is_404_on_the_path_of_all():
    async with FakeServer() as up, Sidecar({"up": up.url, "other": up.url}) as sidecar:
        answer = await _told(sidecar, CALL, "")
        assert answer.facts == (404, -32602)
        assert "'up__echo' or 'other__echo'" in answer.message["error"]["message"]
        assert up.executions == []


@pytest.mark.covers("B-22")
async def test_a_full_sidecar_says_when_to_come_back():
    async with (
        FakeServer() as up,
        Sidecar({"up": up.url}, admission=AdmissionSettings(in_flight=1)) as sidecar,
        Modern(sidecar.url("up")).opened("tools/call", {"name": "hold", "arguments": {"gate": "g"}}, progressToken=1),
    ):
        answer = await _told(sidecar, CALL)
        assert answer.facts == (503, -31008)
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["mcp-sidecar-execution"] == "none"
        up.release("g")


@pytest.mark.covers("B-40")
async def test_a_notification_is_taken_and_dropped():
    body = json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}).encode()
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        for changes in ({}, {"mcp_method": None}):
            answer = await post(sidecar.url("up"), body, **changes)
            assert (answer.status, answer.body) == (202, b"")
        assert (await post(sidecar.url("up"), body, mcp_method="tools/call")).facts == (400, -32020)
        assert up.connections == 0


@pytest.mark.covers("B-40", "B-42")
async def test_after_a_refusal_the_connection_goes_on():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        async with dial(int(sidecar.address("http").rpartition(":")[2])) as peer:
            for changes, status in (({"accept": "text/html"}, 406), ({"mcp_name": "x"}, 400), ({}, 200)):
                await peer.send(written(sidecar.url("up"), CALL, headers_of(CALL, **changes)))
                assert (await peer.answer()).status == status
