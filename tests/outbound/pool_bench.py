"""A pool on fake links, for tests of the pool; knows no test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp_sidecar.call import Deadline
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.outbound.connection import Connection, Row
from mcp_sidecar.outbound.pool import Pool
from mcp_sidecar.settings import PoolSettings
from tests.outbound.fake_link import Links, key_of
from tests.outbound.links import family

LONG = 1000.0


class Bench:
    """A pool, its links, its tasks, and every row a watcher was told."""

    def __init__(self, tasks: asyncio.TaskGroup, settings: PoolSettings, *, held: bool) -> None:
        self.tasks = tasks
        self.pool = Pool(settings, tasks)
        self.links = Links(held=held)
        self.told: list[Row] = []
        self.pool.watch(self.told.append)

    async def lease(self, name: str, seconds: float = LONG, *, alone: bool = False) -> Connection:
        key = key_of(name)
        return await self.pool.acquire(key, self.links.opener(key), Deadline.after(seconds), alone=alone)

    def waiting(self, name: str, seconds: float = LONG, *, alone: bool = False) -> asyncio.Task[Connection]:
        return asyncio.ensure_future(self.lease(name, seconds, alone=alone))  # of no family: it may fail

    async def used(self, *names: str) -> list[Connection]:
        """Leased and given back, one after the other."""
        connections = []
        for name in names:
            connections.append(connection := await self.lease(name))
            self.pool.release(connection)
        return connections

    def keys(self) -> set[str]:
        return {row.server + connection.key.credential for row, connection in self._pairs()}

    def _pairs(self) -> list[tuple[Row, Connection]]:
        by_id = {connection.id: connection for connection in self.pool.connections()}
        return [(row, by_id[row.id]) for row in self.pool.rows()]


@asynccontextmanager
async def bench(
    most: int = 2, per_endpoint: int = 10, *, held: bool = False, session_idle: float = 900.0
) -> AsyncIterator[Bench]:
    settings = PoolSettings(max_connections=most, max_per_endpoint=per_endpoint, idle=3.0, session_idle=session_idle)
    async with family() as tasks:
        made = Bench(tasks, settings, held=held)
        yield made
        await made.pool.shut()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def refused(waiting: asyncio.Task[Connection]) -> SidecarError:
    (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(outcome, SidecarError)
    return outcome
