"""Who gets a connection, who waits, who goes: the pool on fake links."""

from __future__ import annotations

import asyncio
import time

import pytest

from mcp_sidecar.call import Deadline
from mcp_sidecar.errors import PoolExhausted, UnknownConnection, UpstreamUnavailable
from mcp_sidecar.outbound import pool as pools
from mcp_sidecar.outbound.connection import Connection, Row, State
from tests.outbound.fake_link import key_of
from tests.outbound.pool_bench import LONG, bench, refused, settle


async def test_calls_of_one_key_share_its_connection():
    async with bench() as its:
        one, two = await asyncio.gather(its.lease("a"), its.lease("a"))
        assert one is two
        assert one.in_flight == 2 == one.calls
        assert len(its.links.made) == 1 == its.links.made[0].opened


@pytest.mark.covers("B-51")
async def test_keys_differ_by_upstream_credential_and_capabilities():
    async with bench(most=10) as its:
        base = key_of("a")
        keys = [base, key_of("b"), key_of("a1"), base._replace(capabilities=b'{"experimental":{}}')]
        for key in keys * 2:
            its.pool.release(await its.pool.acquire(key, its.links.opener(key), Deadline.after(LONG)))
        assert [link.key for link in its.links.made] == keys


@pytest.mark.covers("B-50")
async def test_the_least_recently_used_idle_connection_makes_room():
    async with bench(most=3) as its:
        await its.used("a", "b", "c", "a")
        await its.used("a1")
        assert its.keys() == {"a", "c", "a1"}
        assert [link.closed for link in its.links.made] == [0, 1, 0, 0]


async def test_recency_counts_from_the_end_of_the_last_call():
    async with bench(most=2) as its:
        long = await its.lease("a")
        await its.used("b")
        its.pool.release(long)
        assert [(row.server, row.lru_rank) for row in its.pool.rows()] == [("a", 1), ("b", 0)]
        await its.used("c")
        assert its.keys() == {"a", "c"}


@pytest.mark.covers("B-50")
async def test_a_busy_connection_is_never_closed_for_another():
    async with bench(most=2) as its:
        busy = [await its.lease("a"), await its.lease("b")]
        waiting = its.waiting("c")
        await settle()
        assert not waiting.done() and its.keys() == {"a", "b"}
        its.pool.release(busy[1])
        assert (await waiting).key == key_of("c")
        assert its.keys() == {"a", "c"}
        assert busy[1].state is State.CLOSED and busy[0].state is State.CONNECTED


async def test_a_full_endpoint_makes_room_among_its_own():
    async with bench(most=10, per_endpoint=2) as its:
        await its.used("b", "a1", "a2", "a3")
        assert its.keys() == {"b", "a2", "a3"}
        held = [await its.lease("a2"), await its.lease("a3")]
        with pytest.raises(PoolExhausted):
            await its.lease("a4", 0.0)
        assert its.keys() == {"b", "a2", "a3"}  # closing b would have helped nobody
        for connection in held:
            its.pool.release(connection)


@pytest.mark.covers("B-50")
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.12])
async def test_a_wait_ends_before_the_deadline_as_exhausted(seconds: float):
    async with bench(most=1) as its:
        busy = await its.lease("a")
        began = time.monotonic()
        with pytest.raises(PoolExhausted) as caught:
            await its.lease("b", seconds)
        assert time.monotonic() - began < seconds + 0.5
        assert caught.value.metadata == {"server": "b"} and caught.value.retry_after
        its.pool.release(busy)
        await its.used("b")


async def test_a_wait_for_a_connection_that_does_not_come_about_ends_as_unavailable():
    async with bench(held=True) as its:
        with pytest.raises(UpstreamUnavailable, match="in time"):
            await its.lease("a", 0.0)
        its.links.made[0].finish()
        assert await its.lease("a") is its.pool.connections()[0]


async def test_waiters_are_served_in_the_order_they_came():
    async with bench(most=1) as its:
        busy = await its.lease("a")
        order: list[str] = []

        async def wait(name: str) -> None:
            connection = await its.lease(name)
            order.append(name)
            await asyncio.sleep(0)
            its.pool.release(connection)

        running = [its.tasks.create_task(wait(name)) for name in ("b", "c", "a1", "b1")]
        await settle()
        its.pool.release(busy)
        await asyncio.gather(*running)
        assert order == ["b", "c", "a1", "b1"]


async def test_a_cancelled_wait_leaves_no_lease_and_no_place_in_the_queue():
    async with bench(most=1, held=True) as its:
        waiting = [its.waiting("a") for _ in range(3)]
        await settle()
        waiting[0].cancel()
        its.links.made[0].finish()
        waiting[1].cancel()  # in the same turn as the lease is granted
        connection = await waiting[2]
        await settle()
        assert connection.in_flight == 1
        its.pool.release(connection)
        assert its.pool._waiting == []


@pytest.mark.parametrize("turns", range(6))
async def test_a_wait_cancelled_at_any_moment_of_the_opening_leaks_nothing(turns: int):
    async with bench(most=1, held=True) as its:
        waiting = its.waiting("a")
        await settle()
        its.links.made[0].finish()
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
        if isinstance(outcome, Connection):  # it was over before
            its.pool.release(outcome)
        await settle()
        assert [row.in_flight for row in its.pool.rows()] == [0]
        its.links.held = False
        await its.used("b")


async def test_a_failed_opening_is_told_to_all_who_wait_for_it_and_to_nobody_else():
    async with bench(most=1, held=True) as its:
        waiting, other = [its.waiting("a"), its.waiting("a")], its.waiting("b")
        await settle()
        its.links.made[0].finish(UpstreamUnavailable("no way"))
        for one in waiting:
            assert (await refused(one)).message == "no way"
        await settle()
        its.links.made[1].finish()
        assert (await other).key == key_of("b")
        assert [row.state for row in its.told if row.server == "a"] == [State.CONNECTING, State.CLOSED]
        assert its.links.made[0].closed == 1


async def test_closing_without_wait_closes_at_once_and_the_lease_may_still_be_given_back():
    async with bench() as its:
        busy = await its.lease("a")
        assert its.pool.close(busy.id, wait=False).state is State.CLOSED
        await settle()
        assert its.links.made[0].closed == 1
        fresh = await its.lease("a")
        assert fresh is not busy
        its.pool.release(busy)
        assert fresh.state is State.CONNECTED and fresh.in_flight == 1


async def test_closing_with_wait_lets_calls_end_and_new_ones_go_to_a_successor():
    async with bench() as its:
        busy = await its.lease("a")
        assert its.pool.close(busy.id, wait=True).state is State.CONNECTED
        successor = await its.lease("a")
        assert successor is not busy and its.links.made[0].closed == 0
        assert [row.id for row in its.pool.rows()] == [busy.id, successor.id]
        its.pool.release(busy)
        assert busy.state is State.CLOSED
        await settle()
        assert its.links.made[0].closed == 1
        assert [row.id for row in its.pool.rows()] == [successor.id]


async def test_closing_with_wait_closes_an_idle_connection_at_once():
    async with bench() as its:
        (idle,) = await its.used("a")
        assert its.pool.close(idle.id, wait=True).state is State.CLOSED
        assert its.pool.rows() == ()


async def test_closing_what_is_being_opened_gives_those_who_wait_for_it_a_successor():
    async with bench(held=True) as its:
        waiting = its.waiting("a")
        await settle()
        its.pool.close("c1", wait=False)
        its.links.made[0].finish(UpstreamUnavailable("closed under it"))
        await settle()
        its.links.made[1].finish()
        assert (await waiting).id == "c2"


async def test_closing_an_upstream_spares_the_others_and_the_calls_that_run():
    async with bench(most=5) as its:
        await its.used("a1", "b")
        busy = await its.lease("a2")
        its.pool.close_upstream("a")
        assert its.keys() == {"a2", "b"}
        assert busy.state is State.CONNECTED
        its.pool.release(busy)
        assert its.keys() == {"b"}


async def test_a_connection_nobody_has_is_unknown():
    async with bench() as its:
        for name in ("c99", "", "x" * 1000):
            with pytest.raises(UnknownConnection) as caught:
                its.pool.close(name, wait=False)
            assert len(caught.value.metadata["connection"]) <= 64
            with pytest.raises(UnknownConnection):
                its.pool.row(name)


@pytest.mark.covers("B-52")
async def test_idle_sockets_and_idle_sessions_are_closed_and_busy_ones_are_not():
    async with bench(session_idle=900.0) as its:
        (idle,) = await its.used("a")
        busy = await its.lease("b")
        now = time.monotonic()
        its.pool.tick(now + 899)
        assert its.keys() == {"a", "b"}
        assert [link.idle_limits for link in its.links.made] == [[3.0], [3.0]]
        its.pool.tick(now + 901)
        assert its.keys() == {"b"} and idle.state is State.CLOSED
        its.pool.release(busy)
        its.pool.tick(now + 899)
        assert its.keys() == {"b"}


@pytest.mark.covers("B-52")
async def test_a_clients_own_session_is_not_closed_for_being_idle():
    async with bench(session_idle=900.0) as its:
        await its.used("a", "b of-alice")
        its.pool.tick(time.monotonic() + 901)
        assert [one.key.client for one in its.pool.connections()] == ["of-alice"]
        its.pool.close_of("of-alice")
        assert its.pool.rows() == ()


@pytest.mark.covers("B-50")
async def test_a_clients_own_session_makes_room_only_when_no_other_idle_connection_can():
    async with bench(most=3) as its:
        its.links.transport = "stdio"
        alices, _, shared = await its.used("a of-alice", "a of-bob", "a1")
        assert [row.lru_rank for row in its.pool.rows()] == [1, 2, 0]
        await its.used("b of-carol")
        assert (alices.state, shared.state) == (State.CONNECTED, State.CLOSED)
        await its.used("b1")
        assert alices.state is State.CLOSED


@pytest.mark.covers("B-50")
async def test_idle_sessions_of_clients_over_http_take_no_place_and_busy_ones_do():
    async with bench(most=2, per_endpoint=2) as its:
        owned = await its.used("a of-alice", "a of-bob", "a of-carol", "b of-dave")
        shared = await its.lease("a1")
        assert {connection.state for connection in (*owned, shared)} == {State.CONNECTED}
        assert await its.lease("a of-alice") is owned[0]
        waiting = its.waiting("a2")
        await settle()
        assert not waiting.done()
        its.pool.release(owned[0])
        await settle()
        assert (await waiting).state is State.CONNECTED
        assert {connection.state for connection in owned} == {State.CONNECTED}


async def test_the_pool_ticks_by_itself(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pools, "_TICK_SECONDS", 0.001)
    async with bench(session_idle=0.0) as its:
        await its.used("a")
        running = its.tasks.create_task(its.pool.run())
        while its.pool.rows():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        running.cancel()


@pytest.mark.covers("B-54")
async def test_watchers_are_told_every_change_until_they_leave():
    async with bench(most=1) as its:
        later: list[Row] = []
        unwatch = its.pool.watch(later.append)
        (first,) = await its.used("a")
        its.pool.report(first, UpstreamUnavailable("broken"))
        its.pool.report(first, UpstreamUnavailable("still"))
        its.pool.report(first, None)
        unwatch()
        await its.used("b")
        assert [(row.server, row.state) for row in its.told] == [
            ("a", State.CONNECTING),
            ("a", State.CONNECTED),
            ("a", State.DISCONNECTED),
            ("a", State.CONNECTED),
            ("a", State.CLOSED),
            ("b", State.CONNECTING),
            ("b", State.CONNECTED),
        ]
        assert its.told[2].last_error == "broken"
        assert [row.state for row in later] == [row.state for row in its.told[:4]]


async def test_a_disconnected_connection_is_kept_leased_and_evicted_like_any_idle_one():
    async with bench(most=1) as its:
        (broken,) = await its.used("a")
        its.pool.report(broken, UpstreamUnavailable("broken"))
        assert await its.lease("a") is broken
        its.pool.release(broken)
        await its.used("b")
        assert broken.state is State.CLOSED


async def test_a_closed_connection_stays_closed_whatever_is_reported_of_it():
    async with bench() as its:
        busy = await its.lease("a")
        its.pool.close(busy.id, wait=False)
        its.pool.report(busy, None)
        its.pool.report(busy, UpstreamUnavailable("broken"))
        assert busy.state is State.CLOSED


async def test_rows_tell_what_users_are_shown():
    async with bench() as its:
        before = time.time()
        (idle,) = await its.used("a")
        busy = await its.lease("b")
        first, second = its.pool.rows()
        assert (first.id, first.server, first.endpoint, first.transport, first.era) == (
            "c1", "a", "127.0.0.1:80", "http", "legacy",
        )  # fmt: skip
        assert (first.in_flight, first.lru_rank, first.calls, first.last_error) == (0, 0, 1, "")
        assert (second.in_flight, second.lru_rank) == (1, -1)
        assert before - 1 <= first.since <= time.time() and before - 1 <= first.last_used <= time.time()
        assert its.pool.row(idle.id).id == "c1"
        its.pool.release(busy)


async def test_shutting_closes_everything_at_once():
    async with bench(most=5) as its:
        busy = await its.lease("a")
        await its.used("b", "c")
        await its.pool.shut()
        assert its.pool.rows() == ()
        assert [link.closed for link in its.links.made] == [1, 1, 1]
        assert {row.state for row in its.told[-3:]} == {State.CLOSED}
        its.pool.release(busy)
