"""Both parsers, cut anywhere and fed with anything."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.wire.faults import WireFault
from mcp_sidecar.wire.headers import Headers
from mcp_sidecar.wire.limits import ClientLimits, ServerLimits
from mcp_sidecar.wire.reply_parser import ReplyHead, ReplyParser
from mcp_sidecar.wire.request_parser import Refused, RequestParser
from tests.wire.loopback import dial, echo, serving

token = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8).map(str.encode)
value = st.text("ABCXYZabcxyz019 \t!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~", max_size=20).map(
    lambda text: text.strip().encode()
)
reserved = {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te", b"trailer"}
reserved |= {b"proxy-connection", b"content-encoding"}
fields = st.lists(st.tuples(token, value).filter(lambda pair: pair[0] not in reserved), max_size=6)
bodies = st.binary(max_size=200) | st.binary(min_size=4000, max_size=9000)


def framed(head: bytes, pairs: list[tuple[bytes, bytes]], body: bytes, chunks: list[int]) -> bytes:
    """A message; with `chunks` (sizes, the rest follows as one) in chunks."""
    lines = b"".join(b"%b: %b\r\n" % pair for pair in pairs)
    if not chunks:
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, lines, len(body), body)
    wire, rest = b"", body
    for size in [*chunks, len(body)]:
        piece, rest = rest[:size], rest[size:]
        if piece:
            wire += b"%x\r\n%b\r\n" % (len(piece), piece)
    return b"%b%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (head, lines, wire)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, tuple[str, bytes, list[tuple[bytes, bytes]]]]:
    pairs = draw(fields)
    path = "/" + draw(st.text("abc/.%20", max_size=10))
    body = draw(bodies)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode()
    return framed(head, pairs, body, draw(st.lists(st.integers(1, 60), max_size=4))), (path, body, pairs)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    points = sorted({min(point, len(data)) for point in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(points)]


def parse(pieces: list[bytes]) -> list[tuple[str, bytes, list[tuple[bytes, bytes]]]]:
    parser = RequestParser(ServerLimits(), "peer")
    found = []
    for piece in pieces:
        rest = piece
        while rest or parser.ready:
            rest = parser.feed(rest) if rest else rest
            if not parser.ready:
                break
            while parser.ready:
                request = parser.ready.popleft()
                own = {b"host", b"content-length", b"transfer-encoding"}
                pairs = [pair for pair in request.head.headers.pairs if pair[0] not in own]
                found.append((request.head.path, request.body, pairs))
    parser.close()
    return found


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 30_000), max_size=8))
def test_requests_are_the_same_wherever_the_stream_is_cut(
    sent: list[tuple[bytes, tuple[str, bytes, list[tuple[bytes, bytes]]]]], cuts: list[int]
):
    stream = b"".join(wire for wire, _ in sent)
    assert parse(cut(stream, cuts)) == [meaning for _, meaning in sent]


def test_requests_are_the_same_cut_at_every_byte():
    stream = framed(b"POST /a HTTP/1.1\r\nHost: x\r\n", [(b"a", b"b"), (b"c", b"")], b"hello", [2])
    stream += framed(b"POST /b HTTP/1.1\r\nHost: x\r\n", [], b"world", [])
    whole = parse([stream])
    assert [path for path, _, _ in whole] == ["/a", "/b"]
    for point in range(len(stream)):
        assert parse([stream[:point], stream[point:]]) == whole
    assert parse([stream[n : n + 1] for n in range(len(stream))]) == whole


noise = st.lists(
    st.binary(max_size=30)
    | st.sampled_from(
        [
            b"GET / HTTP/1.1\r\n",
            b"Host: x\r\n",
            b"Content-Length: 3\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: upgrade\r\nUpgrade: x\r\n",
            b"Expect: 100-continue\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b"3\r\nabc\r\n",
            b"0\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 100 X\r\n\r\n",
            b"HTTP/1.1 204 X\r\n",
            b"\xff" * 5,
            b"a" * 5000,
        ]
    ),
    max_size=12,
)


@given(noise)
def test_any_bytes_are_requests_or_one_refusal(pieces: list[bytes]):
    parser = RequestParser(ServerLimits(header_bytes=6000, body_bytes=6000), "peer")
    try:
        for piece in pieces:
            rest = piece
            while rest:
                parser.ready.clear()
                rest = parser.feed(rest)
    except Refused:
        pass
    parser.close()


class Notes:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.status = 0
        self.headers = Headers([])
        self.body = b""
        self.ended: bool | None = None

    def head_came(self, head: ReplyHead) -> None:
        status, headers = head
        self.status = status
        self.headers = headers

    def body_came(self, part: bytes) -> None:
        self.body += part

    def reply_ended(self, *, reusable: bool) -> None:
        self.ended = reusable


@given(fields, bodies, st.lists(st.integers(1, 60), max_size=4), st.lists(st.integers(0, 10_000), max_size=8))
def test_a_reply_is_the_same_wherever_it_is_cut(
    pairs: list[tuple[bytes, bytes]], body: bytes, chunks: list[int], cuts: list[int]
):
    notes = Notes()
    parser = ReplyParser(notes, ClientLimits())
    wire = framed(b"HTTP/1.1 200 OK\r\n", pairs, body, chunks)
    for _ in range(2):
        notes.__init__()  # type: ignore[misc]
        parser.expect()
        for piece in cut(wire, cuts):
            parser.feed(piece)
        assert (notes.status, notes.body, notes.ended) == (200, body, True)
        own = {b"content-length", b"transfer-encoding"}
        assert [pair for pair in notes.headers.pairs if pair[0] not in own] == pairs
    parser.close()


@given(noise)
def test_any_bytes_are_a_reply_or_one_fault(pieces: list[bytes]):
    parser = ReplyParser(Notes(), ClientLimits(head_bytes=6000))
    parser.expect()
    try:
        for piece in pieces:
            parser.feed(piece)
    except WireFault:
        pass
    parser.close()


def test_a_header_block_shows_no_values():
    assert "secret" not in repr(Headers([(b"authorization", b"secret")]))


def test_the_parser_underneath_is_one_whose_gaps_are_known():
    """The refusals of this package complete those of llhttp as bundled with this version (test_strictness.py)."""
    major, minor = httptools.__version__.split(".")[:2]
    if (int(major), int(minor)) < (0, 7):
        pytest.fail("llhttp before 9.3 is laxer than what this package was written against")


async def test_a_connection_leaves_no_cycle_behind():
    """Parsers are freed with their connection: with thousands of clients the collector would be too late."""
    gc.collect()
    gc.disable()
    try:
        async with serving(echo) as served:
            async with dial(served.port) as peer:
                await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await peer.answer()
                (connection,) = served.listener._service.connections
                parser = weakref.ref(connection._parser)
                del connection
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert parser() is None
    finally:
        gc.enable()
