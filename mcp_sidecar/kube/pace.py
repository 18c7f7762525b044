"""How long to stay away from the API server, and the time that passes meanwhile; knows no request."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_FIRST = 0.8
_LONGEST = 30.0
_LONGEST_ASKED = 300.0
"""Seconds that a server may ask for with `Retry-After`."""
_HEALTHY = 60.0
"""A stream that lived so long ends the row of failures."""
_PER_REQUEST = 1.0


@dataclass(frozen=True, slots=True)
class Time:
    """Where seconds come from and go to."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    limit: Callable[[float], asyncio.Timeout] = asyncio.timeout
    draw: Callable[[float, float], float] = random.uniform


class Pace:
    """Exponential backoff with full jitter, and never more than a request a second, however the server fails."""

    def __init__(self, draw: Callable[[float, float], float]) -> None:
        self._draw = draw
        self._failures = 0
        self._requests = 0

    def request(self) -> None:
        """Count a request."""
        self._requests += 1

    def lived(self, seconds: float) -> None:
        """A stream was open for so long."""
        if seconds >= _HEALTHY:
            self._failures = 0
            self._requests = 0

    def wait(self, retry_after: float = 0.0, *, failed: bool = True) -> float:
        """How long to wait before the next request. A stream that ends at once is as good as one that failed."""
        if not failed and not self._requests:
            return self._draw(0.0, _FIRST)  # a server that restarts ends all its watches at once
        least, self._requests = self._requests * _PER_REQUEST, 0
        ceiling = min(_LONGEST, _FIRST * 2.0 ** min(self._failures, 16))
        self._failures += 1
        delay = self._draw(least, max(ceiling, least + _FIRST))
        return max(delay, min(retry_after, _LONGEST_ASKED))
