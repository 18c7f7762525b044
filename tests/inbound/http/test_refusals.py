"""Requests that cannot even be read are calls too: one answer that says so, one log line, one sample."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from mcp_sidecar.settings import HttpSettings
from tests.inbound.http.posts import exchanged, headers_of, message, written
from tests.inbound.waiting import eventually
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar
from tests.wire.loopback import dial

CALL = message()


CODES = {413: "RESOURCE_EXHAUSTED", 414: "RESOURCE_EXHAUSTED", 431: "RESOURCE_EXHAUSTED", 501: "UNIMPLEMENTED"}


def unreadable(url: str) -> dict[int, bytes]:
    return {
        400: b"nonsense\r\n\r\n",
        413: written(url, b"a" * 2000, headers_of(CALL)),
        414: b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        431: b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 101 + b"\r\n",
        501: b"PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n",
    }


@pytest.mark.covers("B-30", "B-31")
@pytest.mark.parametrize("status", sorted(unreadable("http://x/")))
async def test_what_cannot_be_read_is_answered_logged_and_counted_once(status: int):
    async with FakeServer() as up, Sidecar({"up": up.url}, http=HttpSettings(max_body=1000)) as sidecar:
        answer = await exchanged(sidecar.url("up"), unreadable(sidecar.url("up"))[status])
        assert answer.status == status
        assert answer.headers["mcp-sidecar-execution"] == "none"
        (line,) = sidecar.calls()
        code = CODES.get(status, "INVALID_ARGUMENT")
        assert line["code"] == code
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.body.decode() == f"{line['error']}\n"
        assert line["execution"] == "none"
        assert line["request_id"] == answer.headers["x-request-id"]
        assert line["peer"].startswith("127.0.0.1:")
        page = (await raw_http.request("GET", f"http://{sidecar.address('metrics')}/metrics", b"", {})).body
        assert f'mcp_sidecar_calls_total{{code="{code}",execution="none"}} 1'.encode() in page
        assert up.connections == 0


@pytest.mark.covers("B-30")
async def test_a_head_that_never_ends_is_logged_when_it_is_given_up():
    async with FakeServer() as up, Sidecar({"up": up.url}, http=HttpSettings(header_timeout=0.2)) as sidecar:
        async with dial(urlsplit(sidecar.url("up")).port or 0) as peer:
            await peer.send(b"POST / HTTP/1.1\r\n")
            assert (await peer.answer()).status == 408
            await eventually(sidecar.calls)
            assert [line["error"] for line in sidecar.calls()] == ["the head took too long"]


async def test_who_connects_and_says_nothing_is_no_call():
    async with FakeServer() as up, Sidecar({"up": up.url}, http=HttpSettings(header_timeout=0.2)) as sidecar:
        async with dial(urlsplit(sidecar.url("up")).port or 0) as peer:
            assert await peer.closed()
        await asyncio.sleep(0)
        assert sidecar.calls() == []
