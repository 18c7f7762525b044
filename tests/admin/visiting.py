"""A visitor of the admin page without a browser; knows its paths and nothing of its parts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from tests.support import raw_http
from tests.support.raw_http import Event, Exchange, Reply
from tests.support.sidecar import Sidecar

JSON = {"Content-Type": "application/json"}


def page(sidecar: Sidecar, path: str = "/") -> str:
    return f"http://{sidecar.address('http')}{path}"


async def get(sidecar: Sidecar, path: str, headers: Mapping[str, str] | None = None) -> Reply:
    return await raw_http.request("GET", page(sidecar, path), headers=headers)


async def post(sidecar: Sidecar, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await raw_http.request("POST", page(sidecar, path), sent, {**JSON, **(headers or {})})


async def state_of(sidecar: Sidecar) -> dict[str, Any]:
    found: dict[str, Any] = (await get(sidecar, "/api/state")).messages[0]
    return found


async def called(sidecar: Sidecar, server: str, tool: str, **arguments: Any) -> list[Event]:
    """The events of a call from the page."""
    wish = {"server": server, "tool": tool, "arguments": arguments}
    reply = await post(sidecar, "/api/call", wish)
    assert reply.status == 200, reply.body
    return reply.events


@contextlib.asynccontextmanager
async def watching(sidecar: Sidecar) -> AsyncIterator[AsyncIterator[Event]]:
    """The events of `/api/events` as they come."""
    exchange: Exchange
    async with raw_http.opened("GET", page(sidecar, "/api/events")) as exchange:
        assert exchange.status == 200
        yield exchange.events()
