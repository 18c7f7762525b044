"""Every form of request that two parties could read differently is refused (reliability reference, HS-1 to HS-17)."""

from __future__ import annotations

import re

import pytest

from mcp_sidecar.wire.http_server import Reply, Request
from mcp_sidecar.wire.limits import ServerLimits
from tests.wire.loopback import dial, echo, serving, until

HOST = b"Host: x\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "HS-1 CL and TE": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "HS-1 TE and CL": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "HS-2 two lengths that agree": (400, POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    "HS-2 two lengths that differ": (400, POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    "HS-2 a list of lengths": (400, POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    "HS-3 a signed length": (400, POST + b"Content-Length: +3\r\n\r\nabc"),
    "HS-3 a negative length": (400, POST + b"Content-Length: -3\r\n\r\nabc"),
    "HS-3 an empty length": (400, POST + b"Content-Length:\r\n\r\n"),
    "HS-3 a length beyond 64 bits": (400, POST + b"Content-Length: 99999999999999999999\r\n\r\n"),
    "HS-4 xchunked": (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "HS-5 chunked, identity": (400, POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    "HS-5 gzip, chunked": (400, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "HS-5 TE twice": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "HS-5 an empty TE": (400, POST + b"Transfer-Encoding:\r\n\r\n"),
    "HS-6 TE on HTTP/1.0": (400, b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "HS-7 a folded field": (400, POST + b"A: b\r\n c\r\n\r\n"),
    "HS-8 bare LF": (400, b"POST / HTTP/1.1\nHost: x\n\n"),
    "HS-8 bare LF after a field": (400, b"POST / HTTP/1.1\r\nHost: x\n\r\n"),
    "HS-9 bare CR": (400, POST + b"A: b\rC: d\r\n\r\n"),
    "HS-10 NUL in a value": (400, POST + b"A: b\0c\r\n\r\n"),
    "HS-10 NUL in a name": (400, POST + b"A\0: b\r\n\r\n"),
    "HS-11 a space before the colon": (400, POST + b"A : b\r\n\r\n"),
    "HS-12 no Host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "HS-12 no Host in HTTP/1.0": (400, b"GET / HTTP/1.0\r\n\r\n"),
    "HS-12 two Hosts": (400, b"GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n"),
    "HS-13 a hexadecimal prefix": (400, CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    "HS-13 a negative chunk": (400, CHUNKED + b"-1\r\na\r\n0\r\n\r\n"),
    "HS-13 a chunk longer than said": (400, CHUNKED + b"1\r\nab\r\n0\r\n\r\n"),
    "HS-14 bare LF after a chunk size": (400, CHUNKED + b"1\na\r\n0\r\n\r\n"),
    "HS-14 bare LF after a chunk": (400, CHUNKED + b"1\r\na\n0\r\n\r\n"),
    "HS-15 LF in an extension": (400, CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n"),
    "HS-16 a long field": (431, POST + b"A: " + b"a" * 100_000 + b"\r\n\r\n"),
    "HS-16 many fields": (431, POST + b"A: b\r\n" * 2000 + b"\r\n"),
    "HS-16 101 fields": (431, POST + b"A: b\r\n" * 100 + b"\r\n"),
    "HS-16 many long fields": (431, POST + (b"A: " + b"a" * 1000 + b"\r\n") * 40 + b"\r\n"),
    "HS-16 a field that never ends": (431, POST + b"A: " + b"a" * 100_000),
    "HS-16 a long target": (414, b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "HS-16 a target one byte too long": (414, b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "HS-16 a target that never ends": (414, b"GET /" + b"a" * 65536),
    "HS-16 a long trailer": (431, CHUNKED + b"1\r\na\r\n0\r\nA: " + b"a" * 40_000 + b"\r\n\r\n"),
    "HS-16 a trailer that never ends": (431, CHUNKED + b"1\r\na\r\n0\r\nA: " + b"a" * 100_000),
    "HS-16 many trailers": (431, CHUNKED + b"1\r\na\r\n0\r\n" + b"A: b\r\n" * 200 + b"\r\n"),
    "an endless chunk extension": (431, CHUNKED + b"1;" + b"a" * 100_000),
    "a body that is mostly extensions": (400, CHUNKED + (b"1;" + b"a" * 1000 + b"\r\na\r\n") * 100),
    "HS-17 an underscore": (400, POST + b"mcp_method: tools/call\r\n\r\n"),
    "a byte beyond ASCII in a value": (400, POST + b"A: \xe9\r\n\r\n"),
    "a byte beyond ASCII in a repeated value": (400, POST + b"A: b\r\nA: \xe9\r\n\r\n"),
    "a byte beyond ASCII in a name": (400, POST + b"\xe9: a\r\n\r\n"),
    "DEL in a value": (400, POST + b"A: \x7f\r\n\r\n"),
    "ESC in a value": (400, POST + b"A: \x1b\r\n\r\n"),
    "a byte beyond ASCII in the target": (400, b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "absolute form": (400, b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "asterisk form": (400, b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a fragment": (400, b"GET /#a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "CONNECT": (400, b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "an upgrade": (400, POST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"),
    "the HTTP/2 preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
    "HTTP/0.9": (505, b"GET / HTTP/0.9\r\nHost: x\r\n\r\n"),
    "HTTP/1.2": (400, b"GET / HTTP/1.2\r\nHost: x\r\n\r\n"),
    "another protocol": (400, b"\x16\x03\x01\x02\x00\x01\x00"),
    "a method of another protocol": (501, b"SUBSCRIBE / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "an unknown method": (400, b"FROB / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "an unknown expectation": (417, POST + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\n"),
    "two expectations": (417, POST + b"Expect: 100-continue\r\nExpect: x\r\nContent-Length: 1\r\n\r\n"),
    "a body announced too long": (413, POST + b"Content-Length: 4194305\r\n\r\n"),
    "a body grown too long": (413, CHUNKED + b"200000\r\n" + b"a" * 0x200000 + b"\r\n200001\r\n" + b"a" * 0x200001),
}


@pytest.mark.parametrize(("status", "sent"), REFUSED.values(), ids=REFUSED)
async def test_a_doubtful_request_is_refused_and_the_connection_closes(status: int, sent: bytes):
    seen: list[Request] = []

    async def note(request: Request, reply: Reply) -> None:
        seen.append(request)
        reply.send(200, b"", b"")

    async with serving(note) as served, dial(served.port) as peer:
        # What follows the refused request would be a request of its own.
        peer.writer.write(sent + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await peer.answer()
        assert answer.status == status
        assert answer.headers[b"content-type"].startswith(b"text/plain")
        assert re.fullmatch(rb"[ -~]{5,}\n", answer.body), "says in a line why"
        assert answer.headers[b"connection"] == b"close"
        assert await peer.rest() == b""
    assert seen == []
    assert served.faults == []


TAKEN = {
    "a target of the longest length": b"GET /" + b"a" * 8191 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "exactly 100 fields": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 99 + b"\r\n",
    "32 KiB of fields": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * (32 * 1024 - 6) + b"\r\n\r\n",
    "both limits at once": b"GET /" + b"a" * 8191 + b" HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 32762 + b"\r\n\r\n",
    "an empty value": b"GET / HTTP/1.1\r\nHost: x\r\nA:\r\nB: c\r\n\r\n",
    "a tab in a value": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\tc\r\n\r\n",
    "upper case chunked": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "a chunk extension": CHUNKED + b"1;a=b\r\na\r\n0\r\n\r\n",
    "a trailer": CHUNKED + b"1\r\na\r\n0\r\nA: b\r\n\r\n",
    "empty lines in front": b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "the longest body": POST + b"Content-Length: 4194304\r\n\r\n" + b"a" * 4194304,
}


@pytest.mark.parametrize("sent", TAKEN.values(), ids=TAKEN)
async def test_what_is_unusual_and_sound_is_served(sent: bytes):
    async with serving(echo) as served, dial(served.port) as peer:
        peer.writer.write(sent)
        assert (await peer.answer()).status == 200


async def test_a_trailer_does_not_become_a_header():
    names: list[bytes] = []

    async def note(request: Request, reply: Reply) -> None:
        names.extend(request.head.headers.names)
        reply.send(200, b"", b"")

    async with serving(note) as served, dial(served.port) as peer:
        await peer.send(CHUNKED + b"1\r\na\r\n0\r\nAuthorization: stolen\r\n\r\n")
        await peer.answer()
    assert sorted(names) == [b"host", b"transfer-encoding"]


async def test_a_refused_body_is_not_read_into_memory():
    limits = ServerLimits(body_bytes=1000)
    async with serving(echo, limits) as served, dial(served.port) as peer:
        await peer.send(CHUNKED + b"10000\r\n" + b"a" * 2000)
        assert (await peer.answer()).status == 413
        (connection,) = served.listener._service.connections
        await peer.send(b"a" * 30_000)
        assert connection._ahead == b""
        assert connection._parser.body_bytes <= 4096


async def test_bodies_on_their_way_in_are_bounded_together():
    limits = ServerLimits(bodies_bytes=10_000)
    async with serving(echo, limits) as served, dial(served.port) as first, dial(served.port) as second:
        part = POST + b"Content-Length: 9000\r\n\r\n" + b"a" * 8000
        await first.send(part)
        await until(lambda: served.listener._service.held_bytes == 8000)
        await second.send(part)
        assert (await second.answer()).status == 503
        assert served.listener._service.held_bytes == 8000
        await first.send(b"a" * 1000)
        assert (await first.answer()).status == 200
        assert served.listener._service.held_bytes == 0
