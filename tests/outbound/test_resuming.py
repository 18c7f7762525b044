"""Streams of 2025-11-25 servers that break off and go on over another connection."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.errors import Execution, SidecarError, Unavailable
from mcp_sidecar.outbound import http_legacy
from tests.outbound.links import Heard, a_call, ask, client_in, legacy, text_of, tool
from tests.support.fake_server import FakeServer


def polite(server: FakeServer) -> bool:
    return server.violations == []


@pytest.mark.covers("B-12")
@pytest.mark.parametrize("retry_ms", [10, 30])
async def test_a_stream_that_ends_early_is_resumed_after_the_time_asked_for(retry_ms: int):
    async with FakeServer("legacy", priming=True, retry_ms=retry_ms) as server, legacy(server.url) as link:
        sink = Heard()
        answer = await link.exchange(tool(link, "reconnect", progressToken="t"), a_call(), sink)
        assert text_of(answer) == "reconnected"
        assert [params["message"] for params in sink.of("notifications/progress")] == ["before", "after"]
        called = next(received for received in server.requests if received.tool)
        (resumed,) = [received for received in server.requests if received.method == "GET"]
        assert resumed.headers["last-event-id"].rpartition("-")[2] == "2"
        assert resumed.at - called.at >= retry_ms / 1000 - 0.005  # the clocks of uvloop count milliseconds
        assert len(server.executions) == 1 and polite(server)


@pytest.mark.covers("B-12")
async def test_a_stream_that_is_cut_after_an_event_id_is_resumed():
    async with FakeServer("legacy", priming=True) as server, legacy(server.url) as link, asyncio.TaskGroup() as tasks:
        spoke = asyncio.Event()
        request = tool(link, "hold", {"gate": "g", "text": "held"}, progressToken=1)
        running = tasks.create_task(link.exchange(request, a_call(), Heard(spoke.set)))
        await spoke.wait()
        for wire in tuple(server._wires):
            wire.reset()
        await server.until(lambda s: any("last-event-id" in received.headers for received in s.requests))
        server.release("g")
        assert text_of(await running) == "held"
        assert len(server.executions) == 1 and polite(server)


async def test_a_plain_answer_after_a_priming_event_needs_no_second_connection():
    async with FakeServer("legacy", priming=True) as server, legacy(server.url) as link:
        assert await ask(link, "echo", {"text": "hi"}) == "hi"
        assert not any(received.method == "GET" for received in server.requests)


async def test_the_connection_that_resumed_a_stream_is_closed_when_the_answer_is_there():
    async with FakeServer("legacy", priming=True) as server, legacy(server.url) as link:
        for _ in range(3):
            await ask(link, "reconnect")
        assert client_in(link).busy_sockets == 0
        await server.until(lambda s: s.open_connections == client_in(link).open_sockets)


async def test_cancelling_a_call_between_two_connections_notifies_the_server():
    async with FakeServer("legacy", priming=True) as server, legacy(server.url) as link, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(ask(link, "reconnect", {"held": True}))
        await server.until(lambda s: any("last-event-id" in received.headers for received in s.requests))
        running.cancel()
        await server.until(lambda s: s.cancelled)
        assert server.cancelled[0].how == "notified"
        assert client_in(link).busy_sockets == 0


@pytest.mark.covers("B-12", "B-22")
async def test_a_call_whose_stream_cannot_be_resumed_may_have_run():
    async with FakeServer("legacy", priming=True, retry_ms=1) as server, legacy(server.url) as link:
        await link.open()
        async with asyncio.TaskGroup() as tasks:
            spoke = asyncio.Event()
            call = a_call()
            request = tool(link, "hold", {"gate": "g"}, progressToken=1)
            running = tasks.create_task(failure(link.exchange(request, call, Heard(spoke.set))))
            await spoke.wait()
            await server.stop()
            error = await running
        assert isinstance(error, Unavailable)
        assert error.execution is call.execution is Execution.UNKNOWN
        assert len(server.executions) == 1


@pytest.mark.parametrize(
    "rudeness", ["404_once", "status_401", "status_500", "html200", "reset", "closes_before_reply"]
)
async def test_a_refused_resumption_leaves_it_open_whether_the_call_ran(rudeness: str):
    async with FakeServer("legacy", priming=True, retry_ms=1, script={"GET": rudeness}) as server:
        async with legacy(server.url) as link:
            call = a_call()
            error = await failure(link.exchange(tool(link, "reconnect"), call, Heard()))
            assert error.execution is call.execution is Execution.UNKNOWN
            assert len(server.executions) == 1
            assert client_in(link).busy_sockets == 0


async def test_a_server_that_never_gets_to_an_answer_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_legacy, "_MAX_RESUMES", 3)
    async with FakeServer("legacy", priming=True, retry_ms=1, script={"GET": "ends_without_final"}) as server:
        async with legacy(server.url) as link:
            error = await failure(link.exchange(tool(link, "reconnect"), a_call(), Heard()))
            assert "again and again" in error.message
            assert error.execution is Execution.UNKNOWN
            assert client_in(link).busy_sockets == 0


async def failure(running: object) -> SidecarError:
    with pytest.raises(SidecarError) as caught:
        await running  # type: ignore[misc]
    return caught.value
