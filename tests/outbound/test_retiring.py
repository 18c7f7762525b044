"""Endpoints that are gone for good: their calls may finish, who waits is told, and nobody goes back there."""

from __future__ import annotations

import asyncio
import time

import pytest

from mcp_sidecar.call import Deadline
from mcp_sidecar.errors import UpstreamUnavailable
from mcp_sidecar.outbound.connection import State
from mcp_sidecar.outbound.monitor import Monitor
from mcp_sidecar.settings import MonitorSettings
from tests.inbound.waiting import eventually
from tests.outbound.fake_link import key_of
from tests.outbound.pool_bench import LONG, bench, refused, settle

GONE = UpstreamUnavailable("gone")


@pytest.mark.covers("B-225")
async def test_an_idle_connection_closes_at_once_and_a_busy_one_with_its_last_call():
    async with bench(most=5) as its:
        idle, busy, other = (await its.used("a"))[0], await its.lease("a1"), (await its.used("b"))[0]
        assert its.pool.retire(key_of("a").endpoint) == {idle.id, busy.id}
        assert (idle.state, busy.state, other.state) == (State.CLOSED, State.CONNECTED, State.CONNECTED)
        its.pool.release(busy)
        await eventually(lambda: [link.closed for link in its.links.made] == [1, 1, 0])
        assert [row.id for row in its.pool.rows()] == [other.id]


async def test_who_waits_for_its_connection_is_told_and_what_was_opening_is_closed():
    async with bench(held=True) as its:
        waiting = [its.waiting("a"), its.waiting("a")]
        await settle()
        its.pool.retire(key_of("a").endpoint)
        for one in waiting:
            failure = await refused(one)
            assert isinstance(failure, UpstreamUnavailable)
            assert "went away" in failure.message
        its.links.made[0].finish()
        await settle()
        assert its.pool.rows() == ()
        assert its.links.made[0].closed == 1


async def test_who_waits_for_room_at_it_is_told_and_others_get_the_room():
    async with bench(most=1) as its:
        busy = await its.lease("a")
        here, there = its.waiting("a1"), its.waiting("b")
        await settle()
        its.pool.retire(key_of("a").endpoint)
        await refused(here)
        its.pool.release(busy)
        assert (await there).key == key_of("b")


async def test_the_load_of_an_endpoint_is_what_is_in_flight_on_all_of_its_connections():
    async with bench(most=5) as its:
        held = [await its.lease(name) for name in ("a", "a", "a1", "b")]
        endpoint = key_of("a").endpoint
        assert its.pool.load(endpoint) == 3
        for connection in held:
            its.pool.release(connection)
        assert its.pool.load(endpoint) == 0


async def test_the_home_of_a_client_is_where_its_session_is_until_that_is_closed():
    async with bench(most=5) as its:
        key = key_of("a")._replace(client="c")
        connection = await its.pool.acquire(key, its.links.opener(key), Deadline.after(LONG))
        assert its.pool.home("c", key.upstream) is key.endpoint
        assert its.pool.home("c", "other") is None
        its.pool.release(connection)
        its.pool.close_of("c")
        assert its.pool.home("c", key.upstream) is None


@pytest.mark.covers("B-225")
async def test_the_monitor_neither_checks_nor_reconnects_what_closes_with_its_calls():
    async with bench(most=5) as its:
        busy = await its.lease("a")
        monitor = Monitor(MonitorSettings(interval=0.01), its.pool, its.tasks)
        its.pool.retire(key_of("a").endpoint)
        monitor.look(time.monotonic() + 100)
        its.pool.report(busy, GONE)
        monitor.look(time.monotonic() + 100)
        await asyncio.sleep(0)
        assert (its.links.made[0].checked, its.links.made[0].opened) == (0, 1)
        its.pool.release(busy)
