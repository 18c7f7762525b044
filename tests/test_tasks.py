"""Work in tasks whose failures stay in the family: `mcp_sidecar.tasks`."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.tasks import Job, end, first_of


async def fail() -> None:
    raise KeyError("x")


async def test_a_failure_is_kept_for_whoever_asks_and_ends_no_group():
    async with asyncio.TaskGroup() as tasks:
        job = Job(tasks, fail(), "fails")
        other: Job[int] = Job(tasks, asyncio.sleep(0.01, 42), "works")
        await first_of(job)
        assert job.done and not other.done
        with pytest.raises(KeyError):
            job.result()
        await first_of(other)
        assert other.result() == 42
        assert other.task.get_name() == "works"


async def test_a_cancelled_job_says_so():
    async with asyncio.TaskGroup() as tasks:
        job = Job(tasks, asyncio.sleep(3600), "sleeps")
        await asyncio.sleep(0)
        job.cancel()
        await first_of(job)
        with pytest.raises(asyncio.CancelledError):
            job.result()


async def test_a_job_cancelled_before_it_began_is_cancelled_and_not_done_with_nothing():
    async with asyncio.TaskGroup() as tasks:
        job = Job(tasks, fail(), "never begins")
        job.cancel()
        await first_of(job)
        with pytest.raises(asyncio.CancelledError):
            job.result()


async def test_futures_and_jobs_are_waited_for_alike():
    future = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        job = Job(tasks, asyncio.sleep(3600), "sleeps")
        asyncio.get_running_loop().call_soon(future.set_result, None)
        await first_of(job, future)
        assert future.done() and not job.done
        await end([job], 1)
        assert job.done


async def test_what_does_not_end_is_not_waited_for_forever():
    stuck = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await stuck.wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        job = Job(tasks, stubborn(), "stubborn")
        await asyncio.sleep(0)
        await end([job], 0.02)
        assert not job.done
        stuck.set()
    await end([], 0.02)
