"""How the client's sockets end, are kept, are given up and are held back."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from mcp_sidecar.wire.http_client import ConnectFailed, ConnectionLost, HttpClient, Origin
from mcp_sidecar.wire.limits import ClientLimits
from tests.wire.loopback import BOUND, OK, Peer, calling, get, origin, replying, request_of, until


async def test_a_server_that_dies_before_a_byte_of_the_reply():
    async with origin(replying(b"", close=True)) as server, calling(server.port) as client:
        with pytest.raises(ConnectionLost) as lost:
            await get(client)
        assert (lost.value.sent, lost.value.reply_started) == (True, False)
        assert client.open_sockets == 0


@pytest.mark.parametrize(
    "part", [OK[:5], OK[:-3], OK[:-1], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"]
)
async def test_a_server_that_dies_within_the_reply(part: bytes):
    async with origin(replying(part, close=True)) as server, calling(server.port) as client:
        with pytest.raises(ConnectionLost) as lost:
            await get(client)
        assert (lost.value.sent, lost.value.reply_started) == (True, True)
        assert client.open_sockets == 0


async def test_a_kept_connection_that_dies_under_the_next_request():
    async def script(peer: Peer) -> None:
        await request_of(peer)
        await peer.send(OK)
        await request_of(peer)

    async with origin(script) as server, calling(server.port) as client:
        await get(client)
        with pytest.raises(ConnectionLost) as lost:
            await get(client)
        assert (lost.value.sent, lost.value.reply_started) == (True, False)


async def test_a_connection_the_server_closed_meanwhile_is_not_written_to():
    """The close has arrived and the event loop has not looked yet: only the check before reuse can see it."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(BOUND)

        def answer_one() -> socket.socket:
            sock, _ = listening.accept()
            sock.recv(1000)
            sock.sendall(OK)
            return sock

        async with calling(listening.getsockname()[1]) as client:
            answering = loop.run_in_executor(None, answer_one)
            assert await get(client) == b"ok"
            first = await answering
            answering = loop.run_in_executor(None, answer_one)
            # No `await` suspends between the close and the check, so no turn of the loop lies between them.
            first.close()
            response = await client.request(b"GET", b"/", b"", b"")
            assert await response.read() == b"ok"
            (await answering).close()


async def test_bytes_on_an_idle_connection_close_it():
    async with origin(replying(OK)) as server, calling(server.port) as client:
        await get(client)
        await server.accepted[0].send(OK)
        await until(lambda: client.open_sockets == 0)
        assert await get(client) == b"ok"


async def test_a_cancelled_request_drops_its_socket():
    async with origin(replying(b"")) as server, calling(server.port) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.request(b"GET", b"/", b"", b"")
        assert client.open_sockets == 0
        await until(server.accepted[0].reader.at_eof)


@pytest.mark.parametrize("how", ["read", "next_chunk", "close"])
async def test_a_reply_given_up_drops_its_socket(how: str):
    async with origin(replying(OK[:-2])) as server, calling(server.port) as client:
        response = await client.request(b"GET", b"/", b"", b"")
        if how == "close":
            response.close()
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await getattr(response, how)()
        response.close()
        assert client.open_sockets == 0
        await until(server.accepted[0].reader.at_eof)


async def test_closing_a_complete_reply_keeps_the_socket():
    async with origin(replying(OK)) as server, calling(server.port) as client:
        response = await client.request(b"GET", b"/", b"", b"")
        response.close()
        response.close()
        assert client.open_sockets == 1
        assert await get(client) == b"ok"
        assert len(server.accepted) == 1


async def test_a_stream_arrives_as_it_comes():
    more = asyncio.Event()

    async def script(peer: Peer) -> None:
        await request_of(peer)
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await more.wait()
        await peer.send(b"3\r\ntwo\r\n")
        more.clear()
        await more.wait()
        await peer.send(b"0\r\n\r\n")
        await request_of(peer)
        await peer.send(OK)

    async with origin(script) as server, calling(server.port) as client:
        response = await client.request(b"GET", b"/", b"", b"")
        assert client.busy_sockets == 1
        assert await response.next_chunk() == b"one"
        more.set()
        assert await response.next_chunk() == b"two"
        more.set()
        assert [chunk async for chunk in response.chunks()] == []
        assert await response.next_chunk() == b""
        assert client.busy_sockets == 0
        assert await get(client) == b"ok"


async def test_what_came_before_the_connection_was_lost_can_be_read():
    part = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
    async with origin(replying(part, close=True)) as server, calling(server.port) as client:
        response = await client.request(b"GET", b"/", b"", b"")
        await until(lambda: client.open_sockets == 0)
        assert await response.next_chunk() == b"one"
        with pytest.raises(ConnectionLost):
            await response.next_chunk()


async def test_a_stream_nobody_reads_is_bounded_and_goes_on_when_read():
    chunk = b"8000\r\n" + b"a" * 0x8000 + b"\r\n"

    async def script(peer: Peer) -> None:
        await request_of(peer)
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            await peer.send(chunk)
        await peer.send(b"0\r\n\r\n")
        await request_of(peer)

    async with origin(script) as server, calling(server.port) as client:
        response = await client.request(b"GET", b"/", b"", b"")
        await until(lambda: not response._socket._reading)
        await asyncio.sleep(0.02)
        assert response._waiting <= (256 + 256) * 1024
        total = 0
        async with asyncio.timeout(BOUND):
            async for piece in response.chunks():
                total += len(piece)
                assert response._waiting <= (256 + 256) * 1024
        assert total == 1000 * 0x8000
        assert client.busy_sockets == 0


async def test_an_early_answer_to_a_long_request_costs_the_socket():
    async def script(peer: Peer) -> None:
        async with asyncio.timeout(BOUND):
            await peer.reader.readuntil(b"\r\n\r\n")
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(0.05)

    async with origin(script) as server, calling(server.port) as client:
        response = await client.request(b"POST", b"/", b"", b"a" * 30_000_000)
        assert response.status == 413
        assert client.open_sockets == 0


async def test_idle_sockets_are_closed_by_age():
    async with origin(replying(OK)) as server, calling(server.port) as client:
        await get(client)
        assert client.close_idle(60.0) == 0
        assert client.close_idle(0.0) == 1
        assert client.open_sockets == 0
        await until(server.accepted[0].reader.at_eof)


async def test_closing_the_client_ends_what_is_in_progress():
    arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        await request_of(peer)
        arrived.set()
        await peer.reader.read()

    async with origin(script) as server, calling(server.port) as client:
        waiting = asyncio.ensure_future(get(client))
        await arrived.wait()
        client.close()
        with pytest.raises(ConnectionLost):
            await waiting
        with pytest.raises(ConnectFailed):
            await get(client)


async def test_nobody_listening_is_a_failed_connect():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with calling(port) as client:
        with pytest.raises(ConnectFailed, match=str(port)):
            await get(client)


async def test_a_name_that_does_not_exist_is_a_failed_connect():
    client = HttpClient(Origin("nowhere.invalid", 80, b"x"), ClientLimits(connect_seconds=3))
    with pytest.raises(ConnectFailed):
        await get(client)


async def test_a_connect_that_takes_too_long_fails():
    # A full backlog: the kernel drops the handshake.
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        async with calling(port, ClientLimits(connect_seconds=0.02)) as client:
            with pytest.raises(ConnectFailed, match="in time"):
                await get(client)
        for filler in fillers:
            filler.close()


async def test_a_server_without_tls_is_a_failed_connect():
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with origin(script) as server:
        client = HttpClient(Origin("127.0.0.1", server.port, b"x", ssl.create_default_context), ClientLimits())
        with pytest.raises(ConnectFailed):
            await get(client)


async def test_sockets_notice_a_silent_peer():
    async with origin(replying(OK)) as server, calling(server.port) as client:
        await get(client)
        (sock,) = client._open
        raw = sock._transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 3
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
