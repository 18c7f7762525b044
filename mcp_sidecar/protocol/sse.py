"""Server-sent events, read and written (WHATWG HTML, "Server-sent events"); knows nothing of what they carry."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mcp_sidecar.errors import MalformedMessage

MAX_EVENT = 16 * 1024 * 1024  # bytes, the largest reply of an upstream

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One dispatched event. `retry` (milliseconds) and `id` are as last seen on the stream; data may be empty."""

    name: str
    data: bytes
    id: str = ""
    retry: int | None = None


class Parser:
    """Turns chunks of an event stream into events, wherever it is cut.

    `last_id` is what a client sends as `Last-Event-ID`; `retry` is the wait before it does, in milliseconds.
    """

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max = max_event
        self._buffer = bytearray()
        self._scanned = 0
        self._started = False
        self._after_cr = False
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._id: str | None = None
        self.last_id = ""
        self.retry: int | None = None

    def resumed(self) -> Parser:
        """A parser for the continuation of this stream on another connection."""
        parser = Parser(self._max)
        parser.last_id, parser.retry = self.last_id, self.retry
        return parser

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes. Raises `MalformedMessage` when one outgrows the limit."""
        self._buffer += chunk
        if not self._skip_prefix():
            return []
        events: list[Event] = []
        start = 0
        while match := _LINE_END.search(self._buffer, max(start, self._scanned)):
            line = bytes(self._buffer[start : match.start()])
            # A lone CR ends the line at once; the LF of a CRLF cut in two must then not count as another line.
            self._after_cr = match.group() == b"\r" and match.end() == len(self._buffer)
            start = self._scanned = match.end()
            if (event := self._line(line)) is not None:
                events.append(event)
        del self._buffer[:start]
        self._scanned = len(self._buffer)
        self._check(len(self._buffer))
        return events

    def _skip_prefix(self) -> bool:
        """Drop a byte order mark and the second half of a cut CRLF; False while that cannot be told yet."""
        if not self._started:
            if len(self._buffer) < len(_BOM) and _BOM.startswith(self._buffer):
                return False
            self._started = True
            if self._buffer.startswith(_BOM):
                del self._buffer[: len(_BOM)]
        if self._after_cr and self._buffer:
            self._after_cr = False
            if self._buffer.startswith(b"\n"):
                del self._buffer[:1]
        return True

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._check(self._size + len(value) + 1)
            self._data.append(value)
            self._size += len(value) + 1
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) <= 9:
            self.retry = int(value)
        return None

    def _dispatch(self) -> Event | None:
        name, data, seen = self._name, self._data, self._id
        self._name, self._data, self._size, self._id = "", [], 0, None
        if seen is not None:
            self.last_id = seen  # not before the event is whole: a stream is resumed after what was delivered
        elif not data:
            return None
        return Event(name or "message", b"\n".join(data), self.last_id, self.retry)

    def _check(self, size: int) -> None:
        if size > self._max:
            raise MalformedMessage(f"an event is larger than {self._max} bytes")


def encode(message: bytes) -> bytes:
    """An event that carries one JSON message.

    Line ends in JSON text are white space (inside strings they are escaped), so they become blanks: nothing a message
    holds can begin another field.
    """
    if b"\n" in message or b"\r" in message:
        message = message.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"event: message\ndata: %b\n\n" % message


def numbered(event_id: bytes, message: bytes) -> bytes:
    """The same with an id, after which the stream can be resumed."""
    return b"id: %b\n%b" % (event_id, encode(message))


def priming(event_id: bytes, retry: int) -> bytes:
    """An event without data that gives a stream its first id (MCP 2025-11-25, basic/transports); `retry` in ms."""
    return b"id: %b\nretry: %d\ndata: \n\n" % (event_id, retry)


KEEP_ALIVE = b": keep-alive\n\n"
