"""Seconds for the tests of `mcp_sidecar.kube`: they pass when somebody sleeps or when the test says so."""

from __future__ import annotations

import asyncio
import contextlib

from mcp_sidecar.kube.pace import Time

BOUND = 10.0  # real seconds: nothing here takes longer on a machine that works


class FakeTime:
    """Whoever sleeps makes time pass, until `horizon`; from there on sleepers stay asleep and `over` is set."""

    def __init__(self, horizon: float = float("inf"), *, jitter: float = 0.5) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []
        self.over = asyncio.Event()
        self._horizon = horizon
        self._jitter = jitter
        self._limits: list[tuple[float, asyncio.Timeout]] = []
        self._asked: list[float] = []
        self._news = asyncio.Event()

    @property
    def time(self) -> Time:
        return Time(lambda: self.seconds, self._sleep, self._limit, self._draw)

    def advance(self, seconds: float) -> None:
        """Let time pass; limits that are over end what they limit."""
        self.seconds += seconds
        due = [timeout for when, timeout in self._limits if when <= self.seconds]
        self._limits = [limit for limit in self._limits if limit[0] > self.seconds]
        for timeout in due:
            with contextlib.suppress(RuntimeError):  # what it limited has ended in time
                timeout.reschedule(0)

    async def limited(self, seconds: float, times: int = 1) -> None:
        """Wait until something was limited to so many seconds, so many times in all."""
        async with asyncio.timeout(BOUND):
            while self._asked.count(seconds) < times:
                self._news.clear()
                await self._news.wait()

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.seconds + seconds > self._horizon:
            self.over.set()
            await asyncio.Event().wait()
        self.advance(seconds)
        await asyncio.sleep(0)

    def _limit(self, seconds: float) -> asyncio.Timeout:
        timeout = asyncio.timeout(None)
        self._limits.append((self.seconds + seconds, timeout))
        self._asked.append(seconds)
        self._news.set()
        return timeout

    def _draw(self, low: float, high: float) -> float:
        return low + (high - low) * self._jitter
