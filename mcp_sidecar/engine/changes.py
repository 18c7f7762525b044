"""That what a server offers has changed: as marks to compare, and for whoever counts. Keeps nothing of those gone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

Mark = tuple[int, int]


class Changes:
    """What was asked under one mark is out of date under another."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._buried = 0

    def mark(self, server: str) -> Mark:
        return self._counts[server], self._buried  # a Counter makes no entry for those it is asked for

    def note(self, server: str) -> None:
        """It offers something else."""
        self._counts[server] += 1

    def bury(self, server: str) -> None:
        """It is gone, and another one may come by the same name. For all others this counts as a change, too."""
        self._counts.pop(server, None)
        self._buried += 1


_SAME_SECONDS = 1.0
"""All who listen hear of a change within so long: it is one."""


class Told:
    """Tells `notify` which server offers something else, and how that is known: `announced` by it, or `found`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.notify: Callable[[str, str], None] = lambda _server, _how: None
        self._clock = clock
        self._last: dict[tuple[str, str], float] = {}

    def announced(self, server: str, method: str) -> None:
        """Somebody who listens to the server hears this from it."""
        now = self._clock()
        if now - self._last.get((server, method), -_SAME_SECONDS) >= _SAME_SECONDS:
            self._last[server, method] = now
            self.notify(server, "announced")

    def found(self, server: str) -> None:
        """A list is not what it was when it was read before."""
        self.notify(server, "found")

    def bury(self, server: str) -> None:
        """It is gone."""
        self._last = {key: at for key, at in self._last.items() if key[0] != server}
