"""A client's own notifications on their way to its servers, in order and before later requests. Knows no wire."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from mcp_sidecar.call import Client
from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.tasks import Job

_MOST = 64
_MOST_BYTES = 4 * 1024 * 1024
_PATIENCE_SECONDS = 1.0
_NOTIFICATIONS = "notifications/"
# What the sidecar says to servers in its own words, when the conversation with each is begun or a request is ended.
_OURS = frozenset(("notifications/initialized", "notifications/cancelled"))


def goes_on(message: Request) -> bool:
    """A message without an id that is a server's to hear. A method of requests is none: some servers would run it."""
    return message.method.startswith(_NOTIFICATIONS) and message.method not in _OURS


class Tells(Protocol):
    """The engine."""

    async def tell(self, client: Client, notification: Request) -> None:
        """Pass on what a client tells; never fails, and takes a second or so at most."""


class Telling:
    """What one client told and its servers were not told yet. What there is no room for is dropped."""

    def __init__(self, client: Client, engine: Tells, tasks: asyncio.TaskGroup) -> None:
        self._client = client
        self._engine = engine
        self._tasks = tasks
        self._waiting: deque[Request | asyncio.Event] = deque()
        self._bytes = 0
        self._job: Job[None] | None = None

    def put(self, notification: Request) -> None:
        """Pass it on soon; never waits."""
        size = _size(notification)
        if self._waiting and (len(self._waiting) >= _MOST or self._bytes + size > _MOST_BYTES):
            return
        self._bytes += size
        self._waiting.append(notification)
        if self._job is None:
            self._job = Job(self._tasks, self._pass_on(), "pass notifications on")

    async def passed(self) -> None:
        """Wait until what was put so far is with the servers, or for a moment."""
        if self._job is None:
            return
        reached = asyncio.Event()
        self._waiting.append(reached)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await reached.wait()
        except TimeoutError:
            pass  # a server that does not take a notification does not hold requests up

    def stop(self) -> None:
        """The client is gone."""
        if self._job is not None:
            self._job.cancel()

    async def _pass_on(self) -> None:
        while self._waiting:
            told = self._waiting.popleft()
            if isinstance(told, asyncio.Event):
                told.set()
                continue
            self._bytes -= _size(told)
            await self._engine.tell(self._client, told)
        self._job = None


def _size(notification: Request) -> int:
    return sum(map(len, notification.params.values())) + sum(map(len, notification.meta.values()))
