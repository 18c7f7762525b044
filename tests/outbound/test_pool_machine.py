"""The pool under any order of events: never over its limits, never a busy connection evicted, every waiter served."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcp_sidecar.call import Deadline
from mcp_sidecar.errors import PoolExhausted, SidecarError, UpstreamUnavailable
from mcp_sidecar.outbound.connection import Connection, Row, State
from mcp_sidecar.outbound.pool import Pool
from mcp_sidecar.settings import PoolSettings
from tests.outbound.fake_link import FakeLink, Links, key_of

MOST, PER_ENDPOINT = 3, 2
NAMES = st.sampled_from(["a1", "a2", "a3", "b1", "b2", "c1", "a-alone", "b-alone"])


def alone(name: str) -> bool:
    return name.endswith("alone")


class PoolMachine(RuleBasedStateMachine):
    """Callers lease, wait, give up and give back; links open, fail and break; users close."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.tasks = asyncio.TaskGroup()
        self.run(self.tasks.__aenter__())
        pool_settings = PoolSettings(max_connections=MOST, max_per_endpoint=PER_ENDPOINT, session_idle=900.0)
        self.pool = Pool(pool_settings, self.tasks)
        self.links = Links(held=True)
        self.seen: dict[str, State] = {}
        self.pool.watch(self.watch)
        self.waiting: list[tuple[str, asyncio.Future[Connection]]] = []
        self.leases: list[Connection] = []
        self.ended_by_user: set[str] = set()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def watch(self, row: Row) -> None:
        self.seen[row.id] = row.state
        if row.state is State.CLOSED:
            del self.seen[row.id]

    def settle(self) -> None:
        """Let everything happen that can, and take what was granted."""

        async def turns() -> None:
            for _ in range(8):
                await asyncio.sleep(0)

        self.run(turns())
        for name, waiter in [one for one in self.waiting if one[1].done()]:
            self.waiting.remove((name, waiter))
            if not waiter.cancelled() and waiter.exception() is None:
                assert waiter.result().key._replace(lane=0) == key_of(name)
                self.leases.append(waiter.result())
            elif not waiter.cancelled():
                assert isinstance(waiter.exception(), UpstreamUnavailable)

    def ask(self, name: str, seconds: float) -> asyncio.Future[Connection]:
        key = key_of(name)

        async def acquire() -> Connection:
            return await self.pool.acquire(key, self.links.opener(key), Deadline.after(seconds), alone=alone(name))

        return asyncio.ensure_future(acquire(), loop=self.loop)

    @rule(name=NAMES)
    def lease(self, name: str) -> None:
        self.waiting.append((name, self.ask(name, 1000.0)))
        self.settle()

    @rule(name=NAMES)
    def lease_without_patience(self, name: str) -> None:
        async def over(asked: asyncio.Future[Connection]) -> None:
            await asyncio.wait({asked}, timeout=5)

        asked = self.ask(name, 0.0)
        self.run(over(asked))
        assert asked.done()
        if isinstance(asked.exception(), SidecarError):
            assert isinstance(asked.exception(), PoolExhausted | UpstreamUnavailable)
        else:
            self.leases.append(asked.result())
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.waiting))[1].cancel()
        self.settle()

    @precondition(lambda self: self.waiting and self.leases)
    @rule(data=st.data())
    def give_up_as_it_is_granted(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.waiting))[1]
        self.pool.release(self.leases.pop())
        for link in self.opening():
            link.finish()
        waiter.cancel()
        self.settle()

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(self.leases))
        self.leases.remove(connection)
        self.pool.release(connection)
        self.settle()

    def opening(self) -> list[FakeLink]:
        return [link for link in self.links.made if link.opening]

    @precondition(lambda self: self.opening())
    @rule(data=st.data(), fails=st.booleans())
    def opening_ends(self, data: st.DataObject, *, fails: bool) -> None:
        link = data.draw(st.sampled_from(self.opening()))
        link.finish(UpstreamUnavailable("no way") if fails else None)
        self.settle()

    @precondition(lambda self: self.pool.connections())
    @rule(data=st.data(), wait=st.booleans())
    def a_user_closes(self, data: st.DataObject, *, wait: bool) -> None:
        connection = data.draw(st.sampled_from(self.pool.connections()))
        if not wait:
            self.ended_by_user.add(connection.id)
        self.pool.close(connection.id, wait=wait)
        self.settle()

    @rule(name=st.sampled_from(["a", "b", "c"]))
    def an_upstream_is_refreshed(self, name: str) -> None:
        self.pool.close_upstream(name)
        self.settle()

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), broken=st.booleans())
    def a_call_reports(self, data: st.DataObject, *, broken: bool) -> None:
        self.pool.report(data.draw(st.sampled_from(self.leases)), UpstreamUnavailable("broken") if broken else None)
        self.settle()

    @rule(quiet=st.sampled_from([0.0, 2000.0]))
    def time_passes(self, quiet: float) -> None:
        self.pool.tick(time.monotonic() + quiet)
        self.settle()

    @invariant()
    def limits_are_kept(self) -> None:
        held = Counter(connection.key.upstream for connection in self.pool.connections())
        assert sum(held.values()) <= MOST
        assert max(held.values(), default=0) <= PER_ENDPOINT

    @invariant()
    def connections_are_known_by_endpoint_too(self) -> None:
        by_endpoint = [connection.id for here in self.pool._at.values() for connection in here]
        assert sorted(by_endpoint) == sorted(connection.id for connection in self.pool.connections())
        assert all(self.pool._at.values())

    @invariant()
    def whoever_holds_a_lease_holds_a_connection(self) -> None:
        for connection in self.leases:
            assert connection.state is not State.CLOSED or connection.id in self.ended_by_user
        held = Counter(connection.id for connection in self.leases)
        for connection in self.pool.connections():
            assert connection.in_flight == held[connection.id]

    @invariant()
    def who_wants_one_alone_has_it_alone(self) -> None:
        held = Counter(connection.id for connection in self.leases if alone(connection.key.credential))
        assert max(held.values(), default=0) <= 1
        for connection in self.pool.connections():
            assert connection.alone == (held[connection.id] == 1)

    @invariant()
    def watchers_know_what_there_is(self) -> None:
        assert self.seen == {row.id: row.state for row in self.pool.rows()}

    @invariant()
    def every_link_is_in_the_pool_or_closed_once(self) -> None:
        kept = {id(connection.link) for connection in self.pool.connections()}
        assert all(link.closed == (0 if id(link) in kept else 1) for link in self.links.made)

    @invariant()
    def nobody_waits_for_what_could_be_had(self) -> None:
        connections = self.pool.connections()
        for name, _ in self.waiting:
            own = [one for one in connections if one.key._replace(lane=0) == key_of(name) and not one.closing]
            if alone(name):
                assert all(one.alone or one.state is State.CONNECTING for one in own)
                opening = sum(1 for one in own if one.state is State.CONNECTING)
                if opening >= sum(1 for other, _ in self.waiting if other == name):
                    continue
            elif own:
                assert own[0].state is State.CONNECTING
                continue
            at_endpoint = [one for one in connections if one.key.endpoint is key_of(name).endpoint]
            full = at_endpoint if len(at_endpoint) >= PER_ENDPOINT else connections
            assert len(connections) >= MOST or len(at_endpoint) >= PER_ENDPOINT
            assert not any(one.idle for one in full)

    def teardown(self) -> None:
        for _ in range(200):
            if not self.waiting and not self.leases:
                break
            for link in self.opening():
                link.finish()
            while self.leases:
                self.pool.release(self.leases.pop())
            self.settle()
        assert not self.waiting, "a waiter that never ends"
        for link in self.opening():
            link.finish()
        self.run(self.pool.shut())
        self.run(self.tasks.__aexit__(None, None, None))
        self.loop.close()


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
