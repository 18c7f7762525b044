"""Calls that want a connection alone: who gets which, and who has to wait."""

from __future__ import annotations

from mcp_sidecar.errors import PoolExhausted, UpstreamUnavailable
from tests.outbound.pool_bench import bench, refused, settle


async def test_calls_that_want_a_connection_alone_have_one_each_and_use_those_there_are_again():
    async with bench(most=10) as its:
        one, other = await its.lease("a", alone=True), await its.lease("a", alone=True)
        assert one is not other and one.in_flight == other.in_flight == 1
        its.pool.release(other)
        assert await its.lease("a", alone=True) is other
        its.pool.release(one)
        its.pool.release(other)
        assert [await its.lease("a", alone=True) for _ in range(2)] == [one, other]
        assert len(its.links.made) == 2


async def test_who_shares_does_so_with_a_call_that_is_alone_among_its_like():
    async with bench(most=10) as its:
        listener, alone = await its.lease("a"), await its.lease("a", alone=True)
        assert listener is alone and await its.lease("a") is alone
        its.pool.release(listener, sharing=True)
        assert await its.lease("a", alone=True) is not alone
        its.pool.release(alone)
        assert alone.in_flight == 1 and await its.lease("a", alone=True) is alone


async def test_calls_that_want_one_alone_wait_for_their_turn_when_there_may_be_no_more():
    async with bench(most=10, per_endpoint=2) as its:
        one, other = await its.lease("a", alone=True), await its.lease("a", alone=True)
        first, second = its.waiting("a", alone=True), its.waiting("a", alone=True)
        late = its.waiting("a", 0.05, alone=True)
        assert isinstance(await refused(late), PoolExhausted)
        its.pool.release(other)
        assert await first is other and not second.done()
        its.pool.release(one)
        assert await second is one
        assert len(its.links.made) == 2


async def test_no_more_are_opened_than_calls_wait_and_each_that_fails_is_the_failure_of_one():
    async with bench(most=10, held=True) as its:
        waiting = [its.waiting("a", alone=True) for _ in range(3)]
        await settle()
        assert len(its.links.made) == 3
        its.links.made[1].finish(UpstreamUnavailable("no way"))
        assert str(await refused(waiting[0])) == "no way"
        assert len(its.links.made) == 3
        for number in (0, 2):
            its.links.made[number].finish()
        assert len({await waiting[1], await waiting[2]}) == 2


async def test_a_call_that_gave_up_leaves_its_connection_to_the_next():
    async with bench(most=10, held=True) as its:
        first, second = its.waiting("a", alone=True), its.waiting("a", alone=True)
        await settle()
        first.cancel()
        await settle()
        its.links.made[1].finish()
        connection = await second
        its.links.made[0].finish()
        await settle()
        third = await its.lease("a", alone=True)
        assert third is not connection and len(its.links.made) == 2
