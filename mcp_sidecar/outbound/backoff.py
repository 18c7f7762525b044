"""How long to wait before trying again; knows neither a clock nor what is tried."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, with the jitter of gRFC A6 (a factor of 0.8 to 1.2). Seconds."""

    first: float = 0.5
    factor: float = 2.0
    longest: float = 30.0
    draw: Callable[[float, float], float] = random.uniform

    def delay(self, failures: int) -> float:
        """The wait after so many failures in a row (1 or more)."""
        # 64 doublings exceed any `longest`, and the power itself must not overflow.
        return min(self.longest, self.first * self.factor ** min(failures - 1, 64)) * self.draw(0.8, 1.2)
