"""What the fake takes for a violation of MCP; what it answers to one is in the contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Legacy, Modern

SECONDS = 5.0
LOG_LEVEL = "io.modelcontextprotocol/logLevel"


def _modern(change: Callable[[dict[str, Any], dict[str, str]], None]) -> tuple[bytes, dict[str, str]]:
    body, headers = Modern("").compose("tools/call", {"name": "regional", "arguments": {"region": "eu"}})
    message = json.loads(body)
    headers["Mcp-Param-Region"] = "eu"
    change(message, headers)
    return json.dumps(message).encode(), headers


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda _, headers: headers.pop("MCP-Protocol-Version"), "MCP-Protocol-Version is None"),
        (lambda _, headers: headers.update({"MCP-Protocol-Version": "2025-11-25"}), "MCP-Protocol-Version is"),
        (lambda _, headers: headers.update({"Mcp-Method": "tools/list"}), "Mcp-Method is"),
        (lambda _, headers: headers.pop("Mcp-Name"), "no Mcp-Name"),
        (lambda _, headers: headers.update({"Mcp-Name": "echo"}), "Mcp-Name is"),
        (lambda _, headers: headers.pop("Mcp-Param-Region"), "mcp-param-region is None"),
        (lambda _, headers: headers.update({"Accept": "application/json"}), "Accept is"),
        (lambda _, headers: headers.update({"Content-Type": "text/plain"}), "Content-Type is"),
        (lambda _, headers: headers.update({"Authorization": "Bearer x"}), "authorization header"),
        (lambda _, headers: headers.update({"Cookie": "a=b"}), "cookie header"),
        (lambda _, headers: headers.update({"Mcp-Session-Id": "x"}), "mcp-session-id header in the modern era"),
        (lambda _, headers: headers.update({"MCP-METHOD": "tools/call"}), "header mcp-method is there 2 times"),
        (lambda message, _: message.update(jsonrpc="1.0"), "jsonrpc is '1.0'"),
        (lambda message, _: message.update(id=None), "id is None"),
        (lambda message, _: message.update(extra=1), "unknown envelope keys ['extra']"),
        (lambda message, _: message.update(method="ping"), "ping in the modern era"),
        (lambda message, _: message["params"]["_meta"].clear(), "no io.modelcontextprotocol/protocolVersion in _meta"),
    ],
)
async def test_what_breaks_the_modern_rules_is_put_down_as_a_violation(
    change: Callable[[dict[str, Any], dict[str, str]], None], sentence: str
) -> None:
    async with FakeServer("modern") as server:
        body, headers = _modern(change)
        await raw_http.request("POST", server.url, body, headers)
        assert any(violation.startswith(sentence) for violation in server.violations), server.violations


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list"}', "duplicate key"),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"a":NaN}}', "body is not JSON"),
        (b"[]", "body is not one JSON object"),
        (b"{", "body is not JSON"),
    ],
)
async def test_what_is_no_proper_json_is_put_down_as_a_violation(body: bytes, sentence: str) -> None:
    async with FakeServer("legacy") as server:
        await raw_http.post(server.url, body)
        assert any(violation.startswith(sentence) for violation in server.violations), server.violations


async def test_what_breaks_the_legacy_rules_is_put_down_as_a_violation() -> None:
    async with FakeServer("legacy") as server:
        early = Legacy(server.url)
        reply = await raw_http.post(server.url, {**_initialize("2025-11-25")})
        early.session = reply.headers["mcp-session-id"]
        await early.request("tools/list")
        early.version = "2025-06-18"
        await early.notify("notifications/initialized")
        await early.request("tools/list", None, **{LOG_LEVEL: "info"})
        await raw_http.post(server.url, _initialize("2025-11-25"), {"Mcp-Session-Id": early.session})
        await raw_http.post(server.url, {"jsonrpc": "2.0", "id": 9, "method": "tools/list"})
        await early.answer(77, {})
        expected = (
            "tools/list before notifications/initialized",
            "MCP-Protocol-Version is '2025-06-18', negotiated was '2025-11-25'",
            f"modern _meta keys ['{LOG_LEVEL}'] in the legacy era",
            "Mcp-Session-Id on initialize",
            "no Mcp-Session-Id on tools/list",
            "an answer to a request that is not open: 77",
            "request id 1 is used again in the same session",
        )
        assert set(expected) <= set(server.violations), server.violations


def _initialize(version: str) -> dict[str, Any]:
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


async def test_a_modern_probe_of_a_legacy_server_is_no_violation() -> None:
    async with FakeServer("legacy") as server:
        assert (await Modern(server.url).request("server/discover")).status == 400
        assert server.violations == []


async def test_a_foreign_origin_is_forbidden() -> None:
    async with FakeServer("modern") as server:
        body, headers = Modern(server.url).compose("tools/list")
        reply = await raw_http.request("POST", server.url, body, {**headers, "Origin": "https://evil.example"})
        assert reply.status == 403
