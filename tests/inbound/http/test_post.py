"""Answers to 2025-era clients that take long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mcp_sidecar.call import Client
from mcp_sidecar.inbound.http.opening import read_opening
from mcp_sidecar.inbound.http.post import Post
from mcp_sidecar.inbound.http.sessions import Bond, HttpSession
from mcp_sidecar.inbound.http.silence import Silence
from mcp_sidecar.inbound.http.streams import Room
from mcp_sidecar.protocol.jsonrpc import Request as Question
from mcp_sidecar.protocol.jsonrpc import Response
from mcp_sidecar.wire.http_server import Reply, Request
from tests.inbound.http.posts import written
from tests.inbound.waiting import eventually
from tests.wire.loopback import Peer, dial, serving


@asynccontextmanager
async def silent(end: asyncio.Event, version: str) -> AsyncIterator[Peer]:
    """A peer that has posted a request in a session, at a face that says nothing until `end`."""

    async def handle(request: Request, reply: Reply) -> None:
        waiting = Post(request, read_opening(request.head), reply, "r", Silence(0.005))
        waiting.session = HttpSession(Client("c", version), Bond("", ""), (), Room())
        waiting.silence.add(waiting)
        try:
            await end.wait()
            await waiting.end(Response(b"1", result=b"{}"))
        finally:
            waiting.stop()

    async with serving(handle) as running, dial(running.port) as peer:
        await peer.send(written(f"http://127.0.0.1:{running.port}/", b"{}", []))
        yield peer


@pytest.mark.covers("B-81", "B-85")
@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18"])
async def test_silence_begins_a_stream_and_fills_it_with_comments(version):
    end = asyncio.Event()
    async with silent(end, version) as peer:
        status, headers = await peer.head()
        assert (status, headers[b"content-type"], headers[b"x-request-id"]) == (200, b"text/event-stream", b"r")
        if version == "2025-11-25":
            assert await peer.chunk() == b"id: 1-1\nretry: 1000\ndata: \n\n"
        for _ in range(3):
            assert await peer.chunk() == b": keep-alive\n\n"
        end.set()
        *comments, last = [chunk async for chunk in peer.chunks()]
        assert set(comments) <= {b": keep-alive\n\n"}
        assert last.endswith(b'event: message\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\n\n')
        assert last.startswith(b"id: 1-")


@pytest.mark.covers("B-82", "B-84")
async def test_a_client_that_left_before_a_stream_began_is_asked_and_told_nothing():
    asked: asyncio.Queue[Response] = asyncio.Queue()
    begun = asyncio.Event()

    async def handle(request: Request, reply: Reply) -> None:
        reply.outlasting = True
        leaving = Post(request, read_opening(request.head), reply, "r", Silence(10))
        leaving.session = HttpSession(Client("c", "2025-11-25"), Bond("", ""), (), Room())
        begun.set()
        await eventually(lambda: reply.lost)
        await leaving.notify("notifications/progress", b"{}")
        asked.put_nowait(await leaving.ask(Question("elicitation/create", b"7")))
        await leaving.end(Response(b"1", result=b"{}"))

    async with serving(handle) as running:
        async with dial(running.port) as peer:
            await peer.send(written(f"http://127.0.0.1:{running.port}/", b"{}", []))
            await begun.wait()
        async with asyncio.timeout(5):
            answer = await asked.get()
    assert (answer.id, answer.result) == (b"7", None)
    assert running.faults == []
