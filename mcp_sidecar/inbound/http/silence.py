"""Signs of life for answers that take long: one timer for all of them. Knows no message."""

from __future__ import annotations

import asyncio
from typing import Protocol

_LOOKS = 8  # per period: a sign is late by an eighth of it at most


class Silent(Protocol):
    """What waits for something to say."""

    def fill_silence(self) -> None:
        """Show that somebody is there; never waits."""


class Silence:
    """Has everybody who was added say something every `seconds` or so. The timer runs while anybody waits."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self.since: dict[Silent, float] = {}
        """Who is silent, and since when; take out who needs no sign any more."""
        self._looking = False

    def add(self, one: Silent) -> None:
        """`one` is silent from now on."""
        self.since[one] = self._loop.time()
        if not self._looking:
            self._looking = True
            self._loop.call_later(self._seconds / _LOOKS, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        for one in [one for one, since in self.since.items() if now - since >= self._seconds]:
            self.since[one] = now
            one.fill_silence()
        self._looking = bool(self.since)
        if self._looking:
            self._loop.call_later(self._seconds / _LOOKS, self._look)
