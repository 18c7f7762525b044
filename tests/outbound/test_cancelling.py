"""Calls that their callers give up, and calls that are sent again (docs/behaviour.md, B-20 and B-23)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_sidecar.settings import ToolSettings, UpstreamSettings
from mcp_sidecar.v1 import connections_pb2, engine_pb2
from tests.inbound.waiting import eventually
from tests.outbound.calling import SECONDS, call, failure, message, tool
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

eras = pytest.mark.parametrize(("era", "how"), [("modern", "closed"), ("legacy", "notified")])
HELD = message("tools/call", {"name": "hold", "arguments": {"gate": "g"}})


def the_time() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.covers("B-20")
@eras
@pytest.mark.parametrize("rpc", ["Call", "CallStream", "CallTool", "BiDiStream"])
async def test_a_cancelled_rpc_is_cancelled_upstream_within_100_ms(rpc: str, era: Any, how: str):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        running: Any
        if rpc == "BiDiStream":
            running = sidecar.engine.BiDiStream(timeout=SECONDS)
            await running.write(engine_pb2.ClientFrame(message_json=HELD))
        elif rpc == "CallTool":
            held = engine_pb2.CallToolRequest(tool="hold", arguments_json=b'{"gate":"g"}')
            running = sidecar.engine.CallTool(held, timeout=SECONDS)
        else:
            running = getattr(sidecar.engine, rpc)(engine_pb2.CallRequest(message_json=HELD), timeout=SECONDS)
        await up.until(lambda s: len(s.executions) == 2)
        given_up = the_time()
        running.cancel()
        await up.until(lambda s: s.cancelled)
        (one,) = up.cancelled
        assert (one.how, one.tool) == (how, "hold")
        assert one.at - given_up < 0.1
        assert one.request_id == up.executions[1].request_id
        assert up.violations == []
        await eventually(lambda: sidecar.calls(name="hold", code="CANCELLED"))


@pytest.mark.covers("B-20")
@eras
async def test_a_call_past_its_deadline_is_cancelled_upstream(era: Any, how: str):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        began = the_time()
        late = await failure(tool(sidecar, "hold", {"gate": "g"}, timeout=0.15))
        assert late.code == "DEADLINE_EXCEEDED"
        await up.until(lambda s: s.cancelled)
        assert up.cancelled[0].how == how
        assert up.cancelled[0].at - began < 0.25


@pytest.mark.covers("B-20")
@eras
async def test_a_client_of_http_that_hangs_up_has_its_call_cancelled(era: Any, how: str):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "progressToken": 1,
        }
        body = json.loads(HELD)
        body["params"]["_meta"] = meta
        headers = {
            **raw_http.JSON_AND_EVENTS,
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call",
            "Mcp-Name": "hold",
        }
        async with raw_http.opened("POST", sidecar.url("up"), json.dumps(body).encode(), headers) as exchange:
            await up.until(lambda s: len(s.executions) == 2)
            given_up = the_time()
            exchange.close()
            await up.until(lambda s: s.cancelled)
        assert up.cancelled[0].how == how
        assert up.cancelled[0].at - given_up < 0.1


@eras
async def test_a_hundred_cancelled_calls_leave_nothing_behind(era: Any, how: str):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        running = [sidecar.engine.Call(engine_pb2.CallRequest(message_json=HELD), timeout=SECONDS) for _ in range(100)]
        await up.until(lambda s: len(s.executions) == 100)
        for one in running:
            one.cancel()
        await up.until(lambda s: len(s.cancelled) == 100)
        assert {one.how for one in up.cancelled} == {how}
        listed = await sidecar.connections.ListConnections(connections_pb2.ListConnectionsRequest(), timeout=SECONDS)
        assert [one.in_flight for one in listed.connections] == [0]
        assert await tool(sidecar, "echo", {"text": "still here"}) == "still here"
        assert up.violations == []


@pytest.mark.parametrize("turns", range(0, 40, 4))
@eras
async def test_a_call_cancelled_at_any_moment_harms_no_other(turns: int, era: Any, how: str):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        given_up = asyncio.ensure_future(tool(sidecar, "echo", {"text": "given up"}))
        other = asyncio.ensure_future(tool(sidecar, "echo", {"text": "other"}))
        for _ in range(turns):
            await asyncio.sleep(0)
        given_up.cancel()
        assert await other == "other"
        await asyncio.wait({given_up})
        assert up.violations == []


READS: list[tuple[str, dict[str, Any]]] = [
    ("tools/list", {}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "greet", "arguments": {"who": "me"}}),
    ("resources/list", {}),
    ("resources/read", {"uri": "fake://greeting"}),
    ("resources/templates/list", {}),
]


@pytest.mark.covers("B-23")
@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("rudeness", ["closes_before_reply", "reset", "truncated_body"])
async def test_calls_that_only_read_are_sent_again_after_a_lost_connection(rudeness: str, era: Any):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        for method, params in READS:
            up.next_reply(rudeness, on=method)
            assert "result" in await call(sidecar, method, params)
            assert (method, up.count(method)) == (method, 2)


@pytest.mark.covers("B-23")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_tool_is_sent_again_only_where_the_settings_say_it_may(era: Any):
    async with FakeServer(era) as up:
        settings = UpstreamSettings(name="up", url=up.url, tools=ToolSettings(retry=("ech*",)))
        async with Sidecar({"up": settings}) as sidecar:
            await tool(sidecar, "echo", {"text": "hi"})
            up.next_reply("closes_before_reply")
            assert await tool(sidecar, "echo", {"text": "twice"}) == "twice"
            assert [one.arguments.get("text") for one in up.executions] == ["hi", "twice", "twice"]
            up.next_reply("closes_before_reply")
            lost = await failure(tool(sidecar, "add", {"a": 1, "b": 2}))
            assert (lost.code, lost.execution) == ("UNAVAILABLE", "unknown")
            assert len(up.executions) == 4


@pytest.mark.covers("B-23")
@pytest.mark.parametrize("on", ["initialize", "notifications/initialized"])
async def test_a_tool_whose_session_could_not_be_begun_is_sent_again(on: str):
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        up.next_reply("closes_before_reply", on=on)
        assert await tool(sidecar, "echo", {"text": "hi"}) == "hi"
        assert len(up.executions) == 1


@pytest.mark.covers("B-23")
async def test_a_server_that_asks_for_much_patience_is_not_called_again():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        up.next_reply("status_503", on="tools/list")  # Retry-After: 7
        refused = await failure(call(sidecar, "tools/list"))
        assert refused.code == "UNAVAILABLE"
        assert up.count("tools/list") == 1


@pytest.mark.covers("B-23")
async def test_a_call_is_not_sent_again_after_the_caller_has_heard_of_it():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        up.next_reply("closes_mid_sse", on="tools/list")
        request = engine_pb2.CallRequest(message_json=message("tools/list", progressToken="p"))
        stream: Any = sidecar.engine.CallStream(request, timeout=SECONDS)
        assert b"progress" in (await stream.read()).notification_json
        assert (await failure(stream.read())).code == "UNAVAILABLE"
        assert up.count("tools/list") == 1
