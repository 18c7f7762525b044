"""How fresh a source's knowledge is: when whom it asks answered last, and why it had to begin anew. Decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pulse:
    """Times are seconds on `clock`. `restarted` is called with the reason whenever something is followed anew."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[str, float] = {}
        self.restarted: Callable[[str], None] = lambda _: None

    def expect(self, what: str) -> None:
        """An answer about this must come from now on; its age counts already."""
        self._heard.setdefault(what, self._clock())

    def heard(self, what: str) -> None:
        """There was a good answer about this."""
        self._heard[what] = self._clock()

    def age(self) -> float:
        """Seconds since the last good answer about what was heard of longest ago; 0.0 when nothing is asked."""
        return max(0.0, self._clock() - min(self._heard.values())) if self._heard else 0.0
