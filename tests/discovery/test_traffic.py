"""Servers that are found while calls run, in a whole sidecar: where calls go, and what clients hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_sidecar.client import SidecarClient
from mcp_sidecar.discovery.source import Address, Found
from mcp_sidecar.errors import Execution, NotFound, SidecarError, Unavailable
from mcp_sidecar.settings import DrainSettings
from mcp_sidecar.v1 import connections_pb2 as cpb
from mcp_sidecar.v1 import engine_pb2 as pb
from tests.inbound.waiting import eventually
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Legacy, Modern
from tests.support.scripted_source import ScriptedSource, found
from tests.support.sidecar import Sidecar

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
CALLERS = 32
LISTS = [f"notifications/{name}/list_changed" for name in ("prompts", "resources", "tools")]
EVERY_LIST = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


@asynccontextmanager
async def discovering(source: ScriptedSource, **settings: Any) -> AsyncIterator[tuple[Sidecar, SidecarClient]]:
    """A sidecar that knows what the source says, and a client of it."""
    async with Sidecar({}, source=source, **settings) as sidecar, SidecarClient(sidecar.address("grpc")) as client:
        yield sidecar, client


async def servers_of(sidecar: Sidecar) -> dict[str, cpb.Server]:
    return {server.name: server for server in (await sidecar.connections.ListServers(cpb.ListServersRequest())).servers}


def known(sidecar: Sidecar, state: str, name: str) -> bool:
    """The log says so."""
    return any(
        line["event"] == "discovery" and line["state"] == state and line["server"] == name for line in sidecar.lines
    )


@pytest.mark.covers("B-220")
@ERAS
async def test_a_server_that_is_found_is_called_and_one_that_is_gone_is_not_known(era: Any):
    source = ScriptedSource()
    async with FakeServer(era) as up, discovering(source) as (sidecar, client):
        with pytest.raises(NotFound):
            await client.call_tool("weather", "echo", {"text": "x"})
        source.say(found("weather", up))
        await eventually(lambda: known(sidecar, "found", "weather"))
        assert (await client.call_tool("weather", "echo", {"text": "x"})).text == "x"
        shown = (await servers_of(sidecar))["weather"]
        assert (shown.origin, shown.state) == ("Service tools/weather", cpb.SERVER_STATE_UP)
        assert [end.address for end in shown.endpoints] == [f"127.0.0.1:{up.port}"]
        source.say()
        await eventually(lambda: known(sidecar, "gone", "weather"))
        with pytest.raises(NotFound):
            await client.call_tool("weather", "echo", {"text": "x"})
        assert not await servers_of(sidecar)


@pytest.mark.covers("B-221")
async def test_the_configuration_wins_on_a_name_and_the_log_says_so_once():
    source = ScriptedSource()
    async with FakeServer() as ours, FakeServer() as theirs, Sidecar({"up": ours.url}, source=source) as sidecar:
        for _ in range(3):
            source.say(found("up", theirs), found("other", theirs))
            source.say(found("up", theirs))
        await eventually(lambda: known(sidecar, "ignored", "up"))
        async with SidecarClient(sidecar.address("grpc")) as client:
            await client.call_tool("up", "echo", {"text": "x"})
        assert ours.executions and not theirs.executions
    assert [line["level"] for line in sidecar.lines if line.get("state") == "ignored"] == ["warning"]


@pytest.mark.covers("B-222")
@ERAS
async def test_a_rolling_change_under_load_loses_nothing(era: Any):
    async with FakeServer(era) as a, FakeServer(era) as b, FakeServer(era) as c, FakeServer(era) as d:
        source = ScriptedSource(found("up", a, b))
        async with discovering(source) as (sidecar, client), asyncio.timeout(60):
            await eventually(lambda: known(sidecar, "found", "up"))
            said: list[str] = []
            rolled = asyncio.Event()

            async def call_until_rolled(caller: int) -> None:
                while not rolled.is_set():
                    text = f"{caller}-{len(said)}"
                    assert (await client.call_tool("up", "echo", {"text": text})).text == text
                    said.append(text)

            async def more(calls: int) -> None:
                enough = len(said) + calls
                await eventually(lambda: len(said) >= enough, 30)

            async with asyncio.TaskGroup() as group:
                for caller in range(CALLERS):
                    group.create_task(call_until_rolled(caller))
                await more(100)
                for old, new, stays in ((a, c, b), (b, d, c)):
                    source.say(found("up", stays, new, leaving=[old]))
                    await new.until(lambda s: s.executions)
                    await more(100)
                    source.say(found("up", stays, new))
                    await eventually(
                        lambda old=old: (
                            not any(  # type: ignore[misc]
                                row["endpoint"].endswith(f":{old.port}") for row in rows(sidecar)
                            )
                        )
                    )
                    await old.stop()
                    await more(100)
                rolled.set()
            ran = [execution.arguments["text"] for up in (a, b, c, d) for execution in up.executions]
            assert sorted(ran) == sorted(said)
            assert all(up.violations == [] for up in (a, b, c, d))
            assert not sidecar.calls(code="UNAVAILABLE")


def rows(sidecar: Sidecar) -> list[dict[str, Any]]:
    """The connections that the log leaves open."""
    last = {line["id"]: line for line in sidecar.lines if line["event"] == "connection"}
    return [line for line in last.values() if line["state"] != "closed"]


@pytest.mark.covers("B-223")
@ERAS
@pytest.mark.parametrize("tool", ["echo", "add"])
async def test_a_call_that_an_endpoint_does_not_take_goes_to_another(era: Any, tool: str):
    async with FakeServer(era) as a, FakeServer(era) as b:
        async with discovering(ScriptedSource(found("up", a, b))) as (sidecar, client):
            await eventually(lambda: known(sidecar, "found", "up"))
            await a.stop()
            for number in range(20):
                arguments = {"text": "x"} if tool == "echo" else {"a": number, "b": 1}
                assert not (await client.call_tool("up", tool, arguments)).is_error
            assert len(b.executions) == 20
            states = {end.address: end.state for end in (await servers_of(sidecar))["up"].endpoints}
            assert states[f"127.0.0.1:{a.port}"] == cpb.ENDPOINT_STATE_AVOIDED
            assert (await servers_of(sidecar))["up"].state == cpb.SERVER_STATE_UP


@pytest.mark.covers("B-223")
async def test_when_every_endpoint_fails_the_error_says_how_many_were_tried():
    async with FakeServer() as a, FakeServer() as b, FakeServer() as c:
        source = ScriptedSource(found("up", a, b, c))
        async with discovering(source) as (sidecar, client):
            await eventually(lambda: known(sidecar, "found", "up"))
            for up in (a, b, c):
                await up.stop()
            with pytest.raises(Unavailable) as failed:
                await client.call_tool("up", "echo", {"text": "x"})
            assert failed.value.execution is Execution.NONE
            assert "3 endpoints tried" in failed.value.message


@pytest.mark.covers("B-224")
async def test_a_server_without_endpoints_is_unavailable_and_down_and_nothing_ran():
    async with discovering(ScriptedSource(found("up"))) as (sidecar, client):
        await eventually(lambda: known(sidecar, "found", "up"))
        with pytest.raises(Unavailable) as failed:
            await client.call_tool("up", "echo", {"text": "x"})
        assert failed.value.execution is Execution.NONE
        assert "no endpoint" in failed.value.message
        assert (await servers_of(sidecar))["up"].state == cpb.SERVER_STATE_DOWN


@pytest.mark.covers("B-225")
@ERAS
async def test_calls_of_an_endpoint_that_is_removed_may_finish(era: Any):
    async with FakeServer(era) as a, FakeServer(era) as b:
        source = ScriptedSource(found("up", a))
        async with discovering(source) as (sidecar, client), asyncio.timeout(10):
            await eventually(lambda: known(sidecar, "found", "up"))
            held = asyncio.create_task(client.call_tool("up", "hold", {"gate": "k", "text": "held"}))
            await a.until(lambda s: s.executions)
            source.say(found("up", b))
            await eventually(lambda: known(sidecar, "changed", "up"))
            assert (await client.call_tool("up", "echo", {"text": "x"})).text == "x"
            assert b.executions
            a.release("k")
            assert not (await held).is_error
            await eventually(lambda: [row["endpoint"] for row in rows(sidecar)] == [f"127.0.0.1:{b.port}"])


@pytest.mark.covers("B-226")
async def test_a_session_of_a_2025_client_stays_while_its_endpoint_is_leaving_and_begins_anew_when_it_is_gone():
    async with FakeServer("legacy") as a, FakeServer("legacy") as b:
        source = ScriptedSource(found("up", a))
        async with discovering(source) as (sidecar, _), asyncio.timeout(10):
            await eventually(lambda: known(sidecar, "found", "up"))
            client = Legacy(sidecar.url("up"))
            await client.initialize()
            await client.call("echo", {"text": "first"})
            source.say(found("up", b, leaving=[a]))
            await eventually(lambda: known(sidecar, "changed", "up"))
            for text in ("second", "third"):
                await client.call("echo", {"text": text})
            assert [execution.arguments["text"] for execution in a.executions] == ["first", "second", "third"]
            source.say(found("up", b))
            await eventually(lambda: not [row for row in rows(sidecar) if row["endpoint"].endswith(f":{a.port}")])
            reply = await client.call("echo", {"text": "fourth"})
            assert reply.messages[-1]["result"]["content"][0]["text"] == "fourth"
            assert [execution.arguments["text"] for execution in b.executions] == ["fourth"]
            await client.close()


async def tools_of(sidecar: Sidecar) -> int:
    """How many servers have the tool `add`, as one who lists all tools sees it."""
    listed = await Modern(sidecar.url()).request("tools/list")
    return sum(tool["name"].endswith("add") for tool in listed.messages[-1]["result"]["tools"])


@pytest.mark.covers("B-227")
async def test_listeners_of_2026_hear_of_servers_that_come_and_go():
    source = ScriptedSource()
    async with FakeServer() as a, FakeServer("legacy") as b, discovering(source) as (sidecar, _), asyncio.timeout(20):
        async with Modern(sidecar.url()).opened("subscriptions/listen", {"notifications": EVERY_LIST}) as stream:
            heard = stream.messages()
            acknowledged = await anext(heard)
            assert acknowledged["params"]["notifications"] == EVERY_LIST
            for now in ([found("a", a)], [found("a", a), found("b", b)], [found("b", b)], []):
                source.say(*now)
                methods: set[str] = set()
                # Who was heard of late is told of twice: what counts is that the last look is right.
                while len(methods) < len(LISTS) or await tools_of(sidecar) != len(now):
                    methods.add((await anext(heard))["method"])
                assert sorted(methods) == LISTS


@pytest.mark.covers("B-227")
async def test_sessions_of_2025_hear_of_servers_that_come_and_go():
    source = ScriptedSource()
    async with FakeServer() as a, discovering(source) as (sidecar, _), asyncio.timeout(20):
        client = Legacy(sidecar.url())
        hello = (await client.initialize()).messages[-1]["result"]
        assert hello["capabilities"]["tools"] == {"listChanged": True}
        async with client.listening() as stream:
            heard = stream.messages()
            source.say(found("a", a))
            while (await anext(heard))["method"] != "notifications/tools/list_changed":
                pass
        await client.close()


@pytest.mark.covers("B-227")
async def test_a_grpc_stream_hears_when_a_server_that_had_no_endpoint_gets_one():
    source = ScriptedSource(found("a"))
    async with FakeServer() as a, discovering(source) as (sidecar, _), asyncio.timeout(20):
        await eventually(lambda: known(sidecar, "found", "a"))
        stream: Any = sidecar.engine.Stream(pb.StreamRequest(tools_list_changed=True))
        await stream.read()  # the acknowledgement: from here on nothing is missed
        source.say(found("a", a))
        while b"tools/list_changed" not in (await stream.read()).notification_json:
            pass
        stream.cancel()


@pytest.mark.covers("B-228")
@ERAS
async def test_a_subscription_at_an_endpoint_that_is_removed_goes_on_at_another(era: Any):
    async with FakeServer(era) as a, FakeServer(era) as b:
        source = ScriptedSource(found("up", a))
        async with discovering(source) as (sidecar, _), asyncio.timeout(20):
            await eventually(lambda: known(sidecar, "found", "up"))
            wants = {"notifications": {"toolsListChanged": True}}
            async with Modern(sidecar.url()).opened("subscriptions/listen", wants) as stream:
                heard = stream.messages()
                await anext(heard)
                await a.until(lambda s: s.streams)
                source.say(found("up", b))
                await b.until(lambda s: s.streams)
                await a.until(lambda s: not s.streams)
                b.push("notifications/tools/list_changed")
                assert (await anext(heard))["method"] == "notifications/tools/list_changed"


@pytest.mark.covers("B-228")
@ERAS
async def test_a_subscription_to_one_server_by_name_ends_gracefully_with_its_endpoint(era: Any):
    async with FakeServer(era) as a, FakeServer(era) as b:
        source = ScriptedSource(found("up", a))
        async with discovering(source) as (sidecar, _), asyncio.timeout(20):
            await eventually(lambda: known(sidecar, "found", "up"))
            wants = {"notifications": {"toolsListChanged": True}}
            async with Modern(sidecar.url("up")).opened("subscriptions/listen", wants) as stream:
                heard = stream.messages()
                await anext(heard)
                await a.until(lambda s: s.streams)
                source.say(found("up", b))
                assert "result" in await anext(heard)


@pytest.mark.covers("B-227", "B-228")
async def test_a_session_with_one_server_hears_that_its_lists_may_have_changed_when_the_endpoint_is_another():
    async with FakeServer("modern") as a, FakeServer("modern") as b:
        source = ScriptedSource(found("up", a))
        async with discovering(source) as (sidecar, _), asyncio.timeout(20):
            await eventually(lambda: known(sidecar, "found", "up"))
            client = Legacy(sidecar.url("up"))
            await client.initialize()
            async with client.listening() as stream:
                heard = stream.messages()
                await a.until(lambda s: s.streams)
                source.say(found("up", b))
                await b.until(lambda s: s.streams)
                assert (await anext(heard))["method"] == "notifications/tools/list_changed"
            await client.close()


@pytest.mark.covers("B-224")
async def test_a_server_whose_endpoints_come_back_is_not_called_down():
    source = ScriptedSource(found("up"))
    async with FakeServer() as up, discovering(source) as (sidecar, client):
        await eventually(lambda: known(sidecar, "found", "up"))
        with pytest.raises(Unavailable):
            await client.call_tool("up", "echo", {"text": "x"})
        source.say(found("up", up))
        await eventually(lambda: known(sidecar, "changed", "up"))
        assert (await servers_of(sidecar))["up"].state == cpb.SERVER_STATE_UNKNOWN


async def test_nobody_there_is_an_empty_list_and_not_an_error():
    async with (
        discovering(
            ScriptedSource(),
        ) as (sidecar, client),
        asyncio.timeout(10),
    ):
        for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
            reply = await Modern(sidecar.url()).request(method)
            assert "result" in reply.messages[-1], reply.messages
        with pytest.raises(SidecarError) as failed:
            await client.call_tool("", "echo", {"text": "x"})
        assert failed.value.execution is Execution.NONE
        reply = await Modern(sidecar.url()).request("resources/read", {"uri": "x://y"})
        assert "error" in reply.messages[-1]


@pytest.mark.covers("B-223")
@ERAS
async def test_a_call_that_a_draining_sidecar_refuses_goes_to_the_other_one(era: Any):
    long = DrainSettings(lame_duck=0.0, grace=5.0)
    async with FakeServer(era) as up, Sidecar({"up": up.url}, drain=long) as a, Sidecar({"up": up.url}) as b:
        addresses = tuple(Address("127.0.0.1", int(one.address("http").rpartition(":")[2])) for one in (a, b))
        both = Found("up", "http", False, "/servers/up/mcp", "localhost", addresses)
        async with discovering(ScriptedSource(both)) as (sidecar, client), asyncio.timeout(20):
            await eventually(lambda: known(sidecar, "found", "up"))
            held = asyncio.create_task(Modern(a.url("up")).call("hold", {"gate": "g"}))
            await up.until(lambda s: s.executions)
            await raw_http.post(f"http://{a.address('http')}/api/drain", {"wait_seconds": 0})
            for number in range(20):
                assert (await client.call_tool("up", "echo", {"text": str(number)})).text == str(number)
            assert not b.calls(code="UNAVAILABLE")
            up.release("g")
            await held
