"""Leaving without losing a call: how long each phase may take, and walking through them. Knows no listener."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mcp_sidecar.call import Deadline
from mcp_sidecar.lifecycle import Lifecycle, Phase
from mcp_sidecar.settings import DrainSettings

# What is left for stopping listeners, ending upstream sessions and writing the last log lines.
_CLOSING_SECONDS = 2.0
# A collector that hangs may hold up the end this long, and no longer.
_TELEMETRY_SECONDS = 3.0
# Between two looks whether callers still come, and how many of them at most.
_SETTLE_SECONDS = 0.05
_SETTLE_LOOKS = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds for each phase: still serving, letting calls finish, closing, sending the last telemetry."""

    lame_duck: float
    grace: float
    closing: float
    telemetry: float = 0.0

    @property
    def total(self) -> float:
        return self.lame_duck + self.grace + self.closing + self.telemetry


def plan(settings: DrainSettings, pod_grace: float | None, *, telemetry: bool = False) -> Plan:
    """The settings, scaled down to what the pod is given (its termination grace period, in seconds).

    A native sidecar may get no more than 2 s, so the closing shrinks as well: calls come before courtesy.
    """
    wanted = Plan(settings.lame_duck, settings.grace, _CLOSING_SECONDS, _TELEMETRY_SECONDS if telemetry else 0.0)
    if pod_grace is None or wanted.total <= pod_grace:
        return wanted
    closing = min(_CLOSING_SECONDS, pod_grace / 4)
    last = min(wanted.telemetry, pod_grace / 8)
    share = min(1.0, (pod_grace - closing - last) / (wanted.lame_duck + wanted.grace or 1.0))
    return Plan(wanted.lame_duck * share, wanted.grace * share, closing, last)


def _untold(_event: str, **_fields: object) -> None:
    """Nobody keeps a log."""


class Drain:
    """Walks the lifecycle to its end. Asking twice joins the walk that is under way.

    `tell` takes an event for the log, with its fields: one a walk.
    """

    def __init__(
        self, lifecycle: Lifecycle, steps: Plan, tasks: asyncio.TaskGroup, tell: Callable[..., None] = _untold
    ) -> None:
        self._lifecycle = lifecycle
        self._plan = steps
        self._tasks = tasks
        self._log = tell
        self._walk: asyncio.Task[None] | None = None

    def begin(self, *, announced: bool = True, by: str = "signal", peer: str = "") -> asyncio.Task[None]:
        """Start, or the task that runs already; it ends when nothing is in flight or the grace is over.

        `by` and `peer` say to the log who asked.

        Unless it is `announced`, the sidecar stays ready while it is a lame duck. A pod that is deleted is taken out of
        its Services by that alone; where no other pod is left, those who come all the same find it by its readiness
        (KEP-1669).
        """
        if announced:
            self._lifecycle.announce()
        elif self._walk is None:
            self._lifecycle.hush()
        if self._walk is None:
            self._say(by, peer)
            self._walk = self._tasks.create_task(self._run(), name="drain")
        return self._walk

    def _say(self, by: str, peer: str) -> None:
        whose = {"by": by, "peer": peer} if peer else {"by": by}
        budget = {"lame_duck": round(self._plan.lame_duck, 3), "grace": round(self._plan.grace, 3)}
        self._log("draining", **whose, **budget, in_flight=self._lifecycle.in_flight)

    async def _run(self) -> None:
        self._lifecycle.drain_deadline = Deadline.after(self._plan.lame_duck + self._plan.grace)
        self._lifecycle.advance(Phase.LAME_DUCK)
        await asyncio.sleep(self._plan.lame_duck)
        self._lifecycle.advance(Phase.DRAINING)
        try:
            async with asyncio.timeout(self._lifecycle.drain_deadline.remaining()):
                await self._lifecycle.quiet()
                await self._settle()
        except TimeoutError:
            return  # what is still in flight is ended by those who close

    async def _settle(self) -> None:
        """Let the calls on their way here hear that they are refused.

        A server that stops tells those it has not looked at yet CANCELLED, which says nothing of whether they ran.
        """
        for _ in range(_SETTLE_LOOKS):
            refused = self._lifecycle.refused
            await asyncio.sleep(_SETTLE_SECONDS)
            if refused == self._lifecycle.refused:
                return
