"""Tests of `mcp_sidecar.inbound.health`."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.inbound.health import HealthBoard
from mcp_sidecar.lifecycle import Lifecycle, Phase

READY_NAMES = ("readiness", "", "mcp_sidecar.v1.MCPEngine", "mcp_sidecar.v1.ConnectionManager")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_nothing_but_liveness_serves_while_the_sidecar_starts():
    board = HealthBoard(Lifecycle(("discovery",)))
    assert not board.status("startup")
    assert not any(board.status(name) for name in READY_NAMES)
    assert board.status("liveness")


async def test_startup_stays_serving_while_readiness_ends_with_the_lame_duck_phase():
    lifecycle = Lifecycle(("discovery",))
    board = HealthBoard(lifecycle)
    lifecycle.release("discovery")
    assert board.status("startup")
    assert all(board.status(name) for name in READY_NAMES)
    for phase in (Phase.LAME_DUCK, Phase.DRAINING, Phase.STOPPED):
        lifecycle.advance(phase)
        assert board.status("startup")
        assert not any(board.status(name) for name in READY_NAMES)
        assert board.status("liveness")
        assert board.ending is (phase is not Phase.LAME_DUCK)


async def test_liveness_is_lost_when_the_ticking_ends_and_comes_back_with_it():
    clock = Clock()
    board = HealthBoard(Lifecycle(), clock=clock)
    clock.now += 9.9
    assert board.status("liveness")
    clock.now += 0.2
    assert not board.status("liveness")
    assert board.reason("liveness") == "the event loop has not come round for 10 s"
    board.tick()
    assert board.status("liveness")


@pytest.mark.parametrize("up", [True, False])
async def test_an_upstream_has_a_name_of_its_own_and_no_say_in_readiness(up):
    lifecycle = Lifecycle(("start",))
    lifecycle.release("start")
    board = HealthBoard(lifecycle, upstreams=lambda: {"weather": up})
    assert board.status("upstream/weather") is up
    assert all(board.status(name) for name in READY_NAMES)


async def test_a_service_that_does_not_exist_has_no_status():
    board = HealthBoard(Lifecycle(), upstreams=lambda: {"weather": True})
    assert [board.status(name) for name in ("nonsense", "upstream/files", "upstream/", "weather")] == [None] * 4


async def test_all_statuses_are_listed_with_what_status_says_of_each():
    board = HealthBoard(Lifecycle(), upstreams=lambda: {"weather": True, "files": False})
    listed = board.statuses()
    assert set(listed) == {*READY_NAMES, "startup", "liveness", "upstream/weather", "upstream/files"}
    assert all(board.status(name) is up for name, up in listed.items())


async def test_the_reason_names_what_is_waited_for():
    lifecycle = Lifecycle(("listeners", "discovery"))
    board = HealthBoard(lifecycle, upstreams=lambda: {"weather": False})
    assert board.reason("readiness") == "starting, waiting for: discovery, listeners"
    assert board.reason("upstream/weather") == "the MCP server is down"
    assert board.reason("nonsense") == "there is no such service"
    lifecycle.release("listeners")
    lifecycle.release("discovery")
    assert board.reason("readiness") == ""
    lifecycle.advance(Phase.LAME_DUCK)
    assert board.reason("readiness") == "the sidecar is shutting down (lame_duck)"


async def test_a_change_wakes_everybody_who_waits():
    lifecycle = Lifecycle(("start",))
    board = HealthBoard(lifecycle)
    async with asyncio.timeout(2), asyncio.TaskGroup() as tg:
        waits = [tg.create_task(board.changed(board.version)) for _ in range(3)]
        await asyncio.sleep(0)
        lifecycle.release("start")
    assert {wait.result() for wait in waits} == {board.version}


async def test_a_change_between_reading_and_waiting_is_not_missed():
    board = HealthBoard(Lifecycle())
    seen = board.version
    board.notify()
    async with asyncio.timeout(1):
        assert await board.changed(seen) == seen + 1


async def test_whoever_waits_learns_that_the_ticking_has_ended_and_begun_again():
    board = HealthBoard(Lifecycle(), stale_after=0.02)
    async with asyncio.timeout(2), asyncio.TaskGroup() as tg:
        seen = await board.changed(board.version)
        assert not board.status("liveness")
        wait = tg.create_task(board.changed(seen))
        await asyncio.sleep(0)
        board.tick()
        await wait
        assert board.status("liveness")


async def test_ticking_alone_wakes_nobody():
    board = HealthBoard(Lifecycle())
    seen = board.version
    for _ in range(5):
        board.tick()
    assert board.version == seen
