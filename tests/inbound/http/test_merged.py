"""All servers behind one path, and what is kept of them, as clients see it over HTTP and gRPC."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mcp import Client
from mcp.types import TextContent, TextResourceContents

from mcp_sidecar.settings import MergeSettings, StartSettings
from mcp_sidecar.v1 import connections_pb2 as cpb
from mcp_sidecar.v1 import engine_pb2 as pb
from tests.engine.several import describe
from tests.inbound.http.test_legacy_clients import official
from tests.inbound.waiting import eventually
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.sidecar import Sidecar

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
LIST = pb.CallRequest(message_json=b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
HOUR = 3_600_000


def client_of(kind: str, url: str) -> Client:
    return Client(url, mode="2026-07-28") if kind == "2026" else official(url)


@pytest.mark.covers("B-170", "B-177", "B-178")
@ERAS
@pytest.mark.parametrize("kind", ["2026", "2025"])
async def test_official_clients_of_both_eras_see_two_servers_as_one(era: Any, kind: str):
    async with FakeServer(era) as a, FakeServer("modern") as b, Sidecar({"a": a.url, "b": b.url}) as sidecar:
        b.catalogue.resources = {"other://x": {"mimeType": "text/plain", "text": "of b"}}
        async with asyncio.timeout(20), client_of(kind, sidecar.url()) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert {"a__echo", "b__echo"} <= set(names) and "echo" not in names
            for name, up in (("a__echo", a), ("b__echo", b)):
                called = await client.call_tool(name, {"text": name})
                assert isinstance(called.content[0], TextContent) and called.content[0].text == name
                assert up.executions[-1].arguments == {"text": name}
            prompt = await client.get_prompt("b__greet", {"who": "Bo"})
            assert prompt.messages
            read = (await client.read_resource("other://x")).contents[0]
            assert isinstance(read, TextResourceContents) and read.text == "of b"
        assert a.violations == b.violations == []
        await eventually(lambda: sidecar.calls(name="b__echo"))
        assert {line["server"] for line in sidecar.calls(name="b__echo")} == {"b"}


@pytest.mark.covers("B-190")
async def test_arguments_in_headers_work_for_clients_of_the_2025_era():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        async with asyncio.timeout(20), official(sidecar.url()) as client:
            called = await client.call_tool("regional", {"region": "grün"})
            assert isinstance(called.content[0], TextContent) and called.content[0].text == "grün: "
        assert len(up.executions) == 1


@pytest.mark.covers("B-191")
@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 400),
        ({"Mcp-Param-Region": "us"}, 400),
        ({"Mcp-Param-Region": "eu"}, 200),
        ({"MCP-PARAM-REGION": " eu "}, 200),
    ],
)
async def test_headers_that_disagree_with_a_known_tool_reach_no_server(header: dict[str, str], status: int):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        client = Modern(sidecar.url("up"))
        assert (await client.request("tools/list")).status == 200
        body, headers = client.compose("tools/call", {"name": "regional", "arguments": {"region": "eu"}})
        reply = await raw_http.request("POST", client.url, body, headers | header)
        assert reply.status == status
        assert up.count("tools/call") == (1 if status == 200 else 0)
        if status == 400:
            assert reply.messages[0]["error"]["code"] == -32020 and reply.messages[0]["id"] is not None


@pytest.mark.covers("B-192")
async def test_a_dropped_tool_is_in_the_log():
    bad = {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "two words"}}}
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        up.catalogue.tools = [describe("echo"), describe("bad", inputSchema=bad)]
        listed = await sidecar.engine.ListTools(pb.ListToolsRequest(), timeout=5)
        assert [json.loads(tool)["name"] for tool in listed.tools_json] == ["echo"]
        (line,) = [line for line in sidecar.lines if line["event"] == "dropped"]
        assert (line["level"], line["server"], line["tool"]) == ("warning", "up", "bad")


@pytest.mark.covers("B-180", "B-183")
async def test_what_comes_from_the_store_says_so_and_a_refresh_empties_it():
    async with FakeServer(ttl_ms=HOUR) as up, Sidecar({"up": up.url}) as sidecar:
        assert not (await sidecar.engine.Call(LIST, timeout=5)).info.from_cache
        again = await sidecar.engine.Call(LIST, timeout=5)
        assert again.info.from_cache and again.info.server == "up"
        await sidecar.connections.RefreshServer(cpb.RefreshServerRequest(server="up"), timeout=5)
        assert up.count("tools/list") == 2
        assert (await sidecar.engine.Call(LIST, timeout=5)).info.from_cache


@pytest.mark.covers("B-185")
@ERAS
async def test_the_first_client_finds_the_tools_listed(era: Any):
    down = "http://127.0.0.1:9/mcp"
    warm = StartSettings(warm=True)
    async with FakeServer(era, ttl_ms=HOUR) as up, Sidecar({"up": up.url, "down": down}, start=warm) as sidecar:
        await up.until(lambda s: s.count("tools/list"))
        called = await sidecar.engine.CallTool(
            pb.CallToolRequest(tool="echo", arguments_json=b'{"text":"x"}'), timeout=5
        )
        assert called.info.server == "up"
        listed = await sidecar.engine.Call(pb.CallRequest(server="up", message_json=LIST.message_json), timeout=5)
        assert listed.info.from_cache is (era == "modern")
        assert up.count("tools/list") == (1 if era == "modern" else 2)
        assert not [line for line in sidecar.lines if line["level"] in ("warning", "error")]
        assert len(sidecar.calls()) <= 2  # nobody called for the first one


@pytest.mark.covers("B-170")
async def test_the_settings_of_the_names_are_those_of_the_file():
    merge = MergeSettings("always", ".")
    async with FakeServer() as a, FakeServer() as b, Sidecar({"a": a.url, "b": b.url}, merge=merge) as sidecar:
        listed = await sidecar.engine.ListTools(pb.ListToolsRequest(), timeout=5)
        assert json.loads(listed.tools_json[0])["name"] == "a.echo"
