"""MCP requests spelled out by hand over `raw_http`, one class an era; the independent client of the contract suite."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

from tests.support import raw_http
from tests.support.raw_http import JSON_AND_EVENTS, Exchange, Reply

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
CLIENT = {"name": "raw", "version": "1"}
_NAME_KEY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri", "tasks/get": "taskId"}

Params = dict[str, Any]


class Modern:
    """A 2026-07-28 client of `url`."""

    def __init__(self, url: str, capabilities: Params | None = None) -> None:
        self.url = url
        self._capabilities = capabilities or {}
        self._ids = itertools.count(1)

    def compose(self, method: str, params: Params | None = None, **meta: Any) -> tuple[bytes, dict[str, str]]:
        """Body and headers of a request. `meta` goes into `_meta`, over the three keys every request has."""
        params = params or {}
        known = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": CLIENT,
            "io.modelcontextprotocol/clientCapabilities": self._capabilities,
        }
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method}
        body = json.dumps({**message, "params": {**params, "_meta": {**known, **meta}}}).encode()
        headers = {**JSON_AND_EVENTS, "MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if (name := params.get(_NAME_KEY.get(method, ""))) is not None:
            headers["Mcp-Name"] = str(name)
        return body, headers

    async def request(self, method: str, params: Params | None = None, **meta: Any) -> Reply:
        body, headers = self.compose(method, params, **meta)
        return await raw_http.request("POST", self.url, body, headers)

    @contextlib.asynccontextmanager
    async def opened(self, method: str, params: Params | None = None, **meta: Any) -> AsyncIterator[Exchange]:
        body, headers = self.compose(method, params, **meta)
        async with raw_http.opened("POST", self.url, body, headers) as exchange:
            yield exchange

    async def call(self, tool: str, arguments: Params | None = None, **meta: Any) -> Reply:
        return await self.request("tools/call", {"name": tool, "arguments": arguments or {}}, **meta)

    async def close(self) -> None:
        """Nothing to close: the era has no sessions."""


class Legacy:
    """A client of the 2025 revisions; `initialize` first."""

    def __init__(self, url: str, capabilities: Params | None = None, version: str = LEGACY) -> None:
        self.url = url
        self.version = version
        self.session = ""
        self._capabilities = capabilities or {}
        self._ids = itertools.count(1)

    async def initialize(self) -> Reply:
        """The handshake; the answer to `initialize`."""
        params = {"protocolVersion": self.version, "capabilities": self._capabilities, "clientInfo": CLIENT}
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": "initialize", "params": params}
        reply = await raw_http.post(self.url, message)
        self.session = reply.headers.get("mcp-session-id", "")
        self.version = reply.messages[-1]["result"]["protocolVersion"]
        await self.notify("notifications/initialized")
        return reply

    @property
    def headers(self) -> dict[str, str]:
        session = {"Mcp-Session-Id": self.session} if self.session else {}
        return {**JSON_AND_EVENTS, **session, "MCP-Protocol-Version": self.version}

    def compose(self, method: str, params: Params | None = None, **meta: Any) -> bytes:
        whole = {**(params or {}), **({"_meta": meta} if meta else {})}
        return json.dumps({"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": whole}).encode()

    async def request(self, method: str, params: Params | None = None, **meta: Any) -> Reply:
        return await raw_http.request("POST", self.url, self.compose(method, params, **meta), self.headers)

    @contextlib.asynccontextmanager
    async def opened(self, method: str, params: Params | None = None, **meta: Any) -> AsyncIterator[Exchange]:
        body = self.compose(method, params, **meta)
        async with raw_http.opened("POST", self.url, body, self.headers) as exchange:
            yield exchange

    async def call(self, tool: str, arguments: Params | None = None, **meta: Any) -> Reply:
        return await self.request("tools/call", {"name": tool, "arguments": arguments or {}}, **meta)

    async def notify(self, method: str, params: Params | None = None) -> Reply:
        return await raw_http.post(self.url, {"jsonrpc": "2.0", "method": method, "params": params or {}}, self.headers)

    async def answer(self, request_id: Any, result: Any) -> Reply:
        """Answer a request of the server."""
        return await raw_http.post(self.url, {"jsonrpc": "2.0", "id": request_id, "result": result}, self.headers)

    @contextlib.asynccontextmanager
    async def listening(self, last_event_id: str = "") -> AsyncIterator[Exchange]:
        """The GET stream, or the rest of another stream after `last_event_id`."""
        last = {"Last-Event-ID": last_event_id} if last_event_id else {}
        headers = {**self.headers, **last, "Accept": "text/event-stream"}
        async with raw_http.opened("GET", self.url, b"", headers) as exchange:
            yield exchange

    async def close(self) -> Reply | None:
        """End the session, if there is one."""
        return await raw_http.request("DELETE", self.url, b"", self.headers) if self.session else None
