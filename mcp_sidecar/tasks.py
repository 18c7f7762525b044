"""Work in tasks whose failures stay in the family; knows no work."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Job(Generic[T]):
    """A task of a group that is not ended by this task's failure: `result` raises it to whoever asks."""

    def __init__(self, tasks: asyncio.TaskGroup, work: Coroutine[Any, Any, T], name: str) -> None:
        self.task = tasks.create_task(self._run(work), name=name)
        self.task.add_done_callback(lambda _: work.close())  # cancelled before it began, it would complain
        self._value: T | None = None
        self._error: BaseException | None = None

    async def _run(self, work: Coroutine[Any, Any, T]) -> None:
        try:
            self._value = await work
        except Exception as error:  # noqa: BLE001  # kept for `result`
            self._error = error

    @property
    def done(self) -> bool:
        return self.task.done()

    def result(self) -> T:
        """What the work returned; raises what it raised."""
        if self.task.cancelled():
            raise asyncio.CancelledError
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # done and without an error

    def cancel(self) -> None:
        self.task.cancel()


async def first_of(*waited: Job[Any] | asyncio.Future[Any]) -> None:
    """Wait until one of them is done."""
    await asyncio.wait(
        {one.task if isinstance(one, Job) else one for one in waited}, return_when=asyncio.FIRST_COMPLETED
    )


async def end(jobs: Iterable[Job[Any]], seconds: float) -> None:
    """Cancel and wait for so long at most."""
    tasks = [job.task for job in jobs]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
