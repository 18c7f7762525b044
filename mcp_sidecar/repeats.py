"""Holds back warnings that say the same again and again. Knows no log and no warning's meaning."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_KEYS = 256


class Repeats:
    """Lets `burst` of a kind through in `seconds`, and tells the next one how many did not get through."""

    def __init__(self, burst: int = 10, seconds: float = 60.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._seconds = seconds
        self._clock = clock
        self._kinds: OrderedDict[tuple[str, str], _Kind] = OrderedDict()

    def admit(self, event: str, about: str) -> int | None:
        """How many of this kind were held back since the last that was not; None if this one is."""
        now = self._clock()
        kind = self._kinds.get((event, about))
        if kind is None:
            if len(self._kinds) >= _MOST_KEYS:
                self._kinds.popitem(last=False)
            kind = self._kinds[event, about] = _Kind(now)
        if now - kind.since >= self._seconds:
            kind.since, kind.told = now, 0
        if kind.told >= self._burst:
            kind.held_back += 1
            return None
        kind.told += 1
        held_back, kind.held_back = kind.held_back, 0
        return held_back


class _Kind:
    """What was told of one kind since a moment, and what was not."""

    __slots__ = ("held_back", "since", "told")

    def __init__(self, since: float) -> None:
        self.since = since
        self.told = 0
        self.held_back = 0
