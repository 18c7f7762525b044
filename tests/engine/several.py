"""Two servers behind one engine: both have `echo`, each has tools of its own. Knows no test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp_sidecar.call import Client
from tests.engine.engines import Bench, bench
from tests.support import fake_tools
from tests.support.fake_server import FakeServer

NOWHERE = "http://127.0.0.1:9/mcp"
"""Nobody listens there."""
STALE, MISSING = "mcp-sidecar.dev/stale", "mcp-sidecar.dev/missing"


def describe(name: str, **more: Any) -> dict[str, Any]:
    """A tool of the fake's, or one with a name of its own."""
    known = {one["name"]: one for one in fake_tools.ALL}
    return {**known.get(name, {"name": name, "inputSchema": {"type": "object"}}), **more}


@asynccontextmanager
async def two(
    era: Any = "modern", other_era: Any = None, /, **more: Any
) -> AsyncIterator[tuple[FakeServer, FakeServer, Bench]]:
    """Servers `a` and `b`: both have `echo`, each has tools of its own."""
    async with FakeServer(era) as a, FakeServer(other_era or era) as b:
        a.catalogue.tools = [describe("echo"), describe("add")]
        b.catalogue.tools = [describe("fail"), describe("echo"), describe("progress"), describe("hold")]
        async with bench({"a": a.url, "b": b.url}, **more) as over:
            yield a, b, over


def legacy() -> Client:
    """A client of the 2025 era."""
    return Client(id="client", version="2025-11-25")
