"""The demo server is an honest MCP server of both eras: the official client says so, and raw requests do."""

from __future__ import annotations

import json
from typing import Any

import mcp
import pytest

from mcp_sidecar.demo.dialogue import MODERN
from mcp_sidecar.demo.server import serving
from tests.support.raw_http import post

META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}


def modern(method: str, params: dict[str, Any] | None = None, **headers: str) -> tuple[bytes, dict[str, str]]:
    """A request of 2026-07-28 with its headers, some of them changed or (empty) left out."""
    body = {"jsonrpc": "2.0", "id": "q-1", "method": method, "params": {"_meta": META, **(params or {})}}
    stated = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    if name := (params or {}).get("name") or (params or {}).get("uri"):
        stated["Mcp-Name"] = name
    stated.update({name.replace("_", "-"): value for name, value in headers.items()})
    return json.dumps(body).encode(), {name: value for name, value in stated.items() if value}


@pytest.mark.parametrize("mode", ["auto", "2026-07-28", "legacy"])
async def test_the_official_client_finds_and_uses_everything_in_both_eras(mode):
    heard: list[float] = []

    async def hear(progress: float, total: float | None = None, message: str | None = None) -> None:
        heard.append(progress)

    async with serving(pace=0.001) as url, mcp.Client(url, mode=mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["echo", "add", "countdown", "forecast"]
        counted = await client.call_tool("countdown", {"from": 3}, progress_callback=hear)
        assert counted.content[0].text == "counted down from 3"  # type: ignore[union-attr]
        assert heard == [0, 1, 2, 3]
        weather = await client.call_tool("forecast", {"city": "Oslo"})  # the client checks it against the output schema
        assert len(weather.structured_content["days"]) == 3
        assert (await client.read_resource("demo://welcome")).contents[0].mime_type == "text/plain"
        assert (await client.list_resources()).resources[0].uri == "demo://welcome"
        prompt = await client.get_prompt("pack-my-bag", {"city": "Ålesund"})
        assert "Ålesund" in prompt.messages[0].content.text  # type: ignore[union-attr]
        failed = await client.call_tool("add", {"a": 1, "b": True})
        assert failed.is_error
        with pytest.raises(mcp.MCPError, match="unknown tool: nope"):
            await client.call_tool("nope", {})


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (modern("tools/list"), 200, None),
        (modern("tools/levitate"), 404, -32601),
        (modern("initialize"), 404, -32601),
        (modern("tools/list", Mcp_Method="tools/call"), 400, -32020),
        (modern("tools/list", Mcp_Method=""), 400, -32020),
        (modern("tools/call", {"name": "echo"}, Mcp_Name="add"), 400, -32020),
        (modern("tools/call", {"name": "echo"}, Mcp_Name="=?base64?!?="), 400, -32020),
        (modern("tools/call", {"name": "echo", "arguments": []}), 400, -32602),
        (modern("tools/list", MCP_Protocol_Version="2099-01-01"), 400, -32022),
        (modern("tools/list", {"_meta": {}}), 400, -32602),
        (modern("tools/list", {"_meta": {**META, "io.modelcontextprotocol/protocolVersion": "x"}}), 400, -32020),
        (modern("resources/read", {"uri": "demo://other"}), 400, -32602),
        ((b"[]", {}), 400, -32700),
        ((b"{", {}), 400, -32700),
    ],
)
async def test_a_modern_request_is_judged_by_its_message_and_headers(request_, status, code):
    body, headers = request_
    async with serving() as url:
        reply = await post(url, body, headers)
        assert reply.status == status
        assert reply.messages[0].get("error", {}).get("code") == code


async def test_a_name_may_travel_as_base64():
    async with serving() as url:
        body, headers = modern(
            "tools/call", {"name": "echo", "arguments": {"text": "x"}}, Mcp_Name="=?base64?ZWNobw==?="
        )
        assert (await post(url, body, headers)).messages[0]["result"]["content"] == [{"type": "text", "text": "x"}]


async def test_lists_say_how_long_they_are_good_in_the_modern_era_only():
    async with serving() as url:
        body, headers = modern("tools/list")
        assert (await post(url, body, headers)).messages[0]["result"]["cacheScope"] == "public"
        legacy = await post(url, body, {"MCP-Protocol-Version": "2025-11-25"})
        assert set(legacy.messages[0]["result"]) == {"tools"}


async def test_a_web_page_from_elsewhere_is_turned_away():
    async with serving() as url:
        body, headers = modern("tools/list")
        assert (await post(url, body, {**headers, "Origin": "https://evil.example"})).status == 403
        assert (await post(url, body, {**headers, "Origin": "http://localhost:3000"})).status == 200


async def test_other_paths_are_not_found_and_notifications_are_accepted():
    async with serving() as url:
        body, headers = modern("tools/list")
        assert (await post(url.removesuffix("/mcp") + "/other", body, headers)).status == 404
        notification = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
        assert (await post(url, notification, {})).status == 202
