"""Nothing that two parties could frame differently gets through the sidecar to a server (reliability reference, HS)."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.settings import HttpSettings
from tests.inbound.http.posts import headers_of, message, written
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar
from tests.wire.loopback import dial
from tests.wire.test_strictness import REFUSED

CALL = message()


def port_of(sidecar: Sidecar) -> int:
    return int(sidecar.address("http").rpartition(":")[2])


@pytest.mark.covers("B-44")
async def test_no_doubtful_request_reaches_a_server_and_each_costs_its_connection():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        for name, (status, sent) in REFUSED.items():
            here = sent.replace(b"POST / ", b"POST /mcp ", 1).replace(b"Host: x", b"Host: localhost", 1)
            async with dial(port_of(sidecar)) as peer:
                await peer.send(here)
                assert (await peer.answer()).status == status, name
                assert await peer.closed(), name
        assert up.connections == 0
        assert [line["execution"] for line in sidecar.calls()] == ["none"] * len(REFUSED)


def _hiding(call: bytes) -> dict[str, bytes]:
    """A call behind the end of one reading of a request, and inside its body in the other."""
    start = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    length = b"Content-Length: %d\r\n" % len(call)
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(call), call)
    return {
        "length then chunks": start + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + call,
        "chunks then length": start + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + chunk,
        "two lengths": start + length + b"Content-Length: 0\r\n\r\n" + call,
        "a coding in disguise": start + length + b"Transfer-Encoding : chunked\r\n\r\n" + call,
        "a folded coding": start + b"Transfer-Encoding:\r\n chunked\r\n" + length + b"\r\n" + call,
        "a coding behind a tab": start + b"Transfer-Encoding:\tchunked\r\n" + length + b"\r\n" + call,
        "a coding behind a vertical tab": start + b"Transfer-Encoding: \x0bchunked\r\n" + length + b"\r\n" + call,
        "a length in another base": start + b"Content-Length: 0x0\r\n\r\n" + call,
        "a length of another alphabet": start + "Content-Length: \u0660\r\n\r\n".encode() + call,
        "a bare CR": start + b"X: a\rContent-Length: 0\r\n" + length + b"\r\n" + call,
        "a bare LF": start.replace(b"\r\n", b"\n", 1) + b"Content-Length: 0\r\n\r\n" + call,
        "a last chunk with a tail": start + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\nZ: a\r\n\r\n" + call,
        "a chunk size with an underscore": start + b"Transfer-Encoding: chunked\r\n\r\n0_0\r\n\r\n" + call,
        "a chunk size beyond 64 bits": start + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + call,
    }


@pytest.mark.covers("B-44")
async def test_a_call_hidden_behind_a_doubtful_length_is_not_found():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        hidden = written(sidecar.url("up"), CALL, headers_of(CALL))
        for name, sent in _hiding(hidden).items():
            async with dial(port_of(sidecar)) as peer:
                await peer.send(sent)
                answers = await peer.rest()
            assert answers.startswith(b"HTTP/1.1 400 "), name
            assert answers.count(b"HTTP/1.1 ") == 1, name
            assert up.connections == 0, name


@pytest.mark.covers("B-44")
async def test_calls_in_one_segment_are_as_many_as_were_sent():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        sent = b"".join(
            written(sidecar.url("up"), body, headers_of(body))
            for body in (message(params={"name": "echo", "arguments": {"text": str(number)}}) for number in range(20))
        )
        async with dial(port_of(sidecar)) as peer:
            await peer.send(sent)
            for number in range(20):
                assert b'"text": "%d"' % number in (await peer.answer()).body
        assert [run.arguments["text"] for run in up.executions] == [str(number) for number in range(20)]


@pytest.mark.covers("B-44")
async def test_a_request_cut_at_any_byte_is_the_same_or_none():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        sent = written(sidecar.url("up"), CALL, headers_of(CALL))
        async with dial(port_of(sidecar)) as peer:
            for cut in range(1, len(sent), 7):
                await peer.send(sent[:cut])
                await asyncio.sleep(0)
                await peer.send(sent[cut:])
                assert (await peer.answer()).status == 200
        ran = len(up.executions)
        for cut in range(1, len(sent), 41):
            async with dial(port_of(sidecar)) as peer:
                await peer.send(sent[:cut])
        assert len(up.executions) == ran
        assert up.violations == []


@pytest.mark.covers("B-44")
@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (b"POST /mcp HTTP/1.1\r\nHost: local", b"HTTP/1.1 408 "),
    ],
    ids=["silent", "half a head"],
)
async def test_a_client_that_does_not_go_on_is_cut_off(sent, answered):
    async with FakeServer() as up, Sidecar({"up": up.url}, http=HttpSettings(header_timeout=0.02)) as sidecar:
        async with dial(port_of(sidecar)) as peer:
            await peer.send(sent)
            said = await peer.rest()
        assert said.startswith(answered)
        assert said == b"" or answered
        assert up.connections == 0


@pytest.mark.covers("B-44")
async def test_a_connection_without_requests_is_closed_after_its_time():
    async with FakeServer() as up, Sidecar({"up": up.url}, http=HttpSettings(idle_timeout=0.02)) as sidecar:
        async with dial(port_of(sidecar)) as peer:
            await peer.send(written(sidecar.url("up"), CALL, headers_of(CALL)))
            assert (await peer.answer()).status == 200
            assert await peer.closed()
