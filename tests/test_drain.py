"""Leaving without losing a call: `mcp_sidecar.drain`."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.drain import Drain, Plan, plan
from mcp_sidecar.lifecycle import Lifecycle, Phase
from mcp_sidecar.settings import DrainSettings

seconds = st.floats(0, 600)


def test_without_a_pod_the_settings_are_the_plan():
    assert plan(DrainSettings(5.0, 15.0), None) == Plan(5.0, 15.0, 2.0)
    assert plan(DrainSettings(5.0, 15.0), None).total == 22.0


@pytest.mark.parametrize("pod_grace", [22.0, 30.0, 3600.0])
def test_a_pod_that_gives_enough_changes_nothing(pod_grace: float):
    assert plan(DrainSettings(5.0, 15.0), pod_grace) == Plan(5.0, 15.0, 2.0)


@pytest.mark.parametrize("pod_grace", [2.0, 30.0, 600.0])
def test_a_long_drain_is_cut_to_what_the_pod_gives(pod_grace: float):
    steps = plan(DrainSettings(5.0, 900.0), pod_grace)
    assert steps.total == pytest.approx(pod_grace)
    assert steps.closing == min(2.0, pod_grace / 4)
    assert plan(DrainSettings(5.0, 593.0), 600.0).lame_duck == 5.0


@pytest.mark.covers("B-63")
def test_two_seconds_are_shared_out_with_calls_before_courtesy():
    steps = plan(DrainSettings(5.0, 15.0), 2.0)
    assert steps.total == pytest.approx(2.0)
    assert (steps.lame_duck, steps.grace, steps.closing) == pytest.approx((0.375, 1.125, 0.5))


def test_short_phases_are_not_made_longer():
    assert plan(DrainSettings(0.0, 0.5), 1.0) == Plan(0.0, 0.5, 0.25)


@pytest.mark.covers("B-63")
@given(seconds, seconds, st.floats(0, 700))
def test_a_plan_always_fits_and_keeps_its_proportions(lame_duck, grace, pod_grace):
    steps = plan(DrainSettings(lame_duck, grace), pod_grace)
    assert steps.total <= pod_grace + 1e-9 or steps.total == 0
    assert min(steps.lame_duck, steps.grace, steps.closing) >= 0
    assert steps.lame_duck <= lame_duck + 1e-9 and steps.grace <= grace + 1e-9 and steps.closing <= 2.0
    assert steps.lame_duck * grace == pytest.approx(steps.grace * lame_duck)


async def walked(steps: Plan, lifecycle: Lifecycle, during: list[Phase]) -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        drain = Drain(lifecycle, steps, tasks)
        lifecycle.subscribe(during.append)
        walk = drain.begin()
        assert drain.begin() is walk
        await walk


@pytest.mark.covers("B-62")
async def test_the_walk_ends_as_soon_as_nothing_is_in_flight():
    lifecycle = Lifecycle(("x",))
    lifecycle.release("x")
    lifecycle.in_flight += 1
    seen: list[Phase] = []

    def leave_when_draining(phase: Phase) -> None:
        if phase is Phase.DRAINING:
            asyncio.get_running_loop().call_later(0.01, lifecycle.leave)

    lifecycle.subscribe(leave_when_draining)
    await walked(Plan(0.01, 3600.0, 1.0), lifecycle, seen)
    assert seen == [Phase.LAME_DUCK, Phase.DRAINING]
    assert lifecycle.in_flight == 0


@pytest.mark.covers("B-62")
async def test_the_walk_ends_with_the_grace_when_a_call_never_ends():
    lifecycle = Lifecycle(("x",))
    lifecycle.release("x")
    lifecycle.in_flight += 1
    seen: list[Phase] = []
    await walked(Plan(0.01, 0.02, 1.0), lifecycle, seen)
    assert seen == [Phase.LAME_DUCK, Phase.DRAINING]
    assert lifecycle.in_flight == 1
    assert lifecycle.drain_deadline is not None and lifecycle.drain_deadline.remaining() < 0.01


@pytest.mark.parametrize("busy", [False, True])
async def test_a_plan_of_nothing_at_all_is_walked_too(busy: bool):
    lifecycle = Lifecycle(("x",))
    lifecycle.release("x")
    if busy:
        lifecycle.in_flight += 1
    seen: list[Phase] = []
    await walked(Plan(0.0, 0.0, 0.0), lifecycle, seen)
    assert seen == [Phase.LAME_DUCK, Phase.DRAINING]


@pytest.mark.covers("B-234")
@pytest.mark.parametrize("announced", [False, True])
async def test_a_lame_duck_is_ready_until_its_end_is_announced(announced: bool):
    lifecycle = Lifecycle(("x",))
    lifecycle.release("x")
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        drain = Drain(lifecycle, Plan(0.2, 0.2, 0.1), tasks)
        drain.begin(announced=announced)
        assert lifecycle.ready  # until it has begun
        heard: list[bool] = []
        lifecycle.subscribe(lambda _: heard.append(lifecycle.ready))
        await asyncio.sleep(0)
        assert (lifecycle.phase, lifecycle.ready) == (Phase.LAME_DUCK, not announced)
        await drain.begin()  # the signal
        assert heard == ([False, False] if announced else [True, False, False])
