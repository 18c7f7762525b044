"""Tests of `mcp_sidecar.inbound.grpc.connections_service` through a whole sidecar."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc.aio
import pytest

from mcp_sidecar.settings import TimeoutSettings, UpstreamSettings
from mcp_sidecar.v1 import connections_pb2 as pb
from mcp_sidecar.v1 import engine_pb2
from tests.inbound.grpc.asking import asked, details, failed, tool, trailers
from tests.inbound.waiting import eventually
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
VERSIONS = {"modern": "2026-07-28", "legacy": "2025-11-25"}


async def echo(sidecar: Sidecar, server: str = "up") -> str:
    """One call; the id of the connection it used."""
    answer = await sidecar.engine.Call(asked(tool("echo", text="hi"), server=server), timeout=5)
    connection_id: str = answer.info.connection_id
    return connection_id


async def servers(sidecar: Sidecar) -> dict[str, pb.Server]:
    listed = await sidecar.connections.ListServers(pb.ListServersRequest(), timeout=5)
    return {one.name: one for one in listed.servers}


async def connections(sidecar: Sidecar, server: str = "") -> list[pb.Connection]:
    listed = await sidecar.connections.ListConnections(pb.ListConnectionsRequest(server=server), timeout=5)
    return list(listed.connections)


@ERAS
async def test_servers_are_listed_in_order_with_what_is_known_of_them(era: Any):
    async with FakeServer(era=era) as up:
        async with Sidecar({"up": up.url, "down": "http://127.0.0.1:9/mcp"}) as sidecar:
            before = await servers(sidecar)
            assert list(before) == ["up", "down"]
            assert (before["up"].state, before["up"].url) == (pb.SERVER_STATE_UNKNOWN, up.url)
            assert before["up"].endpoints[0].address == f"127.0.0.1:{up.port}"
            assert not before["up"].endpoints[0].HasField("probed")
            assert up.requests == []
            await echo(sidecar)
            await failed(sidecar.engine.Call(asked(tool("echo", text="hi"), server="down"), timeout=5))
            after = await servers(sidecar)
            shown = after["up"]
            assert (shown.state, shown.connections, shown.last_error) == (pb.SERVER_STATE_UP, 1, "")
            assert (shown.title, shown.version) == ("fake", "1.0.0")
            assert shown.endpoints[0].protocol_version == VERSIONS[era]
            assert abs(shown.endpoints[0].probed.ToSeconds() - time.time()) < 60
            assert after["down"].state == pb.SERVER_STATE_DOWN
            assert "cannot be reached" in after["down"].last_error


@ERAS
async def test_a_connection_shows_what_it_is_and_does(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        assert await connections(sidecar) == []
        connection_id = await echo(sidecar)
        held = sidecar.engine.Call(asked(tool("hold", gate="g")))
        await up.until(lambda s: len(s.executions) == 2)
        (busy,) = await connections(sidecar)
        assert (busy.id, busy.server, busy.era, busy.transport) == (connection_id, "up", era, "http")
        assert (busy.state, busy.in_flight, busy.lru_rank, busy.calls) == (pb.CONNECTION_STATE_CONNECTED, 1, -1, 2)
        assert busy.protocol_version == VERSIONS[era]
        up.release("g")
        await held
        one = (await sidecar.connections.GetConnection(pb.GetConnectionRequest(connection_id=connection_id))).connection
        assert (one.in_flight, one.lru_rank) == (0, 0)
        assert abs(one.last_used.ToSeconds() - time.time()) < 60


async def test_connections_can_be_listed_by_server():
    async with FakeServer() as one, FakeServer() as two, Sidecar({"one": one.url, "two": two.url}) as sidecar:
        await echo(sidecar, "two")
        await echo(sidecar, "one")
        assert [row.server for row in await connections(sidecar)] == ["two", "one"]
        assert [row.server for row in await connections(sidecar, "one")] == ["one"]
        unknown = await failed(sidecar.connections.ListConnections(pb.ListConnectionsRequest(server="x"), timeout=5))
        assert unknown.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [
        ("GetConnection", pb.GetConnectionRequest(connection_id="c99")),
        ("GetConnection", pb.GetConnectionRequest()),
        ("CloseConnection", pb.CloseConnectionRequest(connection_id="c99")),
        ("OpenConnection", pb.OpenConnectionRequest(server="x")),
        ("RefreshServer", pb.RefreshServerRequest(server="x")),
    ],
)
async def test_what_does_not_exist_is_not_found(rpc: str, request_: Any):
    async with Sidecar({"up": "http://127.0.0.1:9/mcp"}) as sidecar:
        error = await failed(getattr(sidecar.connections, rpc)(request_, timeout=5))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert trailers(error)["mcp-sidecar-execution"] == "none"
        assert details(error)
        assert sidecar.calls()[-1]["code"] == "NOT_FOUND"


@ERAS
async def test_a_connection_is_opened_ahead_of_its_first_call_once(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar:
        opened = await sidecar.connections.OpenConnection(pb.OpenConnectionRequest(), timeout=5)
        assert opened.connection.state == pb.CONNECTION_STATE_CONNECTED
        again = await sidecar.connections.OpenConnection(pb.OpenConnectionRequest(server="up"), timeout=5)
        assert again.connection.id == opened.connection.id == await echo(sidecar)
        assert up.count("initialize") == (0 if era == "modern" else 1)


async def test_opening_a_connection_to_a_server_that_is_not_there_fails():
    async with Sidecar({"up": "http://127.0.0.1:9/mcp"}) as sidecar:
        error = await failed(sidecar.connections.OpenConnection(pb.OpenConnectionRequest(), timeout=5))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert (await servers(sidecar))["up"].state == pb.SERVER_STATE_DOWN


@ERAS
async def test_closing_a_connection_ends_its_calls_as_lost(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        held = sidecar.engine.Call(asked(tool("hold", gate="g")))
        await up.until(lambda s: s.executions)
        (busy,) = await connections(sidecar)
        closed = await sidecar.connections.CloseConnection(pb.CloseConnectionRequest(connection_id=busy.id))
        assert closed.connection.state == pb.CONNECTION_STATE_CLOSED
        lost = await failed(held)
        assert (lost.code(), trailers(lost)["mcp-sidecar-execution"]) == (grpc.StatusCode.UNAVAILABLE, "unknown")
        assert await echo(sidecar) != busy.id


@ERAS
async def test_closing_a_connection_can_wait_for_its_calls(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        held = sidecar.engine.Call(asked(tool("hold", gate="g")))
        await up.until(lambda s: s.executions)
        (busy,) = await connections(sidecar)
        request = pb.CloseConnectionRequest(connection_id=busy.id, wait=True)
        impatient = await failed(sidecar.connections.CloseConnection(request, timeout=0.05))
        assert impatient.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        closing: Any = sidecar.connections.CloseConnection(request)
        await servers(sidecar)  # answered after the other was heard
        assert not closing.done()
        up.release("g")
        assert (await closing).connection.state == pb.CONNECTION_STATE_CLOSED
        assert (await held).info.execution == engine_pb2.EXECUTION_DONE


@ERAS
async def test_refreshing_a_server_asks_it_anew_what_it_speaks_and_offers(era: Any):
    async with FakeServer(era=era, page=4) as up, Sidecar({"up": up.url}) as sidecar:
        first = await echo(sidecar)
        asked_before = up.count("server/discover")
        refreshed = await sidecar.connections.RefreshServer(pb.RefreshServerRequest(server="up"), timeout=5)
        assert refreshed.tools == len(up.catalogue.tools)
        assert refreshed.server.state == pb.SERVER_STATE_UP
        assert up.count("server/discover") == asked_before + 1
        assert await echo(sidecar) != first


@pytest.mark.covers("B-54")
@ERAS
async def test_a_watch_shows_the_connections_there_are_and_then_every_change(era: Any):
    async with FakeServer(era=era) as up, FakeServer() as other, asyncio.timeout(10):
        async with Sidecar({"up": up.url, "other": other.url}) as sidecar:
            first = await echo(sidecar)
            watch: Any = sidecar.connections.WatchConnections(pb.WatchConnectionsRequest(server="up"))
            there = await watch.read()
            assert (there.connection.id, there.initial) == (first, True)
            await echo(sidecar, "other")  # nobody asked about that one
            await sidecar.connections.CloseConnection(pb.CloseConnectionRequest(connection_id=first))
            gone = await watch.read()
            assert (gone.connection.id, gone.initial) == (first, False)
            assert gone.connection.state == pb.CONNECTION_STATE_CLOSED
            second = await echo(sidecar)
            states = [(await watch.read()).connection for _ in range(2)]
            assert [row.id for row in states] == [second, second]
            assert [row.state for row in states] == [pb.CONNECTION_STATE_CONNECTING, pb.CONNECTION_STATE_CONNECTED]
            watch.cancel()
            await eventually(lambda: [line["code"] for line in sidecar.calls(rpc=_WATCH)] == ["CANCELLED"])


_WATCH = "/mcp_sidecar.v1.ConnectionManager/WatchConnections"


async def test_a_watch_of_a_server_that_does_not_exist_is_refused():
    async with Sidecar({"up": "http://127.0.0.1:9/mcp"}) as sidecar, asyncio.timeout(5):
        watch: Any = sidecar.connections.WatchConnections(pb.WatchConnectionsRequest(server="x"))
        assert (await failed(watch.read())).code() is grpc.StatusCode.NOT_FOUND


async def test_a_watch_ends_well_when_the_sidecar_drains():
    async with Sidecar({"up": "http://127.0.0.1:9/mcp"}) as sidecar, asyncio.timeout(5):
        watch: Any = sidecar.connections.WatchConnections(pb.WatchConnectionsRequest())
        await watch.initial_metadata()
        sidecar.stop()
        assert await watch.read() is grpc.aio.EOF
        assert await watch.code() is grpc.StatusCode.OK


async def test_a_server_that_never_answers_does_not_hold_an_opening_longer_than_its_timeout():
    async with FakeServer(script={"server/discover": "never_answers"}) as up:
        slow = UpstreamSettings(name="up", url=up.url, timeout=TimeoutSettings(call=0.2))
        async with Sidecar({"up": slow}) as sidecar, asyncio.timeout(3):
            error = await failed(sidecar.connections.OpenConnection(pb.OpenConnectionRequest()))
            assert error.code().name in ("DEADLINE_EXCEEDED", "UNAVAILABLE")
