"""What users see and steer of connections through a whole sidecar (docs/behaviour.md, "Connections")."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from mcp_sidecar import watched
from mcp_sidecar.outbound import dialer, monitor, pool
from mcp_sidecar.outbound.backoff import Backoff
from mcp_sidecar.settings import MonitorSettings, PoolSettings, UpstreamAuthSettings, UpstreamSettings
from mcp_sidecar.v1 import connections_pb2 as pb
from mcp_sidecar.v1 import engine_pb2
from tests.inbound.waiting import eventually
from tests.outbound.calling import SECONDS, call, connections, failure, tool
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

CONNECTING, CONNECTED, DISCONNECTED, CLOSED = (
    pb.CONNECTION_STATE_CONNECTING,
    pb.CONNECTION_STATE_CONNECTED,
    pb.CONNECTION_STATE_DISCONNECTED,
    pb.CONNECTION_STATE_CLOSED,
)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sidecar does every second it does every few milliseconds."""
    monkeypatch.setattr(pool, "_TICK_SECONDS", 0.005)
    monkeypatch.setattr(monitor, "_SMALLEST_STEP", 0.005)
    monkeypatch.setattr(watched, "_LOOK_EVERY", 0.0)


class Watch:
    """`WatchConnections` from its beginning."""

    def __init__(self, sidecar: Sidecar, server: str = "") -> None:
        self.stream: Any = sidecar.connections.WatchConnections(
            pb.WatchConnectionsRequest(server=server), timeout=SECONDS
        )

    async def next(self) -> tuple[str, str, int, bool]:
        """Id, server, state and whether it stood when the watch began."""
        seen = await self.stream.read()
        return seen.connection.id, seen.connection.server, seen.connection.state, seen.initial

    async def until(self, state: int) -> pb.Connection:
        while True:
            seen = await self.stream.read()
            if seen.connection.state == state:
                shown: pb.Connection = seen.connection
                return shown

    async def began(self) -> Watch:
        """The server sends its headers before it looks."""
        await self.stream.initial_metadata()
        return self


@pytest.mark.covers("B-50")
async def test_a_full_pool_closes_the_least_recently_used_and_its_session():
    settings = PoolSettings(max_connections=2)
    async with FakeServer("legacy") as a, FakeServer("legacy") as b, FakeServer("legacy") as c:
        async with Sidecar({"a": a.url, "b": b.url, "c": c.url}, pool=settings) as sidecar:
            for name in ("a", "b", "a", "c"):
                await tool(sidecar, "echo", {"text": "hi"}, server=name)
            await b.until(lambda s: s.sessions == {})
            assert {one.server for one in await connections(sidecar)} == {"a", "c"}
            assert len(a.sessions) == len(c.sessions) == 1
            await tool(sidecar, "echo", {"text": "hi"}, server="b")
            await a.until(lambda s: s.sessions == {})


@pytest.mark.covers("B-50")
async def test_a_busy_connection_stays_and_the_call_without_one_is_told_in_time():
    async with FakeServer("legacy") as a, FakeServer("legacy") as b:
        async with Sidecar({"a": a.url, "b": b.url}, pool=PoolSettings(max_connections=1)) as sidecar:
            held = asyncio.ensure_future(tool(sidecar, "hold", {"gate": "g", "text": "held"}, server="a"))
            await a.until(lambda s: s.executions)
            refused = await failure(tool(sidecar, "echo", {"text": "hi"}, server="b", timeout=0.3))
            assert (refused.code, refused.execution) == ("RESOURCE_EXHAUSTED", "none")
            assert "pool.max_connections" in refused.message
            assert b.count("initialize") == 0
            waiting = asyncio.ensure_future(tool(sidecar, "echo", {"text": "at last"}, server="b"))
            a.release("g")
            assert await held == "held"
            assert await waiting == "at last"


@pytest.mark.covers("B-50")
async def test_clients_that_gave_up_waiting_hold_no_connection():
    async with FakeServer() as a, FakeServer() as b:
        async with Sidecar({"a": a.url, "b": b.url}, pool=PoolSettings(max_connections=1)) as sidecar:
            held = asyncio.ensure_future(tool(sidecar, "hold", {"gate": "g"}, server="a"))
            await a.until(lambda s: s.executions)
            waiting = [asyncio.ensure_future(tool(sidecar, "echo", {"text": "no"}, server="b")) for _ in range(20)]
            await b.until(lambda s: s.count("server/discover"))
            await until_in_flight(sidecar, 21)
            for one in waiting:
                one.cancel()
            await eventually(lambda: len(sidecar.calls(server="b", code="CANCELLED")) == 20)
            a.release("g")
            await held
            assert await tool(sidecar, "echo", {"text": "yes"}, server="b") == "yes"
            assert [one.in_flight for one in await connections(sidecar)] == [0]
            assert b.executions[0].arguments == {"text": "yes"}


async def until_in_flight(sidecar: Sidecar, calls: int) -> None:
    """Wait until the sidecar has so many calls: one that is cancelled before it has come leaves no trace there."""
    async with asyncio.timeout(SECONDS):
        while await in_flight(sidecar) < calls:
            pass


async def in_flight(sidecar: Sidecar) -> float:
    reply = await raw_http.request("GET", f"http://{sidecar.address('metrics')}/metrics")
    found = re.search(rb"^mcp_sidecar_inflight (\S+)$", reply.body, re.MULTILINE)
    assert found
    return float(found[1])


@pytest.mark.covers("B-51")
async def test_connections_are_kept_apart(tmp_path: Path, hurried: None):
    (file := tmp_path / "token").write_text("one")
    async with FakeServer("legacy", authorization=True) as up:
        settings = [
            UpstreamSettings(name=name, url=up.url, auth=UpstreamAuthSettings(bearer_file=str(file)))
            for name in ("a", "b")
        ]
        async with Sidecar({one.name: one for one in settings}) as sidecar:
            capability: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"experimental": {"x": {}}}}
            meta: dict[str, Any]
            for server, meta in (("a", {}), ("b", {}), ("a", capability), ("a", {}), ("a", capability)):
                params = {"name": "echo", "arguments": {"text": "hi"}}
                await call(sidecar, "tools/call", params, server=server, **meta)
            assert len(up.sessions) == 3
            file.write_text("number two")
            await tool(sidecar, "echo", {"text": "hi"}, server="a")
            assert up.requests[-1].headers["authorization"] == "Bearer number two"
            used = [received.headers["mcp-session-id"] for received in up.requests if received.tool]
            assert used[0] == used[3] == used[5] and used[2] == used[4] and len(set(used)) == 3
            declared = [session.capabilities for session in up.sessions.values()]
            assert declared == [{}, {}, {"experimental": {"x": {}}}]


async def test_capabilities_that_the_sidecar_cannot_keep_make_no_session_of_their_own():
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        declared: dict[str, Any]
        for declared in ({}, {"extensions": {}}, {"com.example/own": {}}):
            meta: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": declared}
            await call(sidecar, "tools/call", {"name": "echo", "arguments": {"text": "hi"}}, **meta)
        assert [session.capabilities for session in up.sessions.values()] == [{}]


@pytest.mark.covers("B-51")
async def test_modern_requests_of_different_capabilities_share_a_connection():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        declared: dict[str, Any]
        for declared in ({}, {"experimental": {"x": {}}}):
            meta: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": declared}
            await call(sidecar, "tools/call", {"name": "echo", "arguments": {"text": "hi"}}, **meta)
        assert len(await connections(sidecar)) == 1
        sent = [
            received.meta["io.modelcontextprotocol/clientCapabilities"] for received in up.requests if received.tool
        ]
        assert sent == [{}, {"experimental": {"x": {}}}]


@pytest.mark.covers("B-52")
async def test_idle_sockets_are_closed_and_the_session_lives_on(hurried: None):
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}, pool=PoolSettings(idle=0.01)) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        await up.until(lambda s: s.open_connections == 0)
        assert len(up.sessions) == 1
        assert await tool(sidecar, "echo", {"text": "again"}) == "again"
        assert up.count("initialize") == 1


@pytest.mark.covers("B-52")
async def test_idle_sessions_are_deleted_and_busy_ones_are_not(hurried: None):
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}, pool=PoolSettings(session_idle=0.01)) as sidecar:
        held = asyncio.ensure_future(tool(sidecar, "hold", {"gate": "g"}))
        await up.until(lambda s: s.executions)
        await asyncio.sleep(0.05)
        assert len(up.sessions) == 1
        up.release("g")
        await held
        await up.until(lambda s: s.sessions == {})
        assert up.requests[-1].method == "DELETE"
        assert await connections(sidecar) == []


@pytest.mark.covers("B-53")
async def test_a_broken_connection_is_shown_and_comes_back_by_itself(hurried: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(monitor, "Backoff", lambda: Backoff(first=0.01, longest=0.02))
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}, monitor=MonitorSettings(interval=0.02)) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        watch = await Watch(sidecar).began()
        await up.stop()
        broken = await watch.until(DISCONNECTED)
        assert broken.last_error and "127.0.0.1" not in broken.last_error
        await up.start()
        whole = await watch.until(CONNECTED)
        assert (whole.id, whole.last_error) == (broken.id, "")
        assert up.count("initialize") == 2
        assert await tool(sidecar, "echo", {"text": "again"}) == "again"
        assert up.count("initialize") == 2
        assert up.violations == []
        watch.stream.cancel()


@pytest.mark.covers("B-53")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_nobody_looks_at_a_server_that_nobody_called(era: Any, hurried: None):
    async with FakeServer(era) as up, Sidecar({"up": up.url}, monitor=MonitorSettings(interval=0.01)) as sidecar:
        await asyncio.sleep(0.05)
        assert up.connections == 0
        listed = await sidecar.connections.ListServers(pb.ListServersRequest(), timeout=SECONDS)
        assert listed.servers[0].state == pb.SERVER_STATE_UNKNOWN


@pytest.mark.covers("B-53")
async def test_a_modern_server_that_is_down_stays_disconnected_until_it_is_back(
    hurried: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(monitor, "Backoff", lambda: Backoff(first=0.01, longest=0.02))
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        watch = await Watch(sidecar).began()
        await up.stop()
        assert (await failure(tool(sidecar, "echo", {"text": "hi"}))).code == "UNAVAILABLE"
        await watch.until(DISCONNECTED)
        await asyncio.sleep(0.05)  # the monitor looks several times
        (shown,) = await connections(sidecar)
        assert shown.state == DISCONNECTED
        discovered = up.count("server/discover")
        await up.start()
        await watch.until(CONNECTED)
        assert up.count("server/discover") == discovered + 1
        watch.stream.cancel()


async def test_a_server_that_only_hangs_is_not_called_up():
    async with FakeServer(script={"tools/call": "never_answers"}) as up, Sidecar({"up": up.url}) as sidecar:
        await tool_fails(sidecar)
        await up.stop()
        assert (await failure(tool(sidecar, "echo", {"text": "hi"}))).code == "UNAVAILABLE"
        await up.start()
        await tool_fails(sidecar)
        listed = await sidecar.connections.ListServers(pb.ListServersRequest(), timeout=SECONDS)
        assert listed.servers[0].state == pb.SERVER_STATE_DOWN


async def tool_fails(sidecar: Sidecar) -> None:
    assert (await failure(tool(sidecar, "echo", {"text": "hi"}, timeout=0.1))).code == "DEADLINE_EXCEEDED"


async def test_what_the_sidecar_answers_itself_says_nothing_of_the_server(hurried: None):
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        await up.stop()
        assert (await failure(tool(sidecar, "echo", {"text": "hi"}))).code == "UNAVAILABLE"
        assert "result" in await call(sidecar, "server/discover")
        listed = await sidecar.connections.ListServers(pb.ListServersRequest(), timeout=SECONDS)
        assert listed.servers[0].state == pb.SERVER_STATE_DOWN
        assert [one.state for one in await connections(sidecar)] == [DISCONNECTED]


@pytest.mark.covers("B-54")
async def test_a_watcher_sees_what_there_is_and_then_every_change():
    async with FakeServer("legacy") as a, FakeServer() as b, Sidecar({"a": a.url, "b": b.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"}, server="a")
        watch, only_b = await Watch(sidecar).began(), await Watch(sidecar, "b").began()
        assert await watch.next() == ("c1", "a", CONNECTED, True)
        await tool(sidecar, "echo", {"text": "hi"}, server="b")
        for one in (watch, only_b):
            assert await one.next() == ("c2", "b", CONNECTING, False)
            assert await one.next() == ("c2", "b", CONNECTED, False)
        await sidecar.connections.CloseConnection(pb.CloseConnectionRequest(connection_id="c1"), timeout=SECONDS)
        assert await watch.next() == ("c1", "a", CLOSED, False)
        await sidecar.connections.CloseConnection(pb.CloseConnectionRequest(connection_id="c2"), timeout=SECONDS)
        assert await only_b.next() == ("c2", "b", CLOSED, False)
        for one in (watch, only_b):
            one.stream.cancel()


@pytest.mark.covers("B-54")
async def test_a_watch_ends_when_the_sidecar_drains():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        watch = await Watch(sidecar).began()
        sidecar.stop()
        assert await watch.stream.read() is grpc.aio.EOF
        await sidecar.stopped()


@pytest.mark.parametrize("wait", [True, False])
async def test_a_user_closes_a_connection_now_or_after_its_calls(wait: bool):
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        held = asyncio.ensure_future(asyncio.gather(tool(sidecar, "hold", {"gate": "g"}), return_exceptions=True))
        await up.until(lambda s: s.executions)
        closing = asyncio.ensure_future(
            sidecar.connections.CloseConnection(
                pb.CloseConnectionRequest(connection_id="c1", wait=wait), timeout=SECONDS
            )
        )
        if wait:
            assert await tool_after(sidecar, up) == ""
        closed = (await closing).connection
        assert closed.state == CLOSED
        (outcome,) = await held
        assert (outcome == "") is wait
        if not wait:
            assert isinstance(outcome, grpc.aio.AioRpcError) and outcome.code() is grpc.StatusCode.UNAVAILABLE
        assert await tool(sidecar, "echo", {"text": "new"}) == "new"
        await up.until(lambda s: len(s.sessions) == 1)
        assert up.count("initialize") == 2


async def tool_after(sidecar: Sidecar, up: FakeServer) -> str:
    """A call that comes while the connection is only waiting to be closed: it gets the next one, at once."""
    waiting = asyncio.ensure_future(tool(sidecar, "hold", {"gate": "g"}))
    await up.until(lambda s: len(s.executions) == 2)
    assert len(up.sessions) == 2
    up.release("g")
    return await waiting


async def test_a_listener_on_a_connection_that_is_closed_is_told():
    async with FakeServer("legacy", get_stream=False) as up, Sidecar({"up": up.url}) as sidecar:
        stream: Any = sidecar.engine.Stream(engine_pb2.StreamRequest(), timeout=SECONDS)
        assert b"acknowledged" in (await stream.read()).notification_json
        await up.until(lambda s: s.count("") == 1)
        await sidecar.connections.CloseConnection(pb.CloseConnectionRequest(connection_id="c1"), timeout=SECONDS)
        assert (await failure(stream.read())).code == "UNAVAILABLE"


async def test_a_listener_is_told_when_its_subscriptions_are_lost_with_the_session():
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        asked = engine_pb2.StreamRequest(resource_subscriptions=["fake://greeting"])
        stream: Any = sidecar.engine.Stream(asked, timeout=SECONDS)
        assert b"acknowledged" in (await stream.read()).notification_json
        await up.until(lambda s: s.streams == 1)
        up.push("notifications/resources/updated", {"uri": "fake://greeting"})
        assert b"greeting" in (await stream.read()).notification_json
        up.forget_sessions()
        await tool(sidecar, "echo", {"text": "hi"})
        assert (await failure(stream.read())).code == "UNAVAILABLE"


async def test_a_subscription_that_fails_takes_nobody_elses_with_it():
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        mine: Any = sidecar.engine.Stream(
            engine_pb2.StreamRequest(resource_subscriptions=["fake://greeting"]), timeout=SECONDS
        )
        await mine.read()
        await up.until(lambda s: s.streams == 1)
        up.next_reply("status_500", on="resources/subscribe")
        both = engine_pb2.StreamRequest(resource_subscriptions=["fake://pixel", "fake://greeting"])
        other: Any = sidecar.engine.Stream(both, timeout=SECONDS)
        assert (await failure(other.read())).code == "INTERNAL"
        await tool(sidecar, "echo", {"text": "hi"})  # what the other one took back has arrived
        await eventually(lambda: up.count("resources/unsubscribe") == 1)
        assert up.push("notifications/resources/updated", {"uri": "fake://greeting"}) == 1
        assert b"greeting" in (await mine.read()).notification_json
        mine.cancel()


async def test_an_open_connection_shows_who_answered():
    assert dialer.Health().up is None
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        opened = await sidecar.connections.OpenConnection(pb.OpenConnectionRequest(), timeout=SECONDS)
        assert (opened.connection.era, opened.connection.protocol_version) == ("legacy", "2025-11-25")
        (server,) = (await sidecar.connections.ListServers(pb.ListServersRequest(), timeout=SECONDS)).servers
        assert (server.title, server.version, server.state) == ("fake", "1.0.0", pb.SERVER_STATE_UP)
        assert server.endpoints[0].protocol_version == "2025-11-25"
        assert server.endpoints[0].probed.seconds > 0
