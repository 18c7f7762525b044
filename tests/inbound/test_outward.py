"""What the parts below the faces tell of themselves is on the metrics page of a real sidecar."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mcp_sidecar.settings import AuthSettings, PoolSettings, UpstreamAuthSettings, UpstreamSettings
from mcp_sidecar.v1 import connections_pb2, engine_pb2
from tests.outbound.calling import SECONDS, connections, failure, tool
from tests.outbound.sidecars import two_sidecars
from tests.support.fake_server import FakeServer
from tests.support.page import measured
from tests.support.scripted_source import ScriptedSource, found
from tests.support.sidecar import Sidecar

RPC = "mcp_sidecar.v1.MCPEngine/CallStream"


async def until(sidecar: Sidecar, name: str, labels: tuple[str, ...], value: float) -> None:
    """Wait until the page says so."""
    async with asyncio.timeout(SECONDS):
        while (await measured(sidecar, name)).get(labels) != value:
            pass


@pytest.mark.covers("B-370")
async def test_a_session_of_ours_is_counted_once_when_its_server_forgot_it_and_once_when_it_is_closed():
    name = "mcp_client_session_duration_seconds_count"
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        assert await measured(sidecar, name) == {}, "it goes on"
        up.forget_sessions()
        await tool(sidecar, "echo", {"text": "hi"})
        await until(sidecar, name, (), 1)
        (one,) = await connections(sidecar)
        await sidecar.connections.CloseConnection(connections_pb2.CloseConnectionRequest(connection_id=one.id))
        await until(sidecar, name, (), 2)


@pytest.mark.covers("B-371")
async def test_every_rpc_to_another_sidecar_is_timed_with_its_status():
    name = "rpc_client_call_duration_seconds_count"
    async with two_sidecars("modern") as (up, there, here):
        for _ in range(3):
            await tool(here, "echo", {"text": "hi"})
        running = asyncio.ensure_future(tool(here, "hold", {"gate": "g"}))
        await up.until(lambda s: s.executions[-1:] and s.requests[-1].tool == "hold")
        running.cancel()
        await until(here, name, (RPC, "CANCELLED"), 1)
        there.stop()
        await there.stopped()
        assert (await failure(tool(here, "echo", {"text": "hi"}))).code == "UNAVAILABLE"
        counted = await measured(here, name)
    assert counted[RPC, "OK"] == 3
    assert counted[RPC, "UNAVAILABLE"] >= 1


@pytest.mark.covers("B-372")
async def test_calls_that_wait_for_a_connection_are_counted_while_they_wait_and_timed_afterwards():
    async with FakeServer() as one, FakeServer() as two:
        async with Sidecar({"a": one.url, "b": two.url}, pool=PoolSettings(max_connections=1)) as sidecar:
            holding = asyncio.ensure_future(tool(sidecar, "hold", {"gate": "g"}, server="a"))
            await one.until(lambda s: s.executions)
            before = (await measured(sidecar, "mcp_sidecar_queue_wait_seconds_count")).get((), 0.0)
            waiting = asyncio.ensure_future(tool(sidecar, "echo", {"text": "hi"}, server="b"))
            await until(sidecar, "mcp_sidecar_queue_depth", (), 1)
            one.release("g")
            await holding
            assert await waiting == "hi"
            await until(sidecar, "mcp_sidecar_queue_depth", (), 0)
            assert (await measured(sidecar, "mcp_sidecar_queue_wait_seconds_count"))[()] == before + 1


@pytest.mark.covers("B-373")
async def test_endpoints_are_counted_by_state_and_each_turn_of_one():
    source = ScriptedSource()
    async with FakeServer() as one, FakeServer() as two, Sidecar({}, source=source) as sidecar:
        source.say(found("up", one, leaving=[two]))
        await until(sidecar, "mcp_sidecar_endpoints", ("ready",), 1)
        assert (await measured(sidecar, "mcp_sidecar_endpoints"))["leaving",] == 1
        await tool(sidecar, "echo", {"text": "hi"}, server="up")
        await one.stop()
        await failure(tool(sidecar, "echo", {"text": "hi"}, server="up"))
        turns = "mcp_sidecar_breaker_transitions_total"
        assert await measured(sidecar, turns) == {("up", "avoided"): 1}
        assert (await measured(sidecar, "mcp_sidecar_endpoints"))["avoided",] == 1
        await one.start()
        await tool(sidecar, "echo", {"text": "hi"}, server="up")
        assert await measured(sidecar, turns) == {("up", "avoided"): 1, ("up", "ready"): 1}


@pytest.mark.covers("B-374")
async def test_the_age_of_what_a_source_knows_is_on_the_page():
    source = ScriptedSource()
    source.pulse.expect("all")
    async with Sidecar({}, source=source) as sidecar:
        assert 0 < (await measured(sidecar, "mcp_sidecar_discovery_age_seconds"))[()] < 60
        source.pulse.restarted("SILENCE")
        assert await measured(sidecar, "mcp_sidecar_watch_restarts_total") == {("SILENCE",): 1}


@pytest.mark.covers("B-375")
async def test_a_change_that_a_server_announces_is_counted_once_for_all_who_hear_of_it():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        asked = engine_pb2.StreamRequest(server="up", tools_list_changed=True)
        streams: list[Any] = [sidecar.engine.Stream(asked, timeout=SECONDS) for _ in range(2)]
        for stream in streams:
            await stream.read()
        await up.until(lambda s: s.streams)
        up.push("notifications/tools/list_changed")
        for stream in streams:
            assert b"tools/list_changed" in (await stream.read()).notification_json
        assert await measured(sidecar, "mcp_sidecar_catalogue_changes_total") == {("announced", "up"): 1}
        for stream in streams:
            stream.cancel()


@pytest.mark.covers("B-376")
async def test_files_that_are_read_anew_are_counted_and_so_is_trouble_with_them(tmp_path: Path):
    mine = tmp_path / "mine"
    mine.write_text("secret")
    generation, failures = "mcp_sidecar_config_generation", "mcp_sidecar_config_reload_failures_total"
    async with FakeServer() as up:
        shown = UpstreamSettings(name="up", url=up.url, auth=UpstreamAuthSettings(bearer_file=str(mine)))
        async with Sidecar({"up": shown}) as sidecar:
            for number, contents in enumerate(("secret", "newer"), 1):
                mine.write_text(contents)
                while (await measured(sidecar, generation))["credentials",] != number:
                    await tool(sidecar, "echo", {"text": "hi"})
            assert set((await measured(sidecar, failures)).values()) == {0}
            mine.unlink()
            while (await measured(sidecar, failures))["credentials",] != 1:
                await tool(sidecar, "echo", {"text": "hi"})
            assert (await measured(sidecar, generation))["credentials",] == 2


@pytest.mark.covers("B-376")
async def test_who_may_call_is_among_the_generations(tmp_path: Path):
    tokens = tmp_path / "tokens"
    tokens.write_text("good\n")
    guarded = AuthSettings(mode="token", token_file=str(tokens))
    async with FakeServer() as up, Sidecar({"up": up.url}, auth=guarded) as sidecar:
        assert (await measured(sidecar, "mcp_sidecar_config_generation"))["auth",] == 1
