"""Bytes in, strictly framed HTTP/1.1 requests out. Knows no socket, no clock and no answer but the refusing status.

llhttp decides the framing; what it lets pass and we do not is refused here (docs/behaviour.md, HS-1 to HS-17).
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from typing import Final

import httptools
import msgspec

from mcp_sidecar.wire.headers import Headers
from mcp_sidecar.wire.limits import ServerLimits

# Input is parsed in slices of this size until the length of a body is known: llhttp cannot be stopped between two
# requests, so the slice bounds how many a single segment can turn into.
_SLICE: Final = 4096
# What chunk sizes, extensions and trailers may add to a chunked body: a one-byte chunk is six bytes on the wire.
_CHUNK_OVERHEAD_FACTOR: Final = 16
_CHUNK_OVERHEAD_BYTES: Final = 16 * 1024

# Numbers: looking for `b"_"` in bytes first tries it as a number, which costs more than the search.
_UNDERSCORE: Final = ord("_")
_HASH: Final = ord("#")
_METHODS: Final = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_NO_HEADERS: Final = Headers([])


@dataclass(slots=True, eq=False)
class Head:
    """All of a request but its body, shared by the requests whose heads differ in Content-Length at most.

    `path` and `query` are as sent.
    """

    method: str
    path: str
    query: str
    headers: Headers
    persistent: bool = True
    """The connection may carry another request after this one (RFC 9112 §9.3)."""
    old: bool = False
    """HTTP/1.0: no chunked answers."""
    conclusion: object = None
    """The handler's own: what it has concluded from this head, so that it need not do so again."""


class Request(msgspec.Struct, eq=False):
    """One complete request; `peer` is "address:port" or "unix", `certified` whom the client's certificate names."""

    head: Head
    body: bytes
    peer: str
    certified: str = ""


class Refused(Exception):
    """The bytes are not a request we take; `status` is what the client is told before the connection closes."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class Phase(enum.Enum):
    """Where in a request the input stands."""

    BETWEEN = "between requests"
    HEAD = "in a head"
    BODY = "in a body"


# Looking a member up in its class costs as much as a call, and these are looked up several times a request.
_BETWEEN: Final = Phase.BETWEEN
_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY


class RequestParser:
    """Fed with input, fills `ready`. After `feed` has raised `Refused` nothing more may be fed."""

    def __init__(self, limits: ServerLimits, peer: str) -> None:
        self._limits = limits
        self._peer = peer
        self._careless_raw = limits.header_bytes - _SLICE
        self._plain = False
        self._machine = httptools.HttpRequestParser(self)
        self._verdict: Refused | None = None
        self._raw = 0  # input since the head began, or since the last byte of the body
        self._chunked_raw = 0  # input since the body began, framing included
        self._target = b""
        self._path = ""
        self._method = ""
        self._pairs: list[tuple[bytes, bytes]] = []
        self._headers = _NO_HEADERS
        self._length: int | None = None
        self._old = False
        self._body: list[bytes] = []
        self.ready: deque[Request] = deque()
        self.phase = _BETWEEN
        self.body_bytes = 0
        self.awaits_continue = False
        """The client waits for `100 Continue` before it sends the body."""

    def feed(self, data: bytes) -> bytes:
        """Parse until at least one request is complete; returns the input left over. Raises `Refused`."""
        if len(data) <= _SLICE:
            # A head that lies in one piece with nothing but ASCII needs no look at its values.
            self._plain = self._raw == 0 and data.isascii()
            self._parse(data)
            return b""
        self._plain = False
        view = memoryview(data)
        start = 0
        while start < len(view) and not self.ready:
            # A body of known length can be parsed in one go: no second request fits into it.
            end = start + (self._body_left() or _SLICE)
            self._parse(view[start:end])
            start = end
        return bytes(view[start:])

    def forget(self) -> None:
        """Give up what has been gathered; nothing more will be fed."""
        self._body = []
        self._pairs = []

    def close(self) -> None:
        """Let go of the parser, which refers back to us: without this only the cycle collector would free both."""
        del self._machine

    def _parse(self, piece: bytes | memoryview) -> None:
        try:
            self._machine.feed_data(piece)
        except httptools.HttpParserUpgrade as error:
            raise self._verdict or Refused(400, "upgrade is not supported") from error
        except httptools.HttpParserError as error:
            raise self._verdict or Refused(400, str(error)) from error
        if self.phase is not _BETWEEN:
            self._account(len(piece))

    def _account(self, count: int) -> None:
        """Bound what an unfinished message has cost so far, wherever in it the bytes went."""
        self._raw += count
        limits = self._limits
        if self.phase is _HEAD:
            # Four bytes of punctuation a field, and the method, version and blanks of the first line.
            most = limits.target_bytes + limits.header_bytes + 4 * limits.header_fields + 64
            if len(self._pairs) > limits.header_fields or self._raw > most:
                raise Refused(431, "the header section is too large")
        elif self._length is None:
            spare = limits.header_bytes + _CHUNK_OVERHEAD_BYTES
            # llhttp gathers an unfinished trailer line by itself; `on_body` sets the count back.
            if self._raw > spare:
                raise Refused(431, "chunk extensions or trailers are too large")
            self._chunked_raw += count
            if self._chunked_raw > spare + _SLICE + _CHUNK_OVERHEAD_FACTOR * self.body_bytes:
                raise Refused(400, "the chunked body is mostly framing")

    def _body_left(self) -> int:
        """Bytes until the end of a body of known length; 0 elsewhere."""
        if self.phase is _BODY and self._length is not None:
            return self._length - self.body_bytes
        return 0

    def _refuse(self, status: int, why: str) -> Refused:
        # An exception in a callback reaches us as a parser error without its cause: keep it here.
        self._verdict = Refused(status, why)
        return self._verdict

    # What follows is called by httptools, in the order of the message.

    def on_message_begin(self) -> None:
        self.phase = _HEAD
        self._raw = 0
        self._target = b""
        self._pairs = []

    def on_url(self, part: bytes) -> None:
        self._target += part
        if len(self._target) > self._limits.target_bytes:
            raise self._refuse(414, "the request target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        # Also called for trailers, with the list that `on_headers_complete` has left for them.
        # Some servers read `mcp_name` as `mcp-name` (HS-17): a name that two parties read differently is no name.
        if _UNDERSCORE in name:
            raise self._refuse(400, "a field name holds an underscore")
        self._pairs.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        headers = self._headers = Headers(self._pairs)
        self._check_line()
        self._check_fields(headers)
        if headers.get(b"transfer-encoding") is not None:
            self._check_coding(headers)
        else:
            self._check_length(headers)
        self.body_bytes = self._chunked_raw = self._raw = 0
        self._pairs = []
        self.phase = _BODY
        if headers.get(b"expect") is not None:
            self._expect(headers)

    def on_body(self, part: bytes) -> None:
        self._body.append(part)
        self.body_bytes += len(part)
        self._raw = 0
        if self.body_bytes > self._limits.body_bytes:
            raise self._refuse(413, "the body is too long")

    def on_message_complete(self) -> None:
        if self._pairs:
            # Trailers are dropped: nothing in a request may be said after the checks of its head.
            self._check_sizes()
            self._pairs = []
        body = self._body
        path, _, query = self._path.partition("?")
        persistent = not self._old and self._machine.should_keep_alive()
        head = Head(self._method, path, query, self._headers, persistent, self._old)
        self.ready.append(Request(head, body[0] if len(body) == 1 else b"".join(body), self._peer))
        # An idle connection holds nothing of its last request.
        self._body = []
        self._headers = _NO_HEADERS
        self._raw = 0
        self.phase = _BETWEEN
        self.awaits_continue = False

    # What llhttp lets pass and we do not.

    def _check_sizes(self) -> None:
        if len(self._pairs) > self._limits.header_fields:
            raise self._refuse(431, "too many header fields")
        if sum(len(name) + len(value) for name, value in self._pairs) > self._limits.header_bytes:
            raise self._refuse(431, "the header section is too large")

    def _check_line(self) -> None:
        machine = self._machine
        version = machine.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise self._refuse(505, f"HTTP/{version} is not spoken here")
        if machine.should_upgrade():
            raise self._refuse(400, "upgrades and tunnels are not supported")
        method = _METHODS.get(machine.get_method())
        if method is None:
            raise self._refuse(501, "unknown method")
        target = self._target
        # Absolute and asterisk form: a second opinion about the host, which nobody here would read.
        if target[:1] != b"/" or _HASH in target:
            raise self._refuse(400, "the request target is not a path")
        self._old = version == "1.0"
        self._method = method
        self._path = target.decode("ascii")

    def _check_fields(self, headers: Headers) -> None:
        # What was fed bounds what was decoded: the exact sums are needed only near the limits.
        if self._raw > self._careless_raw or len(self._pairs) > self._limits.header_fields:
            self._check_sizes()
        if headers.get(b"host") is None:
            raise self._refuse(400, "no Host field")
        if headers.repeated and len(headers.all(b"host")) > 1:
            raise self._refuse(400, "more than one Host field")
        if not self._plain and not all(value.isascii() for _, value in self._pairs):
            raise self._refuse(400, "a field holds bytes outside ASCII")

    def _check_length(self, headers: Headers) -> None:
        length = self._length = int(headers.get(b"content-length") or 0)
        if length > self._limits.body_bytes:
            raise self._refuse(413, "the body is too long")

    def _check_coding(self, headers: Headers) -> None:
        self._length = None
        coding = headers.get(b"transfer-encoding") or b""
        # A coding we do not undo would reach the handler as if it were the content.
        if self._old or coding.lower() != b"chunked":
            raise self._refuse(400, "a transfer coding other than chunked, or HTTP/1.0 with one")

    def _expect(self, headers: Headers) -> None:
        if [value.lower() for value in headers.all(b"expect")] != [b"100-continue"]:
            raise self._refuse(417, "an expectation other than 100-continue")
        # RFC 9110 §10.1.1: from an HTTP/1.0 client the expectation is ignored.
        self.awaits_continue = not self._old
