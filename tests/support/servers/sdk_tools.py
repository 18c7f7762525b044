"""The same tools, resources and prompt for both major versions of the official Python SDK; starts nothing.

What the two write differently is in `sdk1_dialogue` and `sdk2_dialogue`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from pydantic import BaseModel

try:
    from mcp.server.mcpserver import Context
    from mcp.server.mcpserver.exceptions import ToolError
except ImportError:
    from mcp.server.fastmcp import Context  # type: ignore[no-redef,attr-defined,unused-ignore]
    from mcp.server.fastmcp.exceptions import ToolError  # type: ignore[no-redef,import-not-found,unused-ignore]

RECORD = "GIVEN_UP"
"""The variable that names the file in which all processes of a server on stdio keep what `given_up` tells."""
COUNTER = "demo://counter"


class Forecast(BaseModel):
    """What `forecast` answers, as structured content."""

    city: str
    degrees: int


class Name(BaseModel):
    """What `ask_name` wants to know."""

    name: str


class Count:
    """What the resource `COUNTER` holds; `count_up` changes it."""

    def __init__(self) -> None:
        self.number = 0

    def up(self) -> str:
        self.number += 1
        return str(self.number)


count = Count()


class GivenUp:
    """The slow calls that were cancelled: in the file that `RECORD` names, or else those of this process."""

    def __init__(self, file: str | None) -> None:
        self._file = None if file is None else Path(file)
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        self._texts.append(text)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as record:
                record.write(text + "\n")

    def texts(self) -> list[str]:
        return self._texts if self._file is None else self._file.read_text("utf-8").splitlines()


cancelled = GivenUp(os.environ.get(RECORD))


def told(answer: Any) -> str:
    """What `ask_name` says about an elicitation's outcome."""
    return f"{answer.action}: {getattr(getattr(answer, 'data', None), 'name', None)}"


async def echo(text: str) -> str:
    """Give the text back."""
    return text


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def forecast(city: str) -> Forecast:
    """Tell tomorrow's temperature."""
    return Forecast(city=city, degrees=len(city))


async def progress(steps: int, ctx: Context, pause: float = 0.0) -> str:  # type: ignore[type-arg,unused-ignore]
    """Report that many steps, each followed by so many seconds of rest."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
        await asyncio.sleep(pause)
    return f"{steps} steps"


async def slow(seconds: float, text: str, ctx: Context) -> str:  # type: ignore[type-arg,unused-ignore]
    """Take that long; calls given up meanwhile are told by `given_up`."""
    await ctx.report_progress(0, 1, "begun")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cancelled.add(text)
        raise
    return text


async def given_up() -> str:
    """Tell which slow calls were cancelled."""
    return ",".join(cancelled.texts())


async def chatty(lines: int, ctx: Context) -> str:  # type: ignore[type-arg,unused-ignore]
    """Log that many lines."""
    for line in range(1, lines + 1):
        await ctx.info(f"line {line}")
    return f"{lines} lines"


async def fail(text: str) -> str:
    """Fail."""
    raise ToolError(text)


async def big(size: int) -> str:
    """Answer with that many characters."""
    return "x" * size


async def reconnect(ctx: Context) -> str:  # type: ignore[type-arg,unused-ignore]
    """Close the stream in mid-call, where the client can fetch the rest later."""
    # This runs beside the task that begins the stream: without a stop here it may close before its first event.
    await anyio.wait_all_tasks_blocked()
    await ctx.close_sse_stream()
    return "reconnected"


def greeting() -> str:
    return "hello"


def counter() -> str:
    return str(count.number)


def item(name: str) -> str:
    return name


def greet(who: str) -> str:
    """Greet somebody."""
    return f"Say hello to {who}."


TOOLS: tuple[Callable[..., Any], ...] = (
    echo,
    add,
    forecast,
    progress,
    slow,
    given_up,
    chatty,
    fail,
    big,
    reconnect,
)


def furnish(server: Any) -> None:
    """Register everything with an `MCPServer` (2.x) or a `FastMCP` (1.x)."""
    for tool in TOOLS:
        server.tool()(tool)
    server.resource("demo://greeting", mime_type="text/plain")(greeting)
    server.resource(COUNTER, mime_type="text/plain")(counter)
    server.resource("demo://item/{name}", mime_type="text/plain")(item)
    server.prompt()(greet)


class Events(EventStore):
    """Keeps every event for resumption by `Last-Event-ID`; the SDK brings no store of its own."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._events: dict[EventId, tuple[StreamId, Any]] = {}

    async def store_event(self, stream_id: StreamId, message: Any) -> EventId:
        event_id = str(next(self._numbers))
        self._events[event_id] = (stream_id, message)
        return event_id

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        if last_event_id not in self._events:
            return None
        stream_id = self._events[last_event_id][0]
        for event_id, (stream, message) in list(self._events.items()):
            if stream == stream_id and int(event_id) > int(last_event_id) and message is not None:
                await send_callback(EventMessage(message, event_id))
        return stream_id
