"""Looks after the connections in use: notices the broken ones and brings them back. Knows no client and no calls.

Passive first: exchanges report what they find. Only an existing session is asked (`ping`), and none is opened to look.
"""

from __future__ import annotations

import asyncio
import time

from mcp_sidecar.errors import SidecarError
from mcp_sidecar.outbound.backoff import Backoff
from mcp_sidecar.outbound.connection import Connection, State
from mcp_sidecar.outbound.pool import Pool
from mcp_sidecar.settings import MonitorSettings

_CHECK_SECONDS = 5.0
_SMALLEST_STEP = 0.25


class Monitor:
    """Checks quiet sessions every `interval` seconds and reconnects broken connections with backoff."""

    def __init__(
        self, settings: MonitorSettings, pool: Pool, tasks: asyncio.TaskGroup, backoff: Backoff | None = None
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._tasks = tasks
        self._backoff = backoff or Backoff()
        self._checking: set[str] = set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(min(_SMALLEST_STEP, self._settings.interval))
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Begin the checks that are due."""
        for connection in self._pool.connections():
            if connection.id not in self._checking and self._due(connection, now):
                self._checking.add(connection.id)
                self._tasks.create_task(self._check(connection), name=f"check {connection.id}")

    def _due(self, connection: Connection, now: float) -> bool:
        if connection.closing:
            return False  # it ends with its calls, and its endpoint may be no more
        if connection.state is State.DISCONNECTED:
            return now >= connection.retry_at
        # A stateless server has nothing that could be lost between two calls: calls themselves tell how it is.
        quiet = now - connection.heard_at >= self._settings.interval
        return connection.state is State.CONNECTED and connection.link.stateful and quiet

    async def _check(self, connection: Connection) -> None:
        broken = connection.state is State.DISCONNECTED
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._revive(connection) if broken else await connection.link.check()
        except (SidecarError, TimeoutError) as error:
            self._failed(connection, error)
        else:
            self._pool.report(connection, None)
        finally:
            self._checking.discard(connection.id)

    async def _revive(self, connection: Connection) -> None:
        """Bring back a connection that was in use: its session if the server still has it, else a fresh one."""
        try:
            await connection.link.check()
        except SidecarError:
            if not connection.link.stateful:
                raise  # opening does nothing, so it would prove nothing
            await connection.link.open()

    def _failed(self, connection: Connection, error: Exception) -> None:
        failure = error if isinstance(error, SidecarError) else SidecarError(f"no answer within {_CHECK_SECONDS:g} s")
        self._pool.report(connection, failure)
        # Checks are counted and not calls: a hundred calls lost at once are one failure of the server.
        connection.failures += 1
        connection.retry_at = time.monotonic() + self._backoff.delay(connection.failures)
