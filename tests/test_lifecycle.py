"""The phases of a process and its calls in flight: `mcp_sidecar.lifecycle`."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.lifecycle import Lifecycle, Phase


async def test_a_process_starts_when_its_last_latch_is_released():
    lifecycle = Lifecycle(("listeners", "discovery"))
    seen: list[Phase] = []
    lifecycle.subscribe(seen.append)
    assert lifecycle.waiting_for == {"listeners", "discovery"}
    lifecycle.release("listeners")
    lifecycle.release("no such latch")
    assert not lifecycle.started and not lifecycle.ready
    lifecycle.release("discovery")
    assert lifecycle.started and lifecycle.ready and lifecycle.waiting_for == frozenset()
    lifecycle.release("discovery")
    assert seen == [Phase.SERVING]


async def test_phases_go_forward_only_and_each_is_told_once():
    lifecycle = Lifecycle(("x",))
    seen: list[Phase] = []
    lifecycle.subscribe(seen.append)
    for phase in (Phase.LAME_DUCK, Phase.SERVING, Phase.LAME_DUCK, Phase.STARTING, Phase.DRAINING, Phase.STOPPED):
        lifecycle.advance(phase)
    assert seen == [Phase.LAME_DUCK, Phase.DRAINING, Phase.STOPPED]
    lifecycle.release("x")
    assert lifecycle.phase is Phase.STOPPED


@pytest.mark.covers("B-62")
async def test_calls_are_taken_until_the_drain_and_readiness_ends_before():
    lifecycle = Lifecycle(("x",))
    facts = [(lifecycle.admitting, lifecycle.ready)]
    lifecycle.release("x")
    facts.append((lifecycle.admitting, lifecycle.ready))
    for phase in (Phase.LAME_DUCK, Phase.DRAINING, Phase.STOPPED):
        lifecycle.advance(phase)
        facts.append((lifecycle.admitting, lifecycle.ready))
    assert facts == [(True, False), (True, True), (True, False), (False, False), (False, False)]


async def test_a_subscription_ends_when_it_is_told_to_also_from_within():
    lifecycle = Lifecycle(("x",))
    seen: list[str] = []

    def once(phase: Phase) -> None:
        seen.append(f"once {phase.value}")
        end()

    end = lifecycle.subscribe(once)
    stay = lifecycle.subscribe(lambda phase: seen.append(phase.value))
    lifecycle.advance(Phase.SERVING)
    lifecycle.advance(Phase.LAME_DUCK)
    stay()
    stay()
    end()
    lifecycle.advance(Phase.DRAINING)
    assert seen == ["once serving", "serving", "lame_duck"]


async def test_quiet_is_when_the_last_call_has_left():
    lifecycle = Lifecycle()
    await asyncio.wait_for(lifecycle.quiet(), 1)
    for _ in range(3):
        lifecycle.in_flight += 1
    waiting = asyncio.create_task(lifecycle.quiet())
    for left in (2, 1):
        lifecycle.leave()
        await asyncio.sleep(0)
        assert (lifecycle.in_flight, waiting.done()) == (left, False)
    lifecycle.leave()
    await asyncio.wait_for(waiting, 1)
    lifecycle.in_flight += 1
    again = asyncio.create_task(lifecycle.quiet())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()
