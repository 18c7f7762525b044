"""One HTTP/1.1 connection at byte level, server side; knows framing and events, and nothing of MCP."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

Headers = Iterable[tuple[str, str]]

_LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class HttpRequest:
    """One request as it came: `fields` in wire order and spelling, `headers` by lower-case name (last one wins)."""

    method: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    version: str = "HTTP/1.1"
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = {name.lower(): value for name, value in self.fields}

    def count(self, name: str) -> int:
        return sum(1 for given, _ in self.fields if given.lower() == name)


class Wire(asyncio.Protocol):
    """Reads requests, writes whatever it is told to, and says at once when the peer is gone (`lost`)."""

    def __init__(self, on_open: Callable[[Wire], None]) -> None:
        self._on_open = on_open
        self._buffer = bytearray()
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._watchers: set[Callable[[], None]] = set()
        self.lost = False
        self.answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._on_open(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._more.set()

    def eof_received(self) -> None:
        self._lose()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _lose(self) -> None:
        self.lost = True
        self._more.set()
        self._writable.set()
        for watcher in tuple(self._watchers):
            watcher()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` when the peer is gone; at once when it already is."""
        self._watchers.add(watcher)
        if self.lost:
            watcher()

    def unwatch(self, watcher: Callable[[], None]) -> None:
        self._watchers.discard(watcher)

    async def until_lost(self) -> None:
        gone = asyncio.Event()
        self.watch(gone.set)
        await gone.wait()

    async def request(self) -> HttpRequest | None:
        """The next request, or None when the peer is gone or speaks something else than HTTP/1."""
        head = await self._read_past(b"\r\n\r\n")
        if head is None:
            return None
        line, *rest = head.decode("latin-1").split("\r\n")
        parts = line.split(" ")
        if len(parts) != 3:
            return None
        fields = [(name, value.strip()) for name, _, value in (text.partition(":") for text in rest)]
        request = HttpRequest(parts[0], parts[1], fields, version=parts[2])
        body = await self._body(request)
        if body is None:
            return None
        request.body = body
        return request

    async def _body(self, request: HttpRequest) -> bytes | None:
        if request.headers.get("expect", "").lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" not in request.headers.get("transfer-encoding", "").lower():
            return await self._read_exactly(int(request.headers.get("content-length", "0")))
        whole = bytearray()
        while (size := await self._read_past(b"\r\n")) is not None:
            chunk = await self._read_exactly(int(size.split(b";")[0], 16) + 2)
            if chunk is None:
                return None
            if chunk == b"\r\n":
                return bytes(whole)
            whole += chunk[:-2]
        return None

    async def _read_past(self, mark: bytes) -> bytes | None:
        while (end := self._buffer.find(mark)) < 0:
            if not await self._grow():
                return None
        piece = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return piece

    async def _read_exactly(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            if not await self._grow():
                return None
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        return piece

    async def _grow(self) -> bool:
        if self.lost:
            return False
        self._more.clear()
        await self._more.wait()
        return True

    def write(self, data: bytes) -> None:
        if data and not self.lost:
            self.transport.write(data)

    async def send(self, data: bytes) -> bool:
        """Write, wait until the peer takes more; false when the peer is gone."""
        self.write(data)
        await self._writable.wait()
        return not self.lost

    def head(self, status: int, headers: Headers) -> None:
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
        self.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    def respond(self, status: int, body: bytes = b"", headers: Headers = ()) -> None:
        self.head(status, [*headers, ("content-length", str(len(body)))])
        self.write(body)

    def respond_json(self, status: int, message: Any, headers: Headers = ()) -> None:
        self.respond(status, json.dumps(message).encode(), [("content-type", "application/json"), *headers])

    def start_events(self, headers: Headers = ()) -> None:
        """The head of a chunked `text/event-stream` answer."""
        self.head(
            200,
            [
                ("content-type", "text/event-stream"),
                ("cache-control", "no-cache, no-transform"),
                ("x-accel-buffering", "no"),
                ("transfer-encoding", "chunked"),
                *headers,
            ],
        )

    def chunk(self, data: bytes) -> None:
        self.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def end_chunks(self) -> None:
        self.write(b"0\r\n\r\n")

    def close(self) -> None:
        self.transport.close()

    def mute(self) -> None:
        """Write nothing from here on, whoever tries, and tell nobody that the peer is gone: it is us who go."""
        self.lost = True
        self._watchers.clear()

    def reset(self) -> None:
        """Close with RST instead of FIN, as a crashed or firewalled peer does."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.transport.abort()


def event(message: Any = None, *, event_id: str = "", retry_ms: int | None = None) -> bytes:
    """One server-sent event; without a message it is the priming event of MCP 2025-11-25 (id and empty data)."""
    lines = [f"id: {event_id}"] if event_id else []
    if retry_ms is not None:
        lines.append(f"retry: {retry_ms}")
    lines += ["data: "] if message is None else ["event: message", f"data: {json.dumps(message)}"]
    return ("\n".join(lines) + "\n\n").encode()
