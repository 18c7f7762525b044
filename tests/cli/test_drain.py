"""`mcp-sidecar drain` against raw sockets: what it asks, what it makes of every answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.terminal import typed


class Listener:
    """Answers every request with the same bytes. `asked` are the requests."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self.asked.append(head + await reader.readexactly(length))
        writer.write(self.answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def listening(outcome: object, status: str = "200 OK") -> AsyncIterator[tuple[Listener, str]]:
    body = json.dumps(outcome).encode() if not isinstance(outcome, bytes) else outcome
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    listener = Listener(head + body if status else body)
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0)
    async with server:
        yield listener, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_it_asks_for_the_drain_and_tells_the_outcome():
    async with listening({"phase": "draining", "in_flight": 0}) as (listener, address):
        shown = await typed("drain", "--wait", "12.5", "--address", address)
        assert (shown.code, shown.out, shown.err) == (0, "draining, nothing in flight\n", "")
        head, _, body = listener.asked[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /api/drain HTTP/1.1\r\n")
        assert json.loads(body) == {"wait_seconds": 12.5}


async def test_calls_still_in_flight_at_the_end_are_a_failure():
    async with listening({"phase": "draining", "in_flight": 2}) as (_, address):
        shown = await typed("drain", "--wait", "1", "--address", address)
        assert (shown.code, shown.err) == (1, "draining, 2 calls still in flight\n")


async def test_nobody_listening_is_nothing_to_drain():
    shown = await typed("drain", "--address", "127.0.0.1:1")
    assert shown.code == 0
    assert "nothing is listening on 127.0.0.1:1: nothing to drain" in shown.err


@pytest.mark.parametrize(
    ("outcome", "status", "said"),
    [
        ({}, "403 Forbidden", "answered 403"),
        (b"<html>", "200 OK", "answered 200"),
        ([], "200 OK", "answered 200"),
        (b"", "", "answered nothing that is HTTP"),
        (b"\xff\xfe\r\n\r\n", "", "answered nothing that is HTTP"),
    ],
)
async def test_an_answer_that_is_not_a_sidecars_is_a_failure(outcome, status, said):
    async with listening(outcome, status) as (_, address):
        shown = await typed("drain", "--address", address)
        assert shown.code == 1
        assert said in shown.err


@pytest.mark.parametrize("variable", ["MCP_SIDECAR_HTTP_ADDRESS", "MCP_SIDECAR_LISTEN_HTTP"])
async def test_the_address_is_found_where_the_sidecar_got_it(variable):
    async with listening({"phase": "stopped", "in_flight": 0}) as (_, address):
        _, _, port = address.rpartition(":")
        shown = await typed("drain", environ={variable: f"0.0.0.0:{port}"})
        assert (shown.code, shown.out) == (0, "stopped, nothing in flight\n")
    bad = await typed("drain", environ={variable: "here"})
    assert (bad.code, f"{variable}: " in bad.err) == (2, True)


async def test_a_unix_socket_is_an_address(tmp_path: Path):
    body = b'{"phase": "draining", "in_flight": 0}'
    listener = Listener(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    server = await asyncio.start_unix_server(listener.serve, str(tmp_path / "s"))
    async with server:
        assert (await typed("drain", "--address", f"unix://{tmp_path}/s")).code == 0
    (tmp_path / "s").unlink(missing_ok=True)
    assert (await typed("drain", "--address", f"unix://{tmp_path}/s")).code == 0
    assert not (tmp_path / "s").exists()
