"""What changes, as server-sent events, until the sidecar drains. Knows no reader by name and keeps nothing for one.

A reader is told the newest state and the calls since the last time it was told, whenever it has taken what it was sent
before. Whoever reads slowly therefore misses states that are old by then, and no queue grows.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from mcp_sidecar.admin.door import EVENTS, JSON, Door, event
from mcp_sidecar.admin.recent import Recent, elapsed
from mcp_sidecar.admin.snapshot import Snapshots
from mcp_sidecar.lifecycle import Lifecycle, Phase
from mcp_sidecar.protocol.sse import KEEP_ALIVE
from mcp_sidecar.wire.http_server import Reply, Request

MOST_READERS = 16
_PACE_SECONDS = 0.25
_SILENT_SECONDS = 15.0


class Feed:
    """`GET /api/events`: `state`, `calls` and, before a drain ends the stream, `end`."""

    def __init__(
        self,
        door: Door,
        lifecycle: Lifecycle,
        recent: Recent,
        snapshots: Snapshots,
        *,
        pace: float = _PACE_SECONDS,
        silent: float = _SILENT_SECONDS,
    ) -> None:
        self._door = door
        self._lifecycle = lifecycle
        self._recent = recent
        self._snapshots = snapshots
        self._pace = pace
        self._silent = silent
        self._readers = 0

    async def __call__(self, request: Request, reply: Reply) -> None:
        """Tell one reader until it leaves or the sidecar does."""
        if await self._door.admit(request, reply, "admin/events") is None:
            return
        if request.head.method == "HEAD":
            reply.send(200, EVENTS, b"")  # there is nothing that such a reader could wait for
            return
        if self._readers >= MOST_READERS or not self._lifecycle.admitting:
            reply.send(503, JSON + b"retry-after: 2\r\n", b'{"error":"too many readers, or the sidecar is leaving"}')
            return
        leaving = asyncio.Event()
        unsubscribe = self._lifecycle.subscribe(lambda phase: leaving.set() if phase is Phase.DRAINING else None)
        self._readers += 1
        try:
            await self._tell(reply, leaving)
        finally:
            self._readers -= 1
            unsubscribe()

    async def _tell(self, reply: Reply, leaving: asyncio.Event) -> None:
        reply.start(200, EVENTS)
        told_state, told_call, told_at = b"", 0, time.monotonic()
        while True:
            over, state = leaving.is_set(), self._snapshots.text()
            news = b"" if state == told_state else event(b"state", state)
            news += self._calls_since(told_call)
            told_state, told_call = state, self._recent.count
            if news:
                await reply.write(news)
                told_at = time.monotonic()
            elif time.monotonic() - told_at >= self._silent:
                reply.offer(KEEP_ALIVE)
                told_at = time.monotonic()
            if over:
                await reply.write(event(b"end", b'"draining"'))
                reply.end()
                return
            try:
                async with asyncio.timeout(self._pace):
                    await leaving.wait()
            except TimeoutError:
                pass

    def _calls_since(self, number: int) -> bytes:
        """The calls after that one, with the number of those that are gone already; nothing when there are none."""
        calls = self._recent.since(number)
        if not calls:
            return b""
        ahead = elapsed()
        news = {
            "missed": calls[0].number - number - 1,
            "calls": [one.shown(ahead, self._recent.address) for one in calls],
        }
        return event(b"calls", msgspec.json.encode(news))
