"""When a sidecar calls itself started: after the first discovery, and when required servers have listed their tools."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.settings import StartSettings
from tests.inbound.waiting import eventually
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.scripted_source import ScriptedSource, found
from tests.support.sidecar import Sidecar


async def statuses(sidecar: Sidecar) -> dict[str, int]:
    pages = ("/startupz", "/readyz", "/livez")
    return {
        path: (await raw_http.request("GET", f"http://{sidecar.address('metrics')}{path}")).status for path in pages
    }


async def started(sidecar: Sidecar) -> bool:
    return (await statuses(sidecar))["/startupz"] == 200


async def until_started(sidecar: Sidecar) -> None:
    async with asyncio.timeout(10):
        while not await started(sidecar):
            pass


@pytest.mark.covers("B-232")
async def test_startup_waits_for_the_first_discovery_and_calls_do_not():
    source = ScriptedSource()
    async with FakeServer() as up, Sidecar({"up": up.url}, source=source) as sidecar:
        assert await statuses(sidecar) == {"/startupz": 503, "/readyz": 503, "/livez": 200}
        reply = await raw_http.request("GET", f"http://{sidecar.address('metrics')}/startupz")
        assert b"discovery" in reply.body
        assert (await Modern(sidecar.url("up")).call("echo", {"text": "x"})).status == 200
        source.say()
        await until_started(sidecar)
        assert await statuses(sidecar) == {"/startupz": 200, "/readyz": 200, "/livez": 200}


@pytest.mark.covers("B-233")
async def test_startup_waits_for_required_servers_to_list_their_tools():
    source = ScriptedSource()
    require = StartSettings(require=("a", "b"), warm=False)
    async with (
        FakeServer() as a,
        FakeServer("legacy") as b,
        Sidecar({"a": a.url}, source=source, start=require) as sidecar,
    ):
        source.say()
        await a.until(lambda s: s.count("tools/list"))
        assert not await started(sidecar)
        source.say(found("b"))
        await eventually(lambda: any(line["event"] == "discovery" for line in sidecar.lines))
        assert not await started(sidecar)
        source.say(found("b", b))
        await until_started(sidecar)
        assert b.count("tools/list") == 1
        await a.stop()
        await b.stop()
        assert await statuses(sidecar) == {"/startupz": 200, "/readyz": 200, "/livez": 200}


@pytest.mark.covers("B-233")
async def test_a_required_server_that_takes_too_long_is_named_in_the_log_and_still_waited_for():
    async with FakeServer() as up:
        await up.stop()
        require = StartSettings(require=("up",), timeout=0.5, warm=False)
        async with Sidecar({"up": up.url}, start=require) as sidecar:
            await eventually(lambda: [line for line in sidecar.lines if line["event"] == "start"])
            (line,) = (line for line in sidecar.lines if line["event"] == "start")
            assert line["level"] == "error"
            assert line["missing"] == {"up": "the MCP server 'up' cannot be reached"}
            assert not await started(sidecar)
            await up.start()
            await until_started(sidecar)


@pytest.mark.covers("B-233", "B-62")
async def test_a_sidecar_that_still_waits_leaves_at_once_when_told_to():
    async with Sidecar({}, source=ScriptedSource(), start=StartSettings(require=("nobody",))) as sidecar:
        assert not await started(sidecar)
        sidecar.stop()
        await sidecar.stopped(5)
