"""One piece of work per key, shared by all who ask meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.outbound.flights import Flights
from tests.outbound.links import family


class Work:
    """Waits for `go`, then returns how often it ran, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = 0
        self.go = asyncio.Event()
        self._error = error

    async def __call__(self) -> int:
        self.runs += 1
        await self.go.wait()
        if self._error is not None:
            raise self._error
        return self.runs


async def test_callers_of_one_key_share_the_work_and_later_ones_do_not():
    async with family() as tasks:
        flights, work = Flights[int](tasks), Work()
        waiting = [tasks.create_task(flights.join("a", work)) for _ in range(5)]
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(*waiting) == [1] * 5
        assert await flights.join("a", work) == 2


async def test_keys_fly_apart():
    async with family() as tasks:
        flights, one, two = Flights[int](tasks), Work(), Work()
        waiting = tasks.create_task(flights.join("a", one))
        two.go.set()
        assert await flights.join("b", two) == 1
        assert not waiting.done()
        one.go.set()
        await waiting


async def test_the_work_outlives_callers_that_give_up():
    async with family() as tasks:
        flights, work = Flights[int](tasks), Work()
        waiting = [tasks.create_task(flights.join("a", work)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(*waiting[1:]) == [1, 1]
        assert waiting[0].cancelled()


async def test_a_failure_is_everybodys_and_is_not_remembered():
    async with family() as tasks:
        flights, work = Flights[int](tasks), Work(ValueError("no"))
        waiting = asyncio.gather(*(flights.join("a", work) for _ in range(3)), return_exceptions=True)
        await asyncio.sleep(0)
        work.go.set()
        outcomes = await waiting
        assert [type(outcome) for outcome in outcomes] == [ValueError] * 3
        with pytest.raises(ValueError, match="no"):
            await flights.join("a", work)
        assert work.runs == 2


async def test_a_failure_nobody_waits_for_any_more_ends_nothing():
    async with family() as tasks:
        flights, work = Flights[int](tasks), Work(ValueError("no"))
        waiting = tasks.create_task(flights.join("a", work))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        work.go.set()
        fine = Work()
        fine.go.set()
        assert await flights.join("b", fine) == 1


async def test_callers_are_released_when_the_family_ends():
    waiting: list[asyncio.Task[int]] = []

    async def fall_out() -> None:
        async with family() as tasks:
            flights = Flights[int](tasks)
            waiting.append(asyncio.ensure_future(flights.join("a", Work())))  # of no family: it has to be told
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            raise KeyError

    with pytest.raises(KeyError):
        await fall_out()
    async with asyncio.timeout(1):
        await asyncio.wait(waiting)
    assert waiting[0].cancelled()
