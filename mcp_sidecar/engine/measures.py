"""What the engine tells whoever measures. Knows no instrument."""

from __future__ import annotations

from typing import Protocol


class Measures(Protocol):
    """Hears of exchanges and of attempts; called on the hot path."""

    def exchanged(self, method: str, server: str, tool: str, error: str, seconds: float) -> None:
        """One exchange with a server; `error` in one word, empty for none."""

    def retried(self, reason: str) -> None:
        """A call is sent again."""

    def conversed(self, seconds: float) -> None:
        """A client of the 2025 era is gone for good."""


class Unmeasured:
    """Nobody measures."""

    def exchanged(self, method: str, server: str, tool: str, error: str, seconds: float) -> None: ...

    def retried(self, reason: str) -> None: ...

    def conversed(self, seconds: float) -> None: ...
