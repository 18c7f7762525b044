"""Slow and silent clients: every deadline, on a clock that moves when told (reliability reference, HS-18)."""

from __future__ import annotations

import asyncio

from mcp_sidecar.wire.http_server import Reply, Request
from mcp_sidecar.wire.limits import ServerLimits
from tests.wire.loopback import BOUND, Clock, Served, dial, echo, serving, until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"


def later(served: Served, clock: Clock, seconds: float) -> None:
    """Let the time pass in sweeps of one second, as the listener's own task would."""
    for _ in range(int(seconds)):
        clock.now += 1
        served.listener.sweep()


async def connected(served: Served, count: int = 1) -> None:
    await until(lambda: served.listener.connections == count)


async def in_body(served: Served, count: int) -> None:
    await until(lambda: any(c._parser.body_bytes == count for c in served.listener._service.connections))


async def test_a_silent_new_connection_is_closed_after_the_header_deadline():
    clock = Clock()
    async with serving(echo, clock=clock) as served, dial(served.port) as peer:
        await connected(served)
        later(served, clock, 10)
        await asyncio.sleep(0.005)
        assert served.listener.connections == 1
        later(served, clock, 2)
        assert await peer.closed()


async def test_empty_lines_do_not_extend_the_header_deadline():
    clock = Clock()
    async with serving(echo, clock=clock) as served, dial(served.port) as peer:
        await connected(served)
        for _ in range(12):
            await peer.send(b"\r\n")
            await asyncio.sleep(0.002)
            later(served, clock, 1)
        assert await peer.closed()


async def test_a_trickling_head_is_answered_408():
    clock = Clock()
    async with serving(echo, clock=clock) as served, dial(served.port) as peer:
        await connected(served)
        for n in range(12):
            await peer.send(GET[n : n + 1])
            await asyncio.sleep(0.002)
            later(served, clock, 1)
        answer = await peer.answer()
        assert (answer.status, answer.headers[b"connection"]) == (408, b"close")
        assert await peer.closed()


async def test_the_head_of_a_later_request_has_its_own_deadline():
    clock = Clock()
    async with serving(echo, clock=clock) as served, dial(served.port) as peer:
        await peer.send(GET)
        await peer.answer()
        later(served, clock, 50)
        await peer.send(GET[:5])
        await until(lambda: any(c._phase.name == "HEAD" for c in served.listener._service.connections))
        later(served, clock, 10)
        await peer.send(GET[5:])
        assert (await peer.answer()).status == 200
        await peer.send(GET[:5])
        await until(lambda: any(c._phase.name == "HEAD" for c in served.listener._service.connections))
        later(served, clock, 12)
        assert (await peer.answer()).status == 408


async def test_an_idle_connection_is_closed_after_its_time():
    clock = Clock()
    async with serving(echo, clock=clock) as served, dial(served.port) as peer:
        await peer.send(GET)
        await peer.answer()
        await until(lambda: all(not c._reply for c in served.listener._service.connections))
        later(served, clock, 75)
        await peer.send(GET)
        assert (await peer.answer()).status == 200
        await until(lambda: all(not c._reply for c in served.listener._service.connections))
        later(served, clock, 77)
        assert await peer.closed()


async def test_a_body_below_the_rate_is_answered_408():
    clock = Clock()
    async with serving(echo, clock=clock) as served, dial(served.port) as peer:
        await peer.send(POST + b"a" * 2000)
        await in_body(served, 2000)
        later(served, clock, 5)
        assert all(not c._lingering for c in served.listener._service.connections)
        later(served, clock, 2)
        assert (await peer.answer()).status == 408


async def test_a_body_at_the_rate_is_served_and_a_fast_begin_buys_no_rest():
    clock = Clock()
    async with serving(echo, clock=clock) as served, dial(served.port) as peer:
        sent = 50_000
        await peer.send(POST + b"a" * sent)
        await in_body(served, sent)
        for _ in range(20):
            later(served, clock, 1)
            sent += 600
            await peer.send(b"a" * 600)
            await in_body(served, sent)
        assert all(not c._lingering for c in served.listener._service.connections)
        later(served, clock, 14)
        assert (await peer.answer()).status == 408


async def test_a_handler_may_take_its_time():
    clock = Clock()
    go_on = asyncio.Event()

    async def slow(request: Request, reply: Reply) -> None:
        await go_on.wait()
        reply.send(200, b"", b"")

    async with serving(slow, clock=clock) as served, dial(served.port) as peer:
        await peer.send(GET)
        await until(lambda: any(c._reply for c in served.listener._service.connections))
        later(served, clock, 1000)
        go_on.set()
        assert (await peer.answer()).status == 200


async def test_a_client_that_does_not_read_is_cut_off():
    clock = Clock()
    ended = asyncio.Event()

    async def endless(request: Request, reply: Reply) -> None:
        reply.start(200, b"")
        try:
            while True:
                await reply.write(b"a" * 10_000)
        finally:
            ended.set()

    async with serving(endless, clock=clock) as served, dial(served.port) as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(GET)
        await until(lambda: any(c._full for c in served.listener._service.connections))
        await asyncio.sleep(0.01)
        later(served, clock, 60)
        assert not ended.is_set()
        later(served, clock, 2)
        async with asyncio.timeout(BOUND):
            await ended.wait()
        await until(lambda: served.listener.connections == 0)
    assert served.faults == []


async def test_a_client_that_reads_slowly_is_not_cut_off():
    clock = Clock()

    async def endless(request: Request, reply: Reply) -> None:
        reply.start(200, b"")
        while True:
            await reply.write(b"a" * 10_000)

    async with serving(endless, clock=clock) as served, dial(served.port) as peer:
        await peer.send(GET)
        await peer.head()
        for _ in range(10):
            later(served, clock, 30)
            for _ in range(2000):
                assert len(await peer.chunk()) == 10_000
        assert served.listener.connections == 1


async def test_a_refused_client_that_stays_is_dropped():
    clock = Clock()
    async with serving(echo, clock=clock) as served, dial(served.port) as peer:
        await peer.send(b"nonsense\r\n\r\n")
        assert (await peer.answer()).status == 400
        await peer.send(b"a" * 1000)
        later(served, clock, 2)
        assert served.listener.connections == 1
        later(served, clock, 2)
        await until(lambda: served.listener.connections == 0)


async def test_the_listener_sweeps_by_itself():
    limits = ServerLimits(header_seconds=0.02)
    async with serving(echo, limits) as served, dial(served.port) as peer:
        assert await peer.closed()
    assert served.listener.connections == 0


async def test_a_thousand_slow_clients_leave_room_for_others():
    clock = Clock()
    limits = ServerLimits(connections_per_peer=400)
    async with serving(echo, limits, clock) as served:
        slow = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(300)]
        for _, writer in slow:
            writer.write(GET[:10])
        await connected(served, 300)
        async with dial(served.port) as peer:
            await peer.send(GET)
            assert (await peer.answer()).status == 200
            later(served, clock, 16)
            await connected(served, 1)
        for _, writer in slow:
            writer.transport.abort()
