"""Broken connections are marked and brought back; nothing is opened just to look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mcp_sidecar.call import Deadline
from mcp_sidecar.errors import UpstreamUnavailable
from mcp_sidecar.outbound import monitor as monitors
from mcp_sidecar.outbound.backoff import Backoff
from mcp_sidecar.outbound.connection import Connection, Key, State
from mcp_sidecar.outbound.http_legacy import HttpCarrier
from mcp_sidecar.outbound.legacy import LegacyConversation
from mcp_sidecar.outbound.monitor import Monitor
from mcp_sidecar.outbound.pool import Pool
from mcp_sidecar.settings import MonitorSettings, PoolSettings
from tests.outbound.fake_link import FakeLink, Links, key_of
from tests.outbound.links import NOBODY, client_of, endpoint_of, family
from tests.support.fake_server import FakeServer

INTERVAL = 10.0
GONE = UpstreamUnavailable("gone")


def middle(low: float, high: float) -> float:
    return (low + high) / 2


class Ward:
    """A pool with one connection and the monitor that looks after it."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.pool = Pool(PoolSettings(), tasks)
        self.monitor = Monitor(MonitorSettings(interval=INTERVAL), self.pool, tasks, Backoff(draw=middle))

    async def with_fake(self, *, stateful: bool = True) -> tuple[Connection, FakeLink]:
        links = Links(stateful=stateful)
        key = key_of("a")
        connection = await self.pool.acquire(key, links.opener(key), Deadline.after(5))
        self.pool.release(connection)
        return connection, links.made[0]

    async def look(self, seconds_on: float = 0.0) -> None:
        """Look as if so much time had passed, and let the checks end."""
        self.monitor.look(time.monotonic() + seconds_on)
        while self.monitor._checking:  # noqa: ASYNC110
            await asyncio.sleep(0)


@asynccontextmanager
async def ward() -> AsyncIterator[Ward]:
    async with family() as tasks:
        made = Ward(tasks)
        yield made
        await made.pool.shut()


async def test_a_session_is_asked_only_after_it_was_quiet_for_the_interval():
    async with ward() as its:
        connection, link = await its.with_fake()
        await its.look(INTERVAL - 1)
        assert link.checked == 0
        await its.look(INTERVAL + 1)
        assert link.checked == 1
        connection.heard_at = time.monotonic() + INTERVAL  # a call heard of it meanwhile
        await its.look(INTERVAL + 1)
        assert link.checked == 1 == link.opened


async def test_a_stateless_connection_that_works_is_never_asked():
    async with ward() as its:
        _, link = await its.with_fake(stateful=False)
        await its.look(100 * INTERVAL)
        assert link.checked == 0


@pytest.mark.covers("B-53")
async def test_a_session_that_does_not_answer_is_marked_and_asked_again_with_backoff():
    async with ward() as its:
        connection, link = await its.with_fake()
        link.broken = link.error = GONE
        await its.look(INTERVAL + 1)
        assert (connection.state, connection.last_error, connection.failures) == (State.DISCONNECTED, "gone", 1)
        waits = []
        for _ in range(8):
            waits.append(round(connection.retry_at - time.monotonic(), 1))
            checked = link.checked
            await its.look(waits[-1] - 0.2)
            assert link.checked == checked
            await its.look(waits[-1] + 0.2)
            assert link.checked == checked + 1
        assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


@pytest.mark.covers("B-53")
async def test_a_session_that_answers_again_is_connected_and_its_failures_forgotten():
    async with ward() as its:
        connection, link = await its.with_fake()
        its.pool.report(connection, GONE)
        assert connection.state is State.DISCONNECTED
        await its.look()  # a failure that a call reported is looked into at once
        assert (connection.state, connection.failures, connection.last_error) == (State.CONNECTED, 0, "")
        assert (link.checked, link.opened) == (1, 1)


@pytest.mark.covers("B-53")
async def test_a_session_the_server_lost_is_opened_anew():
    async with ward() as its:
        connection, link = await its.with_fake()
        link.broken = GONE
        await its.look(INTERVAL + 1)
        assert link.opened == 1  # not in the same look
        await its.look(1)
        assert (connection.state, link.opened) == (State.CONNECTED, 2)


async def test_a_broken_stateless_connection_is_not_declared_well_by_opening_nothing():
    async with ward() as its:
        connection, link = await its.with_fake(stateful=False)
        link.broken = GONE
        its.pool.report(connection, GONE)
        for seconds in (0, 1, 2):
            await its.look(seconds)
            assert connection.state is State.DISCONNECTED
        assert link.opened == 1
        link.broken = None
        await its.look(60)
        assert connection.state is State.CONNECTED


async def test_a_check_that_hangs_counts_as_a_failure_and_there_is_one_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(monitors, "_CHECK_SECONDS", 0.02)
    async with ward() as its:
        connection, link = await its.with_fake()
        checks = 0

        async def hang() -> None:
            nonlocal checks
            checks += 1
            await asyncio.Event().wait()

        monkeypatch.setattr(link, "check", hang)
        for _ in range(3):
            its.monitor.look(time.monotonic() + INTERVAL + 1)
            await asyncio.sleep(0)
        assert checks == 1
        while its.monitor._checking:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert connection.state is State.DISCONNECTED
        assert "no answer" in connection.last_error


async def test_a_connection_closed_during_its_check_stays_closed():
    async with ward() as its:
        connection, link = await its.with_fake()
        its.monitor.look(time.monotonic() + INTERVAL + 1)
        its.pool.close(connection.id, wait=False)
        await its.look()
        assert connection.state is State.CLOSED
        assert (link.checked, its.pool.rows()) == (1, ())


async def test_the_monitor_looks_by_itself():
    async with family() as tasks:
        its = Ward(tasks)
        its.monitor = Monitor(MonitorSettings(interval=0.01), its.pool, tasks)
        _, link = await its.with_fake()
        running = tasks.create_task(its.monitor.run())
        while not link.checked:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        running.cancel()
        await its.pool.shut()


@pytest.mark.covers("B-53")
async def test_on_a_real_session_it_pings_reconnects_and_opens_none_to_look():
    async with FakeServer("legacy") as server, family() as tasks:
        its = Ward(tasks)
        key = Key(endpoint_of(server.url), "", b"{}")

        def open_link() -> LegacyConversation:
            return LegacyConversation("up", HttpCarrier(endpoint_of(server.url), NOBODY, client_of(server.url)), tasks)

        connection = await its.pool.acquire(key, open_link, Deadline.after(5))
        its.pool.release(connection)
        await its.look(INTERVAL + 1)
        assert [received.rpc for received in server.requests][2:] == ["ping"]
        await server.stop()
        await its.look(2 * INTERVAL)
        assert connection.state is State.DISCONNECTED
        await its.look(60)
        assert connection.state is State.DISCONNECTED
        await server.start()
        await its.look(120)
        assert [(row.id, row.state) for row in its.pool.rows()] == [(connection.id, State.CONNECTED)]
        assert server.count("initialize") == 2  # the first one, and one for the session in use that was lost
        assert server.violations == []
        await its.pool.shut()
        assert server.sessions == {}
