"""That what a server offers has changed: as marks to compare, and for whoever counts. Keeps nothing of those gone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import count

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
    """Tells `notify` which server offers something else, and how that is known: `announced` by it, or `found`.

    `version` is for whoever looks now and then: it is another one after every change, also within the same second.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.notify: Callable[[str, str], None] = lambda _server, _how: None
        self._clock = clock
        self._last: dict[tuple[str, str], float] = {}
        self._versions: dict[str, int] = {}
        self._numbers = count(1)

    def version(self, server: str) -> int:
        """No number is given twice, also not to another server of that name."""
        return self._versions.get(server, 0)

    def changed(self, server: str) -> None:
        """It offers something else, or may; nobody counts that."""
        self._versions[server] = next(self._numbers)

    def announced(self, server: str, method: str) -> None:
        """Somebody who listens to the server hears this from it."""
        self.changed(server)
        now = self._clock()
        if now - self._last.get((server, method), -_SAME_SECONDS) >= _SAME_SECONDS:
            self._last[server, method] = now
            self.notify(server, "announced")

    def found(self, server: str) -> None:
        """A list is not what it was when it was read before."""
        self.changed(server)
        self.notify(server, "found")

    def bury(self, server: str) -> None:
        """It is gone."""
        self._versions.pop(server, None)
        self._last = {key: at for key, at in self._last.items() if key[0] != server}
