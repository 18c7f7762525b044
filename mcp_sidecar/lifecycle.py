"""Is the sidecar started, is it draining, what is in flight? Knows neither listeners nor upstreams."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable

from mcp_sidecar.call import Deadline


class Phase(enum.Enum):
    """The life of a process, in order; it never goes back (docs/architecture.md, "A process's life")."""

    STARTING = "starting"
    SERVING = "serving"
    LAME_DUCK = "lame_duck"
    DRAINING = "draining"
    STOPPED = "stopped"


_ORDER = list(Phase)


class Lifecycle:
    """The one writer of the process's phase and of its in-flight count.

    Latches named at construction hold the start back until each is released; `advance` moves to a later phase.
    Whoever needs to react subscribes; a subscriber is called synchronously after every change.
    """

    def __init__(self, latches: tuple[str, ...] = ()) -> None:
        self._phase = Phase.STARTING
        self.admitting = True
        """New calls are served. True in the lame-duck phase: callers have not heard of the end yet."""
        self._waiting = set(latches)
        self.in_flight = 0
        """Admitted calls that have not ended: each adds itself, and takes itself back with `leave`."""
        self._hushed = False
        self._refused = 0
        self._idle: asyncio.Event | None = None  # while somebody waits for it
        self._subscribers: list[Callable[[Phase], None]] = []
        self.drain_deadline: Deadline | None = None

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def waiting_for(self) -> frozenset[str]:
        return frozenset(self._waiting)

    @property
    def started(self) -> bool:
        return self._phase is not Phase.STARTING

    @property
    def ready(self) -> bool:
        """Calls are welcome."""
        return self._phase is Phase.SERVING or (self._phase is Phase.LAME_DUCK and self._hushed)

    def hush(self) -> None:
        """Stay ready in the lame-duck phase, until `announce`."""
        self._hushed = True

    def announce(self) -> None:
        """Be not ready from the moment on in which the process begins to leave."""
        if self._hushed:
            self._hushed = False
            if self._phase is Phase.LAME_DUCK:
                self._tell()

    @property
    def refused(self) -> int:
        """How many calls were turned away because the process is leaving."""
        return self._refused

    def refuse(self) -> None:
        """A call was turned away because the process is leaving."""
        self._refused += 1

    def release(self, latch: str) -> None:
        """Give up one reason not to be started; the last one starts the process."""
        self._waiting.discard(latch)
        if not self._waiting and self._phase is Phase.STARTING:
            self.advance(Phase.SERVING)

    def advance(self, phase: Phase) -> None:
        """Move to a later phase; a phase already passed is ignored."""
        if _ORDER.index(phase) <= _ORDER.index(self._phase):
            return
        self._phase = phase
        self.admitting = phase in (Phase.SERVING, Phase.LAME_DUCK)
        self._tell()

    def _tell(self) -> None:
        for notify in tuple(self._subscribers):
            notify(self._phase)

    def subscribe(self, notify: Callable[[Phase], None]) -> Callable[[], None]:
        """Call `notify` after every change; returns what ends the subscription."""
        self._subscribers.append(notify)
        return lambda: self._subscribers.remove(notify) if notify in self._subscribers else None

    def leave(self) -> None:
        """An admitted call has ended."""
        self.in_flight -= 1
        if self._idle is not None and not self.in_flight:
            self._idle.set()

    async def quiet(self) -> None:
        """Wait until nothing is in flight."""
        while self.in_flight:
            self._idle = self._idle or asyncio.Event()
            await self._idle.wait()
            self._idle = None
