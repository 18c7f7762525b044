"""What the sidecar says about its own health, as a plain board to read; knows no wire and asks no upstream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from mcp_sidecar.lifecycle import Lifecycle, Phase

STARTUP = "startup"
READINESS = "readiness"
LIVENESS = "liveness"

# A client that asks about the server as a whole, or about a service of it, wants to know: may I send calls here?
READY_ALIASES = ("", "mcp_sidecar.v1.MCPEngine", "mcp_sidecar.v1.ConnectionManager")

_UPSTREAM = "upstream/"
_STALE_AFTER = 10.0
_NO_UPSTREAMS: Mapping[str, bool] = {}


class HealthBoard:
    """Reads the lifecycle, the loop's heartbeat and the upstreams, and answers for each service name.

    `upstreams` gives name → is it up; those never weigh on readiness, because a dead MCP server would then take every
    pod that has a sidecar out of its Services at once. The owner of those facts calls `notify` when they change. An
    app task calls `tick` about once a second; `stale_after` is in seconds on `clock` (monotonic).
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        *,
        upstreams: Callable[[], Mapping[str, bool]] = lambda: _NO_UPSTREAMS,
        stale_after: float = _STALE_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lifecycle = lifecycle
        self._upstreams = upstreams
        self._stale_after = stale_after
        self._clock = clock
        self._ticked = clock()
        self._stale = False
        self._version = 0
        self._change = asyncio.Event()
        lifecycle.subscribe(lambda _phase: self.notify())

    @property
    def version(self) -> int:
        """Grows with every change; what `changed` takes."""
        return self._version

    @property
    def ending(self) -> bool:
        """Watchers have to go: an open stream would hold the server's stop."""
        return self._lifecycle.phase in (Phase.DRAINING, Phase.STOPPED)

    @property
    def alive(self) -> bool:
        return self._clock() - self._ticked < self._stale_after

    def tick(self) -> None:
        """The event loop came round."""
        revived = self._stale or not self.alive
        self._ticked = self._clock()
        self._stale = False
        if revived:
            self.notify()

    def notify(self) -> None:
        """Something that the board reads has changed: wake everybody who waits for that."""
        self._version += 1
        change, self._change = self._change, asyncio.Event()
        change.set()

    def status(self, service: str) -> bool | None:
        """Is `service` serving? None when there is no such service."""
        if service == READINESS or service in READY_ALIASES:
            return self._lifecycle.ready
        if service == STARTUP:
            return self._lifecycle.started
        if service == LIVENESS:
            return self.alive
        return self._upstreams().get(service.removeprefix(_UPSTREAM)) if service.startswith(_UPSTREAM) else None

    def statuses(self) -> Mapping[str, bool]:
        """Every service and whether it is serving."""
        own = dict.fromkeys((*READY_ALIASES, READINESS), self._lifecycle.ready)
        own |= {STARTUP: self._lifecycle.started, LIVENESS: self.alive}
        return own | {_UPSTREAM + name: up for name, up in self._upstreams().items()}

    def reason(self, service: str) -> str:
        """Why `service` is not serving, in one line for an operator; empty when it is."""
        status = self.status(service)
        if status is None:
            return "there is no such service"
        if status:
            return ""
        if service == LIVENESS:
            return f"the event loop has not come round for {self._clock() - self._ticked:.0f} s"
        if service.startswith(_UPSTREAM):
            return "the MCP server is down"
        if self._lifecycle.started:
            return f"the sidecar is shutting down ({self._lifecycle.phase.value})"
        return f"starting, waiting for: {', '.join(sorted(self._lifecycle.waiting_for)) or 'the start to finish'}"

    async def changed(self, since: int) -> int:
        """Wait until the version is another than `since`; returns the one to wait with next.

        Liveness is lost by time alone, without an event; so the wait also ends when that happens.
        """
        while self._version == since:
            change, left = self._change, None if self._stale else self._stale_after - (self._clock() - self._ticked)
            try:
                async with asyncio.timeout(left):
                    await change.wait()
            except TimeoutError:
                self._lose_liveness()
        return self._version

    def _lose_liveness(self) -> None:
        """Tell the watchers once that the ticking has ended; `tick` undoes it."""
        if not self._stale and not self.alive:
            self._stale = True
            self.notify()
