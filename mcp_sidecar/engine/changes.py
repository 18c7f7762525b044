"""How often what a server offers has changed, as marks to compare; keeps nothing of servers that are gone."""

from __future__ import annotations

from collections import Counter

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
