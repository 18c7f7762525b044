"""The listener's own life: binding, admission, drain, close."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import struct
from pathlib import Path

import pytest

from mcp_sidecar.wire.http_server import Listener, Reply, Request
from mcp_sidecar.wire.limits import ServerLimits
from tests.wire.loopback import BOUND, Peer, dial, echo, serving, until

GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_drain_closes_the_idle_and_lets_the_busy_finish():
    go_on = asyncio.Event()

    async def wait(request: Request, reply: Reply) -> None:
        if request.head.path == "/wait":
            await go_on.wait()
        reply.send(200, b"", b"done")

    async with serving(wait) as served, dial(served.port) as idle, dial(served.port) as busy, dial(served.port) as late:
        await idle.send(GET)
        assert b"connection" not in (await idle.answer()).headers
        await busy.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await late.send(GET[:10])
        await until(lambda: any(c._reply for c in served.listener._service.connections))
        served.listener.drain()
        assert await idle.closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", served.port)
        for peer in (busy, late):
            if peer is busy:
                go_on.set()
            else:
                await peer.send(GET[10:])
            answer = await peer.answer()
            assert (answer.body, answer.headers[b"connection"]) == (b"done", b"close")
            assert await peer.closed()


async def test_close_ends_every_task():
    started = asyncio.Event()
    ended = asyncio.Event()

    async def stubborn(request: Request, reply: Reply) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.005)
            ended.set()

    async with serving(stubborn) as served, dial(served.port) as peer:
        await peer.send(GET)
        await started.wait()
        await served.listener.close()
        assert ended.is_set()
        assert await peer.closed()


async def test_the_end_of_the_task_group_is_the_end_of_a_request():
    async def wait(request: Request, reply: Reply) -> None:
        await asyncio.Event().wait()

    async def break_off() -> None:
        async with asyncio.TaskGroup() as tasks, contextlib.AsyncExitStack() as stack:
            listeners.append(Listener(wait, ServerLimits(), tasks, on_fault=lambda _: None))
            _, port = await listeners[0].bind("127.0.0.1", 0)
            peer = await stack.enter_async_context(dial(port))
            await peer.send(GET)
            await until(lambda: any(c._reply for c in listeners[0]._service.connections))
            raise ValueError

    listeners: list[Listener] = []
    with pytest.raises(ExceptionGroup):
        await break_off()
    async with asyncio.timeout(BOUND):
        await listeners[0].close()


async def test_a_taken_port_is_an_error():
    async with serving(echo) as served, asyncio.TaskGroup() as tasks:
        second = Listener(echo, ServerLimits(), tasks, on_fault=lambda _: None)
        with pytest.raises(OSError, match=f"Errno {errno.EADDRINUSE}"):
            await second.bind("127.0.0.1", served.port)
        await second.close()


async def test_a_name_with_several_addresses_is_served_on_each():
    async with asyncio.TaskGroup() as tasks:
        listener = Listener(echo, ServerLimits(), tasks, on_fault=lambda _: None)
        _, port = await listener.bind("localhost", 0)
        found = await asyncio.get_running_loop().getaddrinfo("localhost", port, type=socket.SOCK_STREAM)
        for address in {str(entry[4][0]) for entry in found}:
            peer = Peer(*await asyncio.open_connection(address, port))
            await peer.send(GET)
            assert (await peer.answer()).status == 200
            peer.writer.close()
        await listener.close()


async def test_a_unix_socket_is_served_and_removed(tmp_path: Path):
    path = tmp_path / "s"
    async with asyncio.TaskGroup() as tasks:
        first = Listener(echo, ServerLimits(connections_per_peer=0), tasks, on_fault=lambda _: None)
        first.bind_unix(str(path))
        assert path.stat().st_mode & 0o777 == 0o660
        with pytest.raises(OSError, match=f"Errno {errno.EADDRINUSE}"):
            Listener(echo, ServerLimits(), tasks, on_fault=lambda _: None).bind_unix(str(path))
        peer = Peer(*await asyncio.open_unix_connection(path))
        await peer.send(GET)
        assert (await peer.answer()).status == 200
        peer.writer.close()
        await first.close()
    assert not path.exists()


async def test_a_dead_unix_socket_is_replaced_and_a_file_is_not(tmp_path: Path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with asyncio.TaskGroup() as tasks:
        listener = Listener(echo, ServerLimits(), tasks, on_fault=lambda _: None)
        listener.bind_unix(str(path))
        await listener.close()
        path.write_text("precious")
        with pytest.raises(OSError, match=f"Errno {errno.EADDRINUSE}"):
            Listener(echo, ServerLimits(), tasks, on_fault=lambda _: None).bind_unix(str(path))
    assert path.read_text() == "precious"


@pytest.mark.parametrize("limits", [ServerLimits(connections=2), ServerLimits(connections_per_peer=2)])
async def test_a_connection_too_many_is_closed_at_once(limits: ServerLimits):
    async with serving(echo, limits) as served, dial(served.port) as first, dial(served.port) as second:
        for peer in (first, second):
            await peer.send(GET)
            await peer.answer()
        async with dial(served.port) as third:
            assert await third.closed()
        first.writer.close()
        await until(lambda: served.listener.connections == 1)
        async with dial(served.port) as fourth:
            await fourth.send(GET)
            assert (await fourth.answer()).status == 200


async def test_running_out_of_descriptors_neither_spins_nor_ends_the_listener():
    limits = ServerLimits(header_seconds=0.1)  # a tick of 10 ms
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(echo, limits) as served, dial(served.port) as peer:
        await peer.send(GET)
        await peer.answer()
        waiting = socket.socket()
        spare = waiting.fileno() + 1
        calls = 0
        turns = asyncio.get_running_loop()
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
            waiting.setblocking(False)
            assert waiting.connect_ex(("127.0.0.1", served.port)) in (0, errno.EINPROGRESS)
            deadline = turns.time() + 0.04
            while turns.time() < deadline:
                await asyncio.sleep(0.001)
                calls += 1
            await peer.send(GET)
            assert (await peer.answer()).status == 200
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await turns.sock_sendall(waiting, GET)
        async with asyncio.timeout(BOUND):
            assert (await turns.sock_recv(waiting, 100)).startswith(b"HTTP/1.1 200")
        waiting.close()


async def test_who_is_connected_when_the_drain_begins_is_still_served():
    async with serving(echo) as served:
        # Synchronously: the connection is in the backlog and the loop has not heard of it.
        waiting = socket.create_connection(("127.0.0.1", served.port))
        served.listener.drain()
        waiting.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(waiting, GET)
        async with asyncio.timeout(BOUND):
            answer = await asyncio.get_running_loop().sock_recv(waiting, 1000)
        assert answer.startswith(b"HTTP/1.1 200") and b"connection: close" in answer
        waiting.close()


async def test_a_client_that_is_gone_before_it_is_accepted_leaves_its_place():
    async with serving(echo, ServerLimits(connections=1)) as served:
        for _ in range(20):
            gone = socket.create_connection(("127.0.0.1", served.port))
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.close()
            await asyncio.sleep(0.001)
        await until(lambda: served.listener._service.admitted == 0)
        async with dial(served.port) as peer:
            await peer.send(GET)
            assert (await peer.answer()).status == 200


async def test_clients_who_arrive_as_the_group_ends_do_not_hold_up_the_close():
    listeners: list[Listener] = []

    async def break_off() -> None:
        async with asyncio.TaskGroup() as tasks:
            listeners.append(Listener(echo, ServerLimits(), tasks, on_fault=lambda _: None))
            _, port = await listeners[0].bind("127.0.0.1", 0)
            arriving.extend(socket.create_connection(("127.0.0.1", port)) for _ in range(10))
            for sock in listeners[0]._sockets:
                listeners[0]._accept(sock)
            raise ValueError

    arriving: list[socket.socket] = []
    with pytest.raises(ExceptionGroup):
        await break_off()
    async with asyncio.timeout(BOUND):
        await listeners[0].close()
    assert listeners[0]._service.admitted == 0
    for sock in arriving:
        sock.close()


async def test_a_handler_that_wants_to_outlasts_its_client_but_not_the_listener():
    asked = asyncio.Queue[Reply]()
    go_on = asyncio.Event()
    ended: list[str] = []

    async def outlast(request: Request, reply: Reply) -> None:
        reply.outlasting = True
        asked.put_nowait(reply)
        try:
            await go_on.wait()
            assert reply.lost
            reply.send(200, b"", b"nobody hears this")
            ended.append("by itself")
            go_on.clear()
            await go_on.wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with serving(outlast) as served:
        for _ in range(2):
            async with dial(served.port) as peer:
                await peer.send(GET)
                await asked.get()
            await until(lambda: served.listener.connections == 0)
            if not ended:
                go_on.set()
                await until(lambda: bool(ended))
        assert ended == ["by itself"]
    assert ended == ["by itself", "cancelled", "cancelled"]
    assert served.faults == []
