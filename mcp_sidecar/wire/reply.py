"""How one answer is put on the wire. Knows its connection's few verbs and nothing about the handler that fills it."""

from __future__ import annotations

import http
from typing import Final, Protocol

import msgspec

from mcp_sidecar.wire.faults import Disconnected

_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus
}
# RFC 9110 §8.6, §15.4.5: these have no body and therefore no length.
_BODILESS: Final = frozenset({204, 304})
_CLOSE: Final = b"connection: close\r\n"
# Below this size one write of head and body together is cheaper than two.
_JOIN_BYTES: Final = 64 * 1024


class Outlet(Protocol):
    """What a reply needs of its connection."""

    lost: bool
    """The client is gone."""

    closing: bool
    """The connection ends with this answer, and the answer has to say so."""

    @property
    def unhindered(self) -> bool:
        """What is written now leaves at once."""

    def transmit(self, data: bytes) -> None: ...

    async def writable(self) -> None:
        """Return once the client has taken enough of what was sent. Raises `Disconnected`."""


def fields(*pairs: tuple[bytes, bytes]) -> bytes:
    """Field lines for a reply. Raises `ValueError` for a field that would split its head."""
    lines = b"".join([b"%b: %b\r\n" % pair for pair in pairs])
    if len(lines.translate(None, b"\r\n\0")) != len(lines) - 2 * len(pairs):
        raise ValueError("a reply field holds a line break or NUL")
    return lines


TEXT: Final = fields((b"content-type", b"text/plain; charset=utf-8"))
"""The field line of an answer in words."""


def status_line(status: int) -> bytes:
    """The first line of a reply."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d Status\r\n" % status


class Reply(msgspec.Struct, eq=False):
    """The answer to one request: either `send`, or `start`, any number of `write`, `end`.

    Calls out of this order raise `RuntimeError`. Once the client is gone `send` and `end` do nothing and `write` raises
    `Disconnected`. `lines` come from `fields`, or hold nothing that could be a line break;
    Content-Length, Transfer-Encoding and Connection are written here.
    """

    outlet: Outlet
    silent: bool
    """No body leaves, whatever is sent: the request is a HEAD, or the status has none."""
    old: bool
    """HTTP/1.0: no chunks."""
    started: bool = False
    ended: bool = False
    chunked: bool = False
    outlasting: bool = False
    """The handler wants to go on when the client is gone; it is cancelled with the listener only."""

    @property
    def lost(self) -> bool:
        """The client is gone."""
        return self.outlet.lost

    def send(self, status: int, lines: bytes, body: bytes) -> None:
        """The complete answer."""
        if self.started:
            raise RuntimeError("the answer has begun already")
        outlet = self.outlet
        self.started = self.ended = True
        first = _STATUS_LINES.get(status) or status_line(status)
        close = _CLOSE if outlet.closing else b""
        length = len(body)
        if status in _BODILESS:
            outlet.transmit(b"%b%b%b\r\n" % (first, lines, close))
        elif length < _JOIN_BYTES and not self.silent:
            outlet.transmit(b"%b%bcontent-length: %d\r\n%b\r\n%b" % (first, lines, length, close, body))
        else:
            outlet.transmit(b"%b%bcontent-length: %d\r\n%b\r\n" % (first, lines, length, close))
            if not self.silent:
                outlet.transmit(body)

    def start(self, status: int, lines: bytes) -> None:
        """Begin an answer whose length is not known; the head leaves at once."""
        if self.started:
            raise RuntimeError("the answer has begun already")
        # HTTP/1.0 knows no chunks: there the end of the connection is the end of the body, and it closes anyway.
        chunked = not self.old and status not in _BODILESS
        framing = b"transfer-encoding: chunked\r\n" if chunked else b""
        if self.outlet.closing:
            framing += _CLOSE
        top = b"%b%b%b\r\n" % (status_line(status), lines, framing)
        self.chunked = chunked
        self.silent = self.silent or status in _BODILESS
        self.started = True
        self.outlet.transmit(top)

    async def write(self, chunk: bytes) -> None:
        """A piece of the body; returns when more may be written. Raises `Disconnected`."""
        if not self.started or self.ended:
            raise RuntimeError("write() belongs between start() and end()")
        outlet = self.outlet
        if outlet.lost:
            raise Disconnected("the client is gone")
        # An empty chunk would be the end of the body.
        if chunk and not self.silent:
            outlet.transmit(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self.chunked else chunk)
            await outlet.writable()

    def offer(self, chunk: bytes) -> None:
        """A piece of the body that may as well be left out: it is, unless it can leave at once. Never waits."""
        if self.started and not self.ended and not self.silent and self.outlet.unhindered:
            self.outlet.transmit(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self.chunked else chunk)

    def end(self) -> None:
        """The streamed answer is complete."""
        if not self.started or self.ended:
            raise RuntimeError("end() belongs after start(), once")
        self.ended = True
        if self.chunked and not self.silent:
            self.outlet.transmit(b"0\r\n\r\n")
