"""One piece of work per key at a time, shared by all who ask for it meanwhile; knows not what the work is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """Single flight. The work runs in a task of the given group, so it outlives a caller that is cancelled."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._flying: dict[Hashable, asyncio.Future[T]] = {}
        self._crew: set[asyncio.Task[None]] = set()

    async def join(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The outcome of `work`, or of the same key's work that runs already. Raises what it raises."""
        outcome = self._flying.get(key)
        if outcome is None:
            outcome = self._flying[key] = asyncio.get_running_loop().create_future()
            task = self._tasks.create_task(self._fly(key, work, outcome), name=f"flight {key}")
            self._crew.add(task)
            task.add_done_callback(self._crew.discard)
        return await asyncio.shield(outcome)

    def cancel(self) -> None:
        """End all work that is under way, and the waiting for it."""
        for task in tuple(self._crew):
            task.cancel()

    async def _fly(self, key: Hashable, work: Callable[[], Awaitable[T]], outcome: asyncio.Future[T]) -> None:
        try:
            outcome.set_result(await work())
        except Exception as error:  # noqa: BLE001 - handed to those who wait; none may end the task group
            outcome.set_exception(error)
            outcome.exception()  # counts as seen: all who asked may have gone
        finally:
            outcome.cancel()
            del self._flying[key]
