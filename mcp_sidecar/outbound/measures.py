"""What is told of the sidecar's own side of its connections to whoever measures. Knows no instrument.

None of it happens on the way of a call that finds its connection standing, but for `called`.
"""

from __future__ import annotations

from typing import Protocol


class Measures(Protocol):
    """Hears of sessions, of waiting, of RPCs to other sidecars, and of endpoints that are avoided."""

    def waited(self, seconds: float) -> None:
        """A call had to wait for a connection, and got one or gave up."""

    def lasted(self, seconds: float) -> None:
        """A session of ours at a server of the 2025 era is over."""

    def called(self, method: str, code: str, seconds: float) -> None:
        """An RPC of ours (`package.Service/Method`) has ended with this status."""

    def turned(self, server: str, state: str) -> None:
        """An endpoint of a server is `avoided` from now on, or `ready` again."""


class Unmeasured:
    """Nobody measures."""

    def waited(self, seconds: float) -> None: ...

    def lasted(self, seconds: float) -> None: ...

    def called(self, method: str, code: str, seconds: float) -> None: ...

    def turned(self, server: str, state: str) -> None: ...


UNMEASURED = Unmeasured()
