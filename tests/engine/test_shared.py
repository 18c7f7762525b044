"""Work that is done once for all who ask for it: `engine.shared`."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.engine.shared import Shared
from mcp_sidecar.errors import Draining, UnknownTool
from mcp_sidecar.tasks import Job


class Work:
    """Counts how often it begins and is cancelled; ends when told."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.begun


async def test_all_who_ask_meanwhile_get_the_one_outcome():
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        shared, work = Shared[int](tasks), Work()
        asked = [tasks.create_task(shared.join("k", work)) for _ in range(5)]
        await asyncio.sleep(0)
        other = tasks.create_task(shared.join("other", work))
        await asyncio.sleep(0)
        work.go.set()
        assert [await task for task in asked] == [2] * 5  # both kinds had begun
        assert await other == 2
        assert work.begun == 2
        assert await shared.join("k", work) == 3


async def test_one_that_leaves_takes_nobody_along_and_the_last_one_the_work():
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        shared, work = Shared[int](tasks), Work()
        first, second = (tasks.create_task(shared.join("k", work)) for _ in range(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        assert work.cancelled == 0
        second.cancel()
        await asyncio.wait({second})
        await asyncio.sleep(0)
        assert (work.begun, work.cancelled) == (1, 1)


async def test_who_has_no_more_time_leaves_the_work_going():
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        shared, work = Shared[int](tasks), Work()
        with pytest.raises(TimeoutError):
            await shared.join("k", work, 0.0)
        late = tasks.create_task(shared.join("k", work))
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.wait({late})
        assert (work.begun, work.cancelled) == (1, 0)
        work.go.set()


async def test_a_failure_goes_to_all_who_wait_and_to_nobody_else():
    async def fails() -> int:
        await asyncio.sleep(0)
        raise UnknownTool("no")

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        shared = Shared[int](tasks)
        asked = [Job(tasks, shared.join("k", fails), "asks") for _ in range(3)]
        with pytest.raises((TimeoutError, UnknownTool)):  # whichever comes first, the other is heard by nobody
            await shared.join("alone", fails, 0.0)
        await asyncio.wait([job.task for job in asked])
        for job in asked:
            with pytest.raises(UnknownTool):
                job.result()


async def test_who_asks_after_a_change_gets_newer_work():
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        shared, old, new = Shared[int](tasks), Work(), Work()
        before = tasks.create_task(shared.join("k", old))
        await asyncio.sleep(0)
        shared.part(lambda key: key == "k")
        after = tasks.create_task(shared.join("k", new))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        old.go.set()
        new.go.set()
        await asyncio.gather(before, after)
        assert (old.begun, new.begun) == (1, 1)


async def test_at_the_end_everybody_is_told():
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        shared, work = Shared[int](tasks), Work()
        asked = Job(tasks, shared.join("k", work), "asks")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        shared.cancel()
        await asyncio.wait({asked.task})
        with pytest.raises(Draining):
            asked.result()
