"""What the page is told of the sidecar, its servers and their tools."""

from __future__ import annotations

import asyncio
import json

import pytest

from mcp_sidecar import __version__
from mcp_sidecar.settings import AdminSettings, ToolSettings, UpstreamSettings
from tests.admin.visiting import get, page, state_of, watching
from tests.inbound.http.posts import message, post
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar


@pytest.mark.covers("B-324")
async def test_the_state_has_servers_endpoints_connections_and_times():
    async with FakeServer() as up, Sidecar({"up": up.url, "down": "http://127.0.0.1:9/mcp"}) as sidecar:
        before = await state_of(sidecar)
        assert [server["state"] for server in before["servers"]] == ["unknown", "unknown"]
        for server in ("up", "up", "down"):
            await post(sidecar.url(server), message())
        state = await state_of(sidecar)
        while state["calls"] < 3:
            state = await state_of(sidecar)
        assert (state["version"], state["phase"], state["in_flight"]) == (__version__, "serving", 0)
        assert (state["actions"], state["payloads"]) == (False, False)
        good, bad = state["servers"]
        assert (good["name"], good["state"], good["protocol_version"]) == ("up", "up", "2026-07-28")
        (endpoint,) = good["endpoints"]
        assert endpoint.pop("latency") == good["latency"]
        assert endpoint == {
            "address": f"127.0.0.1:{up.port}",
            "state": "connected",
            "connections": 1,
            "in_flight": 0,
        }
        assert (good["latency"]["calls"], good["latency"]["failed"]) == (2, 0)
        assert sum(good["latency"]["slots"]["calls"]) == 2
        assert (bad["state"], bad["latency"]["failed"]) == ("down", 1)
        assert "down" in bad["last_error"]
        assert [row["server"] for row in state["connections"]] == ["up"]


@pytest.mark.covers("B-325")
async def test_tools_come_as_the_servers_describe_them_and_a_server_that_fails_hides_no_other():
    async with FakeServer() as up, FakeServer(era="legacy") as old:
        picky = UpstreamSettings(name="picky", url=old.url, tools=ToolSettings(deny=("echo",)))
        async with Sidecar({"up": up.url, "picky": picky, "down": "http://127.0.0.1:9/mcp"}) as sidecar:
            reply = await get(sidecar, "/api/tools")
            first, second, third = reply.messages[0]["servers"]
            assert first["tools"][0]["inputSchema"]["type"] == "object"
            names = [{tool["name"] for tool in one["tools"]} for one in (first, second)]
            assert "echo" in names[0]
            assert "add" in names[1]
            assert "echo" not in names[1]
            assert (third["server"], third["tools"]) == ("down", [])
            assert third["error"]


@pytest.mark.covers("B-327")
async def test_payloads_are_kept_only_when_the_operator_wants_them():
    async with FakeServer() as up:
        for wanted in (False, True):
            async with Sidecar({"up": up.url}, admin=AdminSettings(payloads=wanted)) as sidecar:
                secret = f"canary-{wanted}"
                await post(sidecar.url("up"), message(params={"name": "echo", "arguments": {"text": secret}}))
                calls = await _calls(sidecar)
                assert ("payloads" in calls[0]) is wanted
                assert (secret in json.dumps(calls)) is wanted
                assert secret not in json.dumps(sidecar.lines)
                if wanted:
                    assert secret in calls[0]["payloads"]["request"]
                    assert secret in calls[0]["payloads"]["answer"]


@pytest.mark.covers("B-327")
async def test_of_large_payloads_the_beginning_is_kept():
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=AdminSettings(payloads=True)) as sidecar:
        await post(sidecar.url("up"), message(params={"name": "big", "arguments": {"bytes": 100_000}}))
        assert len((await _calls(sidecar))[0]["payloads"]["answer"]) == 4096


async def _calls(sidecar: Sidecar) -> list[dict]:
    async with watching(sidecar) as events:
        async for event in events:
            if event.event == "calls":
                calls: list[dict] = event.message["calls"]
                return calls
    raise AssertionError("no calls")


@pytest.mark.covers("B-436")
async def test_servers_that_hang_are_pending_after_a_moment_and_in_nobodys_way():
    async with FakeServer() as up, FakeServer(script={"*": "never_answers"}) as hung:
        hanging = {f"hung{number}": hung.url for number in range(17)}
        async with Sidecar({**hanging, "up": up.url}) as sidecar, asyncio.timeout(9.0):  # less than any is waited for
            servers = (await get(sidecar, "/api/tools")).messages[0]["servers"]
            assert [one["server"] for one in servers] == [*hanging, "up"]
            assert [one["pending"] for one in servers] == [True] * 17 + [False]
            assert servers[-1]["tools"]
            (one,) = (await get(sidecar, "/api/tools?server=up&server=nobody")).messages[0]["servers"]
            assert one["server"] == "up"
            events = {"Accept": "text/event-stream"}
            async with raw_http.opened("GET", page(sidecar, "/api/tools"), headers=events) as stream:
                first = await anext(stream.events())
                assert (first.event, first.message["server"]) == ("tools", "up")


@pytest.mark.covers("B-325", "B-436")
async def test_many_servers_that_answer_are_all_there_at_once():
    async with FakeServer() as up:
        names = [f"up{number}" for number in range(60)]
        async with Sidecar(dict.fromkeys(names, up.url)) as sidecar, asyncio.timeout(30):
            pending = names
            while pending:  # on a busy machine more than a moment goes by
                servers = (await get(sidecar, "/api/tools")).messages[0]["servers"]
                assert [one["server"] for one in servers] == names
                pending = [one["server"] for one in servers if one["pending"]]
