"""Many deadlines behind one timer: most calls end long before theirs, so setting one must cost next to nothing.

Does what `asyncio.timeout` does, later by up to `RESOLUTION` seconds, without a timer for each call. Knows no call.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

RESOLUTION = 0.02


class Alarm:
    """The deadlines of one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._limits: set[Limit] = set()
        self._ringing = False

    def until(self, at: float) -> Limit:
        """A context in which the current task is cancelled at `at` (monotonic) and `TimeoutError` raised instead."""
        return Limit(self, at)

    def add(self, limit: Limit) -> None:
        self._limits.add(limit)
        if not self._ringing:
            self._ringing = True
            self.loop.call_later(RESOLUTION, self._ring)

    def discard(self, limit: Limit) -> None:
        self._limits.discard(limit)

    def end(self) -> None:
        """Every deadline passes now."""
        for limit in tuple(self._limits):
            self._limits.discard(limit)
            limit.expire()

    def _ring(self) -> None:
        now = time.monotonic()
        for limit in [limit for limit in self._limits if limit.at <= now]:
            self._limits.discard(limit)
            limit.expire()
        self._ringing = bool(self._limits)
        if self._ringing:
            self.loop.call_later(RESOLUTION, self._ring)


class Limit:
    """One deadline of one task; see `Alarm.until`."""

    __slots__ = ("_alarm", "_cancelling", "_expired", "_task", "at")

    def __init__(self, alarm: Alarm, at: float) -> None:
        self._alarm = alarm
        self.at = at
        self._expired = False

    def __enter__(self) -> None:
        # With its loop given: to find out the loop costs a system call (CPython before 3.12 asks for the process id).
        task = asyncio.current_task(self._alarm.loop)
        assert task is not None  # noqa: S101  # only tasks wait
        self._task = task
        self._cancelling = task.cancelling()
        self._alarm.add(self)

    def expire(self) -> None:
        """The deadline has passed."""
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._alarm.discard(self)
        # The cancellation is ours alone: nobody else asked the task to end meanwhile.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
