"""What the client sends and what it makes of replies, against servers that are scripted byte by byte."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.wire.http_client import BadReply, ReplyTooLarge
from mcp_sidecar.wire.limits import ClientLimits
from tests.wire.loopback import OK, Peer, calling, echo, get, origin, replying, request_of, serving, until

HEADERS = b"a: b\r\n"


async def test_a_request_goes_out_as_told():
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append(await request_of(peer))
        await peer.send(OK)
        seen.append(await request_of(peer))
        await peer.send(OK)

    async with origin(script) as server, calling(server.port) as client:
        response = await client.request(b"POST", b"/p?q", HEADERS, b"body")
        assert (response.status, await response.read()) == (200, b"ok")
        await get(client)
    assert seen[0] == b"POST /p?q HTTP/1.1\r\nhost: origin.test\r\na: b\r\ncontent-length: 4\r\n\r\nbody"
    assert seen[1] == b"GET / HTTP/1.1\r\nhost: origin.test\r\n\r\n"


@pytest.mark.parametrize(("method", "length"), [(b"GET", b""), (b"DELETE", b""), (b"POST", b"content-length: 0\r\n")])
async def test_of_requests_without_a_body_only_a_post_says_so(method: bytes, length: bytes):
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append(await request_of(peer))
        await peer.send(OK)

    async with origin(script) as server, calling(server.port) as client:
        response = await client.request(method, b"/", HEADERS, b"")
        assert await response.read() == b"ok"
    assert seen == [b"%b / HTTP/1.1\r\nhost: origin.test\r\na: b\r\n%b\r\n" % (method, length)]


async def test_our_client_and_our_listener_understand_each_other():
    async with serving(echo) as served, calling(served.port) as client:
        for size in (0, 1, 65_535, 65_536, 70_000, 4_000_000):
            response = await client.request(b"POST", b"/x", b"", b"a" * size)
            assert await response.read() == b"POST /x \n" + b"a" * size
        assert client.open_sockets == 1


async def test_a_connection_is_used_again():
    async with origin(replying(OK)) as server, calling(server.port) as client:
        for _ in range(3):
            assert await get(client) == b"ok"
        assert (client.open_sockets, client.busy_sockets) == (1, 0)
        assert len(server.accepted) == 1


async def test_requests_at_a_time_have_a_connection_each():
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await request_of(peer)
            await go_on.wait()
            await peer.send(OK)

    async with origin(script) as server, calling(server.port) as client, asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(get(client))
        await until(lambda: client.busy_sockets == 3)
        go_on.set()
        await until(lambda: client.busy_sockets == 0)
        assert client.open_sockets == 3


WHOLE = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", True),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nT: t\r\n\r\n",
        True,
    ),
    "interim replies": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\n" + OK[:-2] + b"ab", True),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", True),
    "until close": (b"HTTP/1.1 200 OK\r\n\r\nabc", False),
    "connection: close": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", False),
    "identity": (b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", True),
}


@pytest.mark.parametrize(("reply", "kept"), WHOLE.values(), ids=WHOLE)
async def test_a_body_is_read_in_every_framing(reply: bytes, kept: bool):
    expected = b"ab" if b"103" in reply else b"abc"
    async with origin(replying(reply, close=not kept)) as server, calling(server.port) as client:
        assert await get(client) == expected
        assert client.open_sockets == int(kept)


@pytest.mark.parametrize("status", [204, 304])
async def test_a_reply_without_a_body_ends_with_its_head(status: int):
    async with origin(replying(b"HTTP/1.1 %d X\r\n\r\n" % status)) as server, calling(server.port) as client:
        assert await get(client) == b""
        assert await get(client) == b""
        assert len(server.accepted) == 1


async def test_a_reply_cut_anywhere_is_the_same():
    for reply, _ in WHOLE.values():
        if b"Connection" in reply or b"1.0" in reply or b"OK\r\n\r\nabc" in reply:
            continue

        async def script(peer: Peer, reply: bytes = reply) -> None:
            for cut in range(1, len(reply)):
                await request_of(peer)
                await peer.send(reply[:cut])
                await asyncio.sleep(0)
                await peer.send(reply[cut:])

        async with origin(script) as server, calling(server.port) as client:
            bodies = {await get(client) for _ in range(1, len(reply))}
            assert len(bodies) == 1
            assert len(server.accepted) == 1


BAD = {
    "not HTTP": b"SSH-2.0-OpenSSH\r\n",
    "HTML alone": b"<html></html>",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x16",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded field": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "a broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a compressed body": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
    "a switch of protocols": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "a status of no class": b"HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\nok",
    "two replies": OK + OK,
    "bytes behind the reply": OK + b"HTTP/1.1 2",
    "bytes behind the last reply": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nokmore",
    "endless interim replies": b"HTTP/1.1 100 Continue\r\n\r\n" * 17,
}


@pytest.mark.parametrize("reply", BAD.values(), ids=BAD)
async def test_a_reply_of_doubtful_form_is_an_error_and_costs_the_socket(reply: bytes):
    async with origin(replying(reply)) as server, calling(server.port) as client:
        with pytest.raises(BadReply):
            await get(client)
        assert client.open_sockets == 0


LONG = {
    "a field": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "a field that never ends": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300_000,
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"A: bcdefgh\r\n" * 10_000 + b"Content-Length: 2\r\n\r\nok",
    "a trailer": OK[:15] + b"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: " + b"a" * 300_000 + b"\r\n\r\n",
    "a body": b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + b"a" * 20_000_000,
    "chunks": OK[:15] + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"a" * 0x10000 + b"\r\n") * 320,
}


@pytest.mark.parametrize("reply", LONG.values(), ids=LONG)
async def test_a_reply_too_long_is_an_error_and_costs_the_socket(reply: bytes):
    async with origin(replying(reply)) as server, calling(server.port) as client:
        with pytest.raises(ReplyTooLarge):
            await get(client)
        assert client.open_sockets == 0


async def test_a_small_body_over_the_limit_is_too_large_as_well():
    async with origin(replying(OK)) as server, calling(server.port, ClientLimits(reply_bytes=1)) as client:
        with pytest.raises(ReplyTooLarge):
            await get(client)


async def test_a_whole_reply_is_read_without_waiting():
    async with origin(replying(OK)) as server, calling(server.port) as client:
        response = await client.request(b"GET", b"/", b"", b"")
        reading = response.read()
        with pytest.raises(StopIteration) as done:
            reading.send(None)
        assert done.value.value == b"ok"
