"""Bytes in, one origin's replies out. Knows no socket: its `Sink` does with the pieces what it likes."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import httptools

from mcp_sidecar.wire.faults import BadReply, ReplyTooLarge, WireFault
from mcp_sidecar.wire.headers import Headers
from mcp_sidecar.wire.limits import ClientLimits

_BODILESS: Final = frozenset({204, 304})
_VERSIONS: Final = frozenset({"1.1", "1.0"})
_UNENCODED: Final = frozenset({None, b"", b"identity"})


class ReplyHead(NamedTuple):
    """All of a reply but its body."""

    status: int
    headers: Headers


class Sink(Protocol):
    """Who wants the reply."""

    def head_came(self, head: ReplyHead) -> None: ...

    def body_came(self, part: bytes) -> None: ...

    def reply_ended(self, *, reusable: bool) -> None:
        """`reusable`: as far as the reply is concerned, the connection may carry another request."""


class ReplyParser:
    """Follows one connection through all its replies; `expect` announces that a request was sent."""

    def __init__(self, sink: Sink, limits: ClientLimits) -> None:
        self._sink = sink
        self._limits = limits
        self._machine = httptools.HttpResponseParser(self)
        self._verdict: WireFault | None = None
        self._pairs: list[tuple[bytes, bytes]] = []
        self._raw = 0  # input since the request was sent, or since the last byte of the body
        self._trailer_bytes = 0
        self._expected = False  # a request was sent and the head of its reply is not complete
        self._interim = 0
        self._skipping = False  # inside a 1xx reply
        self._plain = False  # the segment begins with a reply in HTTP/1.1
        self.until_close = False
        """The body of the current reply ends with the connection."""

    @property
    def started(self) -> bool:
        """A byte of the expected reply has arrived."""
        return not self._expected or self._raw > 0

    @property
    def skipped(self) -> bool:
        """There was another reply in front of the last one."""
        return self._interim > 0

    def expect(self) -> None:
        """A request is on its way: one reply may come."""
        self._expected = True
        self._interim = self._raw = self._trailer_bytes = 0

    def feed(self, data: bytes) -> None:
        """Raises `BadReply` or `ReplyTooLarge`; after that nothing more may be fed."""
        # Where a first segment shows the version, asking llhttp (which formats a string) is not needed.
        self._plain = self._raw == 0 and data.startswith(b"HTTP/1.1 ")
        self._raw += len(data)
        try:
            self._machine.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise self._verdict or BadReply("the server switches protocols") from error
        except httptools.HttpParserError as error:
            raise self._verdict or BadReply(f"not a well-formed HTTP/1.1 reply: {error}") from error
        # What llhttp gathers of an unfinished line cannot be seen: the input without a body byte bounds it.
        if self._raw > self._limits.head_bytes:
            raise ReplyTooLarge("the reply's head, trailers or chunk extensions are too long")

    def close(self) -> None:
        """Let go of the parser, which refers back to us: without this only the cycle collector would free both."""
        del self._machine

    def _fail(self, fault: WireFault) -> WireFault:
        # An exception in a callback reaches us as a parser error without its cause: keep it here.
        self._verdict = fault
        return fault

    # What follows is called by httptools, in the order of the message.

    def on_message_begin(self) -> None:
        if not self._expected:
            raise self._fail(BadReply("a reply that nobody asked for"))
        self._pairs = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._expected:
            self._pairs.append((name.lower(), value.rstrip()))
            return
        # Trailers are dropped.
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > self._limits.head_bytes:
            raise self._fail(ReplyTooLarge("the trailer section is too long"))

    def on_headers_complete(self) -> None:
        status = self._machine.get_status_code()
        # What was fed bounds what was decoded: the exact sum is needed only for a long segment.
        if self._raw > self._limits.head_bytes and self._decoded() > self._limits.head_bytes:
            raise self._fail(ReplyTooLarge("the reply's head is too long"))
        if 100 <= status < 200:
            self._skip(status)
            return
        head = ReplyHead(status, Headers(self._pairs))
        self._check(head)
        self._expected = False
        self._sink.head_came(head)

    def on_body(self, part: bytes) -> None:
        self._raw = 0
        self._sink.body_came(part)

    def on_message_complete(self) -> None:
        if self._skipping:
            self._skipping = False
            return
        self._pairs = []
        self._sink.reply_ended(reusable=self._machine.should_keep_alive())

    def _decoded(self) -> int:
        return sum(len(name) + len(value) for name, value in self._pairs)

    def _skip(self, status: int) -> None:
        self._interim += 1
        if status == 101 or self._interim > self._limits.interim_replies:
            raise self._fail(BadReply("a protocol switch, or too many interim replies"))
        self._skipping = True

    def _check(self, head: ReplyHead) -> None:
        status, headers = head
        # An interim reply may have been in front of this one, in another version.
        version = "1.1" if self._plain and not self._interim else self._machine.get_http_version()
        if version not in _VERSIONS or not 200 <= status <= 599:
            raise self._fail(BadReply(f"HTTP/{version} with status {status}"))
        transfer = headers.get(b"transfer-encoding")
        if transfer is not None and (transfer.lower() != b"chunked" or version == "1.0"):
            raise self._fail(BadReply("a transfer coding other than chunked, or HTTP/1.0 with one"))
        # Nothing here asked for an encoding and nothing here undoes one.
        if headers.get(b"content-encoding") not in _UNENCODED:
            raise self._fail(BadReply("the reply is encoded"))
        self.until_close = transfer is None and headers.get(b"content-length") is None and status not in _BODILESS
