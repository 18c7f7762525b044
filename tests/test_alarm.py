"""Many deadlines behind one timer: `mcp_sidecar.alarm` does what `asyncio.timeout` does."""

from __future__ import annotations

import asyncio
import time

import pytest

from mcp_sidecar.alarm import Alarm


async def sleep_under(alarm: Alarm, seconds: float, longer: float = 5.0) -> str:
    with alarm.until(time.monotonic() + seconds):
        await asyncio.sleep(longer)
    return "slept"


async def test_a_deadline_cancels_what_waits_and_becomes_a_timeout():
    alarm = Alarm()
    with pytest.raises(TimeoutError):
        await sleep_under(alarm, 0.01)
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
    await asyncio.sleep(0)  # the next wait is not cancelled


async def test_what_ends_in_time_hears_nothing():
    alarm = Alarm()
    assert await sleep_under(alarm, 5, 0.001) == "slept"
    with pytest.raises(KeyError), alarm.until(time.monotonic() + 5):
        raise KeyError
    await asyncio.sleep(0.03)
    assert not alarm.limits and not alarm.ringing


async def test_each_of_many_has_its_own_deadline():
    alarm = Alarm()
    late = [sleep_under(alarm, 0.01 * number) for number in range(1, 4)]
    fine = [sleep_under(alarm, 5, 0.002) for _ in range(20)]
    outcomes = await asyncio.gather(*late, *fine, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[:3]] == [TimeoutError] * 3
    assert outcomes[3:] == ["slept"] * 20


async def test_a_deadline_inside_another_ends_only_its_own_block():
    alarm = Alarm()
    with alarm.until(time.monotonic() + 5):
        with pytest.raises(TimeoutError):
            await sleep_under(alarm, 0.01)
        assert await sleep_under(alarm, 5, 0.001) == "slept"


async def test_an_outer_deadline_passes_through_the_inner_block():
    alarm = Alarm()
    with pytest.raises(TimeoutError), alarm.until(time.monotonic() + 0.01):
        await sleep_under(alarm, 5)


async def test_a_cancellation_from_outside_stays_one_even_at_the_deadline():
    alarm = Alarm()
    task = asyncio.create_task(sleep_under(alarm, 5))
    await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    both = asyncio.create_task(sleep_under(alarm, 5))
    await asyncio.sleep(0.001)
    (limit,) = alarm.limits
    alarm.limits.discard(limit)
    limit.expire()
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both


async def test_a_failure_while_the_deadline_cancels_is_the_failure():
    alarm = Alarm()

    async def fails_when_cancelled() -> None:
        with alarm.until(time.monotonic() + 0.01):
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                raise KeyError from None

    with pytest.raises(KeyError):
        await fails_when_cancelled()
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_all_deadlines_can_be_made_to_pass_at_once():
    alarm = Alarm()
    waiting = [asyncio.create_task(sleep_under(alarm, 60)) for _ in range(3)]
    await asyncio.sleep(0.001)
    alarm.end()
    assert [type(one) for one in await asyncio.gather(*waiting, return_exceptions=True)] == [TimeoutError] * 3
