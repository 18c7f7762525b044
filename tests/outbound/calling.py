"""Calls through a whole sidecar over gRPC, as its users make them; knows no upstream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest

from mcp_sidecar.v1 import connections_pb2, engine_pb2
from tests.support.sidecar import Sidecar

SECONDS = 10.0


def message(method: str, params: dict[str, Any] | None = None, **meta: Any) -> bytes:
    whole: dict[str, Any] = {"jsonrpc": "2.0", "id": "mine", "method": method, "params": dict(params or {})}
    if meta:
        whole["params"]["_meta"] = meta
    return json.dumps(whole).encode()


async def call(
    sidecar: Sidecar, method: str, params: dict[str, Any] | None = None, *, server: str = "", timeout: float = SECONDS,
    **meta: Any,
) -> dict[str, Any]:  # fmt: skip
    """The JSON-RPC response to one request."""
    request = engine_pb2.CallRequest(server=server, message_json=message(method, params, **meta))
    reply = await sidecar.engine.Call(request, timeout=timeout)
    response: dict[str, Any] = json.loads(reply.message_json)
    assert response["id"] == "mine"
    return response


async def tool(sidecar: Sidecar, name: str, arguments: dict[str, Any] | None = None, **more: Any) -> str:
    """The text a tool answers with."""
    response = await call(sidecar, "tools/call", {"name": name, "arguments": arguments or {}}, **more)
    text: str = response["result"]["content"][0]["text"]
    return text


@dataclass
class Failure:
    code: str
    message: str
    execution: str


async def failure(running: Awaitable[Any]) -> Failure:
    """How a call failed."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running
    trailers = dict(caught.value.trailing_metadata() or ())
    return Failure(caught.value.code().name, caught.value.details() or "", str(trailers.get("mcp-sidecar-execution")))


async def connections(sidecar: Sidecar) -> list[connections_pb2.Connection]:
    reply = await sidecar.connections.ListConnections(connections_pb2.ListConnectionsRequest(), timeout=SECONDS)
    return list(reply.connections)


async def events(
    sidecar: Sidecar, name: str, arguments: dict[str, Any], *, server: str = "", **meta: Any
) -> AsyncIterator[dict[str, Any]]:
    """The messages of `CallStream`: notifications, then the response."""
    body = message("tools/call", {"name": name, "arguments": arguments}, **meta)
    request = engine_pb2.CallRequest(server=server, message_json=body)
    async for event in sidecar.engine.CallStream(request, timeout=SECONDS):
        yield json.loads(event.notification_json or event.response.message_json)
