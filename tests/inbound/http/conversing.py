"""Sessions of 2025-era clients for tests: a server, a sidecar, a client that has begun one. Judges nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.fake_server import FakeServer
from tests.support.raw_http import Event, Exchange
from tests.support.raw_mcp import Legacy
from tests.support.sidecar import Sidecar

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
HOLD = {"name": "hold", "arguments": {"gate": "g", "text": "held"}}


def initialize(**params: Any) -> dict[str, Any]:
    known = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {**known, **params}}


@contextlib.asynccontextmanager
async def served(
    era: Any, version: str = "2025-11-25", **client: Any
) -> AsyncIterator[tuple[FakeServer, Sidecar, Legacy]]:
    """A server, a sidecar, and a client whose session has begun."""
    async with asyncio.timeout(20), FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        legacy = Legacy(sidecar.url("up"), version=version, **client)
        await legacy.initialize()
        yield up, sidecar, legacy


async def first(exchange: Exchange) -> tuple[AsyncIterator[Event], Event]:
    """The events of a stream, and the first that says something."""
    events = exchange.events()
    async for event in events:
        if event.data:
            return events, event
    raise AssertionError("the stream has ended")
