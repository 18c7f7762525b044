"""What a legacy session says by itself, heard once and handed to every listener; knows no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from mcp_sidecar.errors import Execution, SendQueueFull, SidecarError, UpstreamLost, UpstreamUnavailable
from mcp_sidecar.outbound.link import Sink
from mcp_sidecar.protocol.jsonrpc import Request

_BACKLOG = 100  # messages a listener may be behind before it is dropped
_OPEN_SECONDS = 2.0  # for servers that send no headers before the first message
_ATTEND_SECONDS = 0.25  # questions on it are rare: a call does not wait longer for it
_REOPEN_SECONDS = 1.0


class NoStream(UpstreamUnavailable):
    """The server has no stream for what it says by itself; that may still come with answers."""

    reason = "UPSTREAM_NO_STREAM"


class Source(Protocol):
    """Whose stream is heard."""

    async def hear(self, opened: Callable[[], None]) -> None:
        """Say when the stream is open, then `deliver` every message until it ends; raises `SidecarError` when it
        cannot be had.
        """


class Hearing:
    """The listeners of one session. The stream is open while there is one."""

    def __init__(self, source: Source, tasks: asyncio.TaskGroup) -> None:
        self._source = source
        self._tasks = tasks
        self._listeners: set[_Listener] = set()
        self._attended = False
        self._pump: asyncio.Task[None] | None = None
        self._open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def listen(self, sink: Sink, begun: Callable[[], Awaitable[None]]) -> None:
        """Pass on to `sink` until the stream is lost. Raises why, or `SendQueueFull` when `sink` is too slow.

        `begun` is awaited once the stream is open: nothing the server says after that is missed.
        """
        listener = _Listener()
        self._listeners.add(listener)
        self._begin()
        try:
            await asyncio.wait({self._open}, timeout=_OPEN_SECONDS)
            if not listener.lost:
                await begun()
            while True:
                message = await listener.next()
                await sink.notify(message.method, message.encode(b""))
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._pump is not None and not self._attended:
                self._pump.cancel()
                self._pump = None

    async def attend(self) -> None:
        """Keep the stream open although nobody listens: questions may come on it. Waits for it a moment."""
        self._attended = True
        if self._pump is None:
            self._begin()
            await asyncio.wait({self._open}, timeout=_ATTEND_SECONDS)

    def _begin(self) -> None:
        if self._pump is None:
            self._open = asyncio.get_running_loop().create_future()
            self._pump = self._tasks.create_task(self._run(), name="hear a session")

    def deliver(self, message: Request) -> None:
        """Hand a message to every listener; never waits."""
        for listener in self._listeners:
            listener.put(message)

    async def _run(self) -> None:
        """Servers may end the stream whenever they like (2025-11-25, basic/transports): it is opened again."""
        while True:
            try:
                await self._source.hear(self._opened)
            except NoStream:
                self._opened()
                return
            except SidecarError as error:
                self.lose(error)
                return
            await asyncio.sleep(_REOPEN_SECONDS)

    def _opened(self) -> None:
        if not self._open.done():
            self._open.set_result(None)

    def lose(self, error: SidecarError | None = None) -> None:
        """The session is gone, or its stream cannot be had: tell every listener. `error` is the cause."""
        pump, self._pump, self._attended = self._pump, None, False
        if pump is not None and pump is not asyncio.current_task():
            pump.cancel()
        lost = UpstreamLost("what the MCP server says by itself can no longer be heard", execution=Execution.DONE)
        lost.__cause__ = error
        for listener in self._listeners:
            listener.end(lost)
        self._opened()


class _Listener:
    """A bounded queue with an end."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Request | SidecarError] = asyncio.Queue()
        self.lost = False

    def put(self, message: Request) -> None:
        if self._queue.qsize() < _BACKLOG:
            self._queue.put_nowait(message)
        elif self._queue.qsize() == _BACKLOG:
            self.end(SendQueueFull(f"the listener is {_BACKLOG} messages behind"))

    def end(self, error: SidecarError) -> None:
        self.lost = True
        self._queue.put_nowait(error)

    async def next(self) -> Request:
        item = await self._queue.get()
        if isinstance(item, SidecarError):
            raise item
        return item
