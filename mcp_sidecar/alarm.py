"""Many deadlines behind one timer: most calls end long before theirs, so setting one must cost next to nothing.

Does what `asyncio.timeout` does, later by up to `RESOLUTION` seconds, without a timer for each call. Knows no call.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

import msgspec

RESOLUTION = 0.02


class Alarm:
    """The deadlines of one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.limits: set[Limit] = set()
        self.ringing = False

    def until(self, at: float) -> Limit:
        """A context in which the current task is cancelled at `at` (monotonic) and `TimeoutError` raised instead."""
        return Limit(self, at)

    def end(self) -> None:
        """Every deadline passes now."""
        for limit in tuple(self.limits):
            self.limits.discard(limit)
            limit.expire()

    def arm(self, limit: Limit) -> None:
        """The limit holds for the current task from here on."""
        # With its loop given: to find out the loop costs a system call (CPython before 3.12 asks for the process id).
        task = limit.task = asyncio.current_task(self.loop)
        assert task is not None  # noqa: S101  # only tasks wait
        limit.cancelling = task.cancelling()
        self.limits.add(limit)
        if not self.ringing:
            self.ringing = True
            self.loop.call_later(RESOLUTION, self._ring)

    def _ring(self) -> None:
        now = time.monotonic()
        for limit in [limit for limit in self.limits if limit.at <= now]:
            self.limits.discard(limit)
            limit.expire()
        self.ringing = bool(self.limits)
        if self.ringing:
            self.loop.call_later(RESOLUTION, self._ring)


class Limit(msgspec.Struct, eq=False, gc=False):
    """One deadline of one task; see `Alarm.until`."""

    alarm: Alarm
    at: float
    task: asyncio.Task[object] | None = None
    cancelling: int = 0
    expired: bool = False

    def __enter__(self) -> None:
        self.alarm.arm(self)

    def expire(self) -> None:
        """The deadline has passed."""
        assert self.task is not None  # noqa: S101  # entered
        self.expired = True
        self.task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.alarm.limits.discard(self)
        if not self.expired or self.task is None:
            return
        # The cancellation is ours alone: nobody else asked the task to end meanwhile.
        if self.task.uncancel() <= self.cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
