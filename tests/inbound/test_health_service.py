"""Tests of `mcp_sidecar.inbound.grpc.health` with real grpc.aio servers and channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mcp_sidecar.inbound.chain import Chain, Ledger
from mcp_sidecar.inbound.grpc.health import HealthService
from mcp_sidecar.inbound.grpc.server import Registrar, the_context
from mcp_sidecar.inbound.health import HealthBoard
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.lifecycle import Lifecycle, Phase
from mcp_sidecar.logs import Log
from tests.inbound.waiting import eventually

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
# A reader that stops reading is felt after 1 KiB, not 64.
SMALL_WINDOW = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))


class Served:
    """A health service on loopback, with the facts it reports."""

    def __init__(self, **limits: float) -> None:
        self.lifecycle = Lifecycle(("start",))
        self.upstreams: dict[str, bool] = {}
        self.board = HealthBoard(self.lifecycle, upstreams=lambda: self.upstreams)
        self.service = HealthService(self.board, **limits)  # type: ignore[arg-type]
        self.server = grpc.aio.server()
        behind_the_chain = Registrar((self.server,), Chain(Ledger(Log(print, "error"), Metrics())), the_context)
        health_pb2_grpc.add_HealthServicer_to_server(self.service, behind_the_chain)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=SMALL_WINDOW)
        self.stub = health_pb2_grpc.HealthStub(self.channel)

    async def check(self, service: str) -> int:
        status: int = (await self.stub.Check(health_pb2.HealthCheckRequest(service=service))).status
        return status

    def watch(self, service: str) -> Any:
        return self.stub.Watch(health_pb2.HealthCheckRequest(service=service))


async def _read_all(watch: Any) -> None:
    while await watch.read() is not grpc.aio.EOF:
        pass


@asynccontextmanager
async def served(**limits: float) -> AsyncIterator[Served]:
    async with asyncio.timeout(10):
        here = Served(**limits)
        await here.server.start()
        try:
            yield here
        finally:
            await here.channel.close()
            await here.server.stop(None)


async def test_check_follows_the_lifecycle():
    async with served() as here:
        names = ("startup", "readiness", "", "mcp_sidecar.v1.MCPEngine", "liveness")
        assert [await here.check(name) for name in names] == [NOT_SERVING] * 4 + [SERVING]
        here.lifecycle.release("start")
        assert [await here.check(name) for name in names] == [SERVING] * 5
        here.lifecycle.advance(Phase.LAME_DUCK)
        assert [await here.check(name) for name in names] == [SERVING] + [NOT_SERVING] * 3 + [SERVING]


async def test_check_of_a_service_that_does_not_exist_is_not_found():
    async with served() as here:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await here.check("nonsense")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_upstream_that_is_down_shows_under_its_own_name_only():
    async with served() as here:
        here.lifecycle.release("start")
        here.upstreams["weather"] = False
        assert await here.check("upstream/weather") == NOT_SERVING
        assert await here.check("readiness") == SERVING


async def test_list_gives_every_service():
    async with served() as here:
        here.upstreams["weather"] = True
        reply = await here.stub.List(health_pb2.HealthListRequest())
        statuses = {name: entry.status for name, entry in reply.statuses.items()}
        assert statuses["readiness"] == statuses[""] == NOT_SERVING
        assert statuses["liveness"] == statuses["upstream/weather"] == SERVING


async def test_watch_tells_the_status_now_and_each_change_and_ends_when_the_sidecar_drains():
    async with served() as here:
        watch = here.watch("readiness")
        assert (await watch.read()).status == NOT_SERVING
        here.lifecycle.release("start")
        assert (await watch.read()).status == SERVING
        here.board.notify()  # about something else
        here.lifecycle.advance(Phase.LAME_DUCK)
        assert (await watch.read()).status == NOT_SERVING
        here.lifecycle.advance(Phase.DRAINING)
        assert await watch.read() is grpc.aio.EOF
        assert await watch.code() is grpc.StatusCode.OK


async def test_an_open_watch_does_not_hold_the_stop_of_a_draining_server():
    async with served() as here:
        watch = here.watch("")
        await watch.read()
        here.lifecycle.advance(Phase.DRAINING)
        async with asyncio.timeout(2):  # far below the grace
            await here.server.stop(60)


async def test_a_service_that_does_not_exist_is_watched_until_it_comes():
    async with served() as here:
        watch = here.watch("upstream/weather")
        assert (await watch.read()).status == SERVICE_UNKNOWN
        here.upstreams["weather"] = True
        here.board.notify()
        assert (await watch.read()).status == SERVING
        watch.cancel()


async def test_watchers_beyond_the_bound_are_refused_and_room_comes_back():
    async with served(max_watchers=2) as here:
        watches = [here.watch("") for _ in range(2)]
        for watch in watches:
            await watch.read()
        refused = here.watch("")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await refused.read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        watches[0].cancel()
        await eventually(lambda: here.service._watchers == 1)
        late = here.watch("")
        assert (await late.read()).status == NOT_SERVING
        late.cancel()
        watches[1].cancel()


async def test_a_watcher_that_does_not_read_holds_up_nobody_and_is_dropped():
    async with served(write_seconds=0.05) as here:
        stuck = here.watch("upstream/weather")
        await stuck.initial_metadata()
        brisk = here.watch("readiness")
        await brisk.read()
        while here.service._watchers > 1:
            here.upstreams["weather"] = not here.upstreams.get("weather", False)
            here.board.notify()
            await asyncio.sleep(0.0005)
        here.lifecycle.release("start")
        assert (await brisk.read()).status == SERVING
        brisk.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _read_all(stuck)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_watcher_that_does_not_read_holds_the_stop_of_a_server_no_longer_than_its_grace():
    async with served(write_seconds=0.05) as here:
        stuck = here.watch("upstream/weather")
        await stuck.initial_metadata()
        while here.service._watchers:
            here.upstreams["weather"] = not here.upstreams.get("weather", False)
            here.board.notify()
            await asyncio.sleep(0.0005)
        here.lifecycle.advance(Phase.DRAINING)
        async with asyncio.timeout(2):
            await here.server.stop(0.05)
        stuck.cancel()


async def test_a_client_that_leaves_ends_its_watch():
    async with served() as here:
        watch = here.watch("")
        await watch.read()
        assert here.service._watchers == 1
        watch.cancel()
        await eventually(lambda: not here.service._watchers)
