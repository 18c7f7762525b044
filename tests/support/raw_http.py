"""A small raw HTTP/1.1 client for tests: one connection a request, no retries, no opinions, no MCP."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

SECONDS = 20.0
JSON_AND_EVENTS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


@dataclass(slots=True)
class Event:
    """One server-sent event; `message` is its data as JSON, None when it has none (a priming event)."""

    data: str = ""
    event: str = "message"
    id: str = ""
    retry: int | None = None

    @property
    def message(self) -> Any:
        return json.loads(self.data) if self.data else None


@dataclass(slots=True)
class Reply:
    """A whole answer. `headers` are by lower-case name; `messages` are the JSON documents in it, in order."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    events: list[Event] = field(default_factory=list)

    @property
    def streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def messages(self) -> list[Any]:
        if self.streamed:
            return [event.message for event in self.events if event.data]
        return [json.loads(self.body)] if self.body else []


class Exchange:
    """An open request: head read, body coming. Iterate over `events()`, or `read()` it all."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}

    async def read_head(self) -> None:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        self.status = int(first.split(" ", 2)[1])
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `asyncio.IncompleteReadError` when it is cut short."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
                yield (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readuntil(b"\r\n")
        elif "content-length" in self.headers:
            yield await self._reader.readexactly(int(self.headers["content-length"]))
        elif self.status not in (202, 204, 304):
            while piece := await self._reader.read(65536):
                yield piece

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])

    async def events(self) -> AsyncIterator[Event]:
        """Server-sent events as they come; comments are dropped, what is not UTF-8 is replaced."""
        rest = b""
        async for piece in self.pieces():
            *blocks, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
            for block in blocks:
                if event := _event(block.decode(errors="replace")):
                    yield event

    async def messages(self) -> AsyncIterator[Any]:
        """The JSON-RPC messages of an event stream as they come."""
        async for event in self.events():
            if event.data:
                yield event.message

    def close(self) -> None:
        """Hang up, whatever is still to come."""
        self._writer.transport.abort()


def _event(block: str) -> Event | None:
    event = Event()
    found = False
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        found = found or bool(name)
        if name == "data":
            event.data = f"{event.data}\n{value}" if event.data else value
        elif name == "retry":
            event.retry = int(value)
        elif name == "id":
            event.id = value
        elif name == "event":
            event.event = value
    return event if found else None


@contextlib.asynccontextmanager
async def opened(
    method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Exchange]:
    """Send a request, read the answer's head; the connection is cut when the block ends.

    Bodies are sent as they are. Raises `OSError`, and `TimeoutError` when the head takes too long.
    """
    where = urlsplit(url)
    target = where.path + (f"?{where.query}" if where.query else "")
    fields = {"Host": where.netloc, "Connection": "close", **(headers or {})}
    if body or method == "POST":
        fields.setdefault("Content-Length", str(len(body)))
    head = "".join(
        [f"{method} {target} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in fields.items()), "\r\n"]
    )
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=1 << 20)
    exchange = Exchange(reader, writer)
    try:
        async with asyncio.timeout(SECONDS):
            writer.write(head.encode("latin-1") + body)
            await exchange.read_head()
        yield exchange
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):  # that it was reset is told by what was read
            await writer.wait_closed()


async def request(method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
    """One request and its whole answer."""
    async with asyncio.timeout(SECONDS), opened(method, url, body, headers) as exchange:
        reply = Reply(exchange.status, exchange.headers)
        if reply.streamed:
            reply.events = [event async for event in exchange.events()]
        else:
            reply.body = await exchange.read()
        return reply


async def post(url: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """POST JSON (or bytes as they are) with the headers MCP wants of every POST; `headers` go over them."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await request("POST", url, raw, {**JSON_AND_EVENTS, **(headers or {})})
