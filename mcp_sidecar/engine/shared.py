"""One piece of work for all who ask for the same meanwhile, ended when nobody waits for it; knows not what it is.

Unlike `outbound/flights`, whose work is worth finishing for its own sake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from mcp_sidecar.errors import Draining, Execution
from mcp_sidecar.tasks import Job

T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self, job: Job[T]) -> None:
        self.job = job
        self.waiting = 0
        self.kept = False
        """To be finished also when nobody waits."""


class Shared(Generic[T]):
    """The work runs in a task of the group given."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._flying: dict[Hashable, _Flight[T]] = {}
        self._crew: set[Job[T]] = set()

    def __contains__(self, key: Hashable) -> bool:
        """Such work is under way."""
        return key in self._flying

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], seconds: float | None = None) -> T:
        """The outcome of `work`, or of the same key's that is under way. Raises what it raises.

        After `seconds` a `TimeoutError`; the work then goes on by itself, for whoever asks next. A caller that is
        cancelled cancels nobody but itself, and the last one the work.
        """
        flight = self._flying.get(key) or self._begin(key, work)
        flight.waiting += 1
        try:
            done, _ = await asyncio.wait({flight.job.task}, timeout=seconds)
            if not done:
                flight.kept = True
                raise TimeoutError
            if flight.job.task.cancelled():
                raise Draining("the sidecar stopped before the call ended", execution=Execution.UNKNOWN)
            return flight.job.result()
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.kept and not flight.job.done:
                self._leave(key, flight)
                flight.job.cancel()

    def part(self, fits: Callable[[Any], bool]) -> None:
        """Whoever asks from here on for a key that fits begins anew: what is under way is out of date."""
        for key in [key for key in self._flying if fits(key)]:
            del self._flying[key]

    def _begin(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> _Flight[T]:
        flight = self._flying[key] = _Flight(Job(self._tasks, work(), f"shared {key}"))
        self._crew.add(flight.job)
        flight.job.task.add_done_callback(lambda _: self._leave(key, flight))
        return flight

    def _leave(self, key: Hashable, flight: _Flight[T]) -> None:
        self._crew.discard(flight.job)
        if self._flying.get(key) is flight:
            del self._flying[key]

    def cancel(self) -> None:
        """End all work that is under way."""
        for job in tuple(self._crew):
            job.cancel()
