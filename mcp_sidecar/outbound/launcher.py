"""Starts the program of a server, as often as it has to be and not as often as it could; knows no message."""

from __future__ import annotations

import asyncio
import time

from mcp_sidecar.directory import Command
from mcp_sidecar.errors import UpstreamUnavailable
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound.backoff import Backoff
from mcp_sidecar.outbound.chatter import Chatter
from mcp_sidecar.outbound.guardian import Guardian
from mcp_sidecar.outbound.stdio import Child

_STEADY_SECONDS = 10.0  # who ends before that has failed to start
_LONGEST_WAIT = 1.0  # a caller waits for so long, or is told when to come again
_SPARE_SECONDS = 10.0


class Launcher:
    """One program: how often it failed in a row, and a child that runs and that nobody uses yet."""

    def __init__(
        self, command: Command, guardian: Guardian, log: Log, tasks: asyncio.TaskGroup, backoff: Backoff | None = None
    ) -> None:
        self._command = command
        self._guardian = guardian
        self._chatter = Chatter(log, command.upstream)
        self._tasks = tasks
        self._backoff = backoff or Backoff()
        self._failures = 0
        self._not_before = 0.0
        self._spare: Child | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, *, trial: bool = False) -> Child:
        """A running child: the spare one, or a new one. That of a `trial` may end early without counting as failed.

        Raises `UpstreamUnavailable` when it cannot be started, or failed so often that it is too early to try again.
        """
        spare, self._spare = self._spare, None
        if spare is not None and spare.running:
            return spare
        wait = self._not_before - time.monotonic()
        if wait > _LONGEST_WAIT:
            message = f"the MCP server {self._command.upstream!r} ended {self._failures} times in a row after its start"
            raise UpstreamUnavailable(message, retry_after=wait, metadata={"server": self._command.upstream})
        await asyncio.sleep(max(0.0, wait))
        child = Child(self._command, self._guardian, self._chatter, self._tasks, lambda: self._exited(child, trial))
        await child.start()
        return child

    def _exited(self, child: Child, trial: bool) -> None:
        lived = time.monotonic() - child.started_at
        if lived >= _STEADY_SECONDS:
            self._failures = 0
        if not trial:
            self._failures += 1
            self._not_before = time.monotonic() + self._backoff.delay(self._failures)

    def keep(self, child: Child) -> None:
        """A child that works and is free for whoever starts one next."""
        self._spare = child
        self._timer = asyncio.get_running_loop().call_later(_SPARE_SECONDS, self._drop, child)

    def _drop(self, child: Child) -> None:
        if self._spare is child:
            self._spare = None
            self._tasks.create_task(child.close(), name=f"end {self._command.upstream}")

    async def close(self) -> None:
        """End the child that nobody uses."""
        if self._timer is not None:
            self._timer.cancel()
        spare, self._spare = self._spare, None
        if spare is not None:
            await spare.close()
