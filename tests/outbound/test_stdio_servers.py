"""Whole sidecars in front of real servers on stdio, in both eras, over every face."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mcp import Client

from mcp_sidecar.settings import UpstreamSettings
from mcp_sidecar.v1 import connections_pb2, engine_pb2
from tests.inbound.waiting import eventually
from tests.outbound.calling import SECONDS, call, connections, events, failure, message, tool
from tests.outbound.programs import BOTH_ERAS, alive, fake, gone, python
from tests.support.real_servers import everything_program, sdk1_python
from tests.support.sidecar import Sidecar

SDK2 = "tests.support.servers.sdk2_server"


def sdk2(**more: Any) -> UpstreamSettings:
    return python("-m", SDK2, "stdio", **more)


def sdk2_legacy() -> UpstreamSettings:
    return sdk2(protocol="2025-11-25")


def sdk1() -> UpstreamSettings:
    return python("-m", "tests.support.servers.sdk1_server", "stdio", program=str(sdk1_python()))


def everything() -> UpstreamSettings:
    node, program = everything_program()
    return python(str(program), "stdio", program=str(node))


SDKS = pytest.mark.parametrize(
    ("server", "era"),
    [
        pytest.param(sdk2, "modern", id="sdk2"),
        pytest.param(sdk2_legacy, "legacy", id="sdk2-legacy"),
        pytest.param(sdk1, "legacy", id="sdk1"),
    ],
)


@pytest.mark.covers("B-110", "B-111")
@SDKS
async def test_servers_of_the_official_sdk_are_spoken_to_on_stdio(server: Any, era: str):
    async with Sidecar({"up": server()}) as sidecar:
        texts = await asyncio.gather(*(tool(sidecar, "echo", {"text": str(number)}) for number in range(20)))
        assert texts == [str(number) for number in range(20)]
        (one,) = await connections(sidecar)
        assert (one.transport, one.era, one.endpoint.split(":")[0]) == ("stdio", era, "stdio")
        came = [event async for event in events(sidecar, "progress", {"steps": 3}, progressToken="p")]
        assert [event["params"]["progress"] for event in came[:-1]] == [1, 2, 3]
        assert {event["params"]["progressToken"] for event in came[:-1]} == {"p"}
        listed = (await sidecar.connections.ListServers(connections_pb2.ListServersRequest(), timeout=SECONDS)).servers
        assert (listed[0].transport, listed[0].title) == ("stdio", "sdk1" if server is sdk1 else "sdk2")


@pytest.mark.covers("B-20")
@SDKS
async def test_a_cancelled_call_is_cancelled_in_the_server(server: Any, era: str):
    async with Sidecar({"up": server()}) as sidecar:
        await tool(sidecar, "echo", {"text": "started"})
        body = message("tools/call", {"name": "slow", "arguments": {"seconds": 60, "text": "away"}}, progressToken=1)
        running: Any = sidecar.engine.CallStream(engine_pb2.CallRequest(message_json=body), timeout=SECONDS)
        await running.read()
        running.cancel()
        async with asyncio.timeout(SECONDS):
            while await tool(sidecar, "given_up") != "away":
                pass


async def test_server_everything_is_spoken_to_on_stdio():
    async with Sidecar({"up": everything()}) as sidecar:
        assert await tool(sidecar, "echo", {"message": "hi"}) == "Echo: hi"
        arguments = {"duration": 0.2, "steps": 2}
        came = [
            event async for event in events(sidecar, "trigger-long-running-operation", arguments, progressToken="p")
        ]
        assert [event.get("params", {}).get("progress") for event in came] == [1, 2, None]


@pytest.mark.covers("B-113")
@pytest.mark.parametrize("era", BOTH_ERAS)
async def test_official_clients_of_both_eras_reach_a_program_of_either(era: str):
    upstream = {"modern": sdk2, "legacy": sdk1}[era]()
    async with Sidecar({"up": upstream}) as sidecar:
        async with asyncio.timeout(20), Client(sidecar.url("up")) as client:
            answer: Any = await client.call_tool("echo", {"text": "hello"})
            assert answer.content[0].text == "hello"


@pytest.mark.covers("B-113", "B-51")
async def test_a_client_of_the_legacy_era_has_a_process_of_its_own_for_as_long_as_it_stays():
    async with Sidecar({"up": fake("legacy")}) as sidecar:
        pids = [json.loads(await tool(sidecar, "process"))["pid"] for _ in range(2)]
        for _ in range(2):
            async with asyncio.timeout(20), Client(sidecar.url("up"), mode="legacy") as client:
                answer: Any = await client.call_tool("process", {})
                pids.append(json.loads(answer.content[0].text)["pid"])
                assert alive(pids[-1])
            await gone(pids[-1])
        assert len(set(pids)) == 3
        assert alive(pids[0])


@pytest.mark.covers("B-114")
@pytest.mark.parametrize("era", BOTH_ERAS)
async def test_a_stream_tells_of_changes_and_ends_with_the_process(era: str):
    async with Sidecar({"up": fake(era)}) as sidecar:
        await tool(sidecar, "echo", {"text": "started"})
        stream: Any = sidecar.engine.Stream(engine_pb2.StreamRequest(), timeout=SECONDS)
        assert b"acknowledged" in (await stream.read()).notification_json
        await tool(sidecar, "change")
        assert b"tools/list_changed" in (await stream.read()).notification_json
        lost = await failure(tool(sidecar, "die"))
        assert (lost.code, lost.execution) == ("UNAVAILABLE", "unknown")
        assert (await failure(stream.read())).code == "UNAVAILABLE"


def states(sidecar: Sidecar) -> list[str]:
    return [line["state"] for line in sidecar.lines if line["event"] == "connection"]


@pytest.mark.covers("B-112", "B-53")
@pytest.mark.parametrize("era", BOTH_ERAS)
async def test_a_program_that_was_lost_is_started_again_by_the_monitor(era: str):
    async with Sidecar({"up": fake(era)}) as sidecar:
        await tool(sidecar, "echo", {"text": "started"})
        await failure(tool(sidecar, "die"))
        assert states(sidecar)[-1] == "disconnected"
        await eventually(lambda: states(sidecar)[-1] == "connected")
        assert await tool(sidecar, "echo", {"text": "again"}) == "again"
        assert [one.id for one in await connections(sidecar)] == ["c1"]


@pytest.mark.covers("B-118")
async def test_a_program_that_never_starts_fails_calls_at_once_and_is_not_started_for_each():
    async with Sidecar({"up": fake("modern", "dies")}) as sidecar:
        failures = [await failure(tool(sidecar, "echo", {"text": "hi"})) for _ in range(6)]
        assert {(one.code, one.execution) for one in failures} == {("UNAVAILABLE", "none")}
        assert len([line for line in sidecar.lines if line["event"] == "stderr"]) < 12


async def test_calls_to_a_program_that_does_not_exist_say_so():
    nowhere = UpstreamSettings(name="up", command=("no-such-program",), env={"PATH": "/nowhere"})
    async with Sidecar({"up": nowhere}) as sidecar:
        refused = await failure(call(sidecar, "tools/list"))
        assert (refused.code, refused.execution) == ("UNAVAILABLE", "none")
        assert "cannot be started" in refused.message
