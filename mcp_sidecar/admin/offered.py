"""`GET /api/tools`: every server's tools with their schemas, as far as they can be read. Knows no page."""

from __future__ import annotations

import asyncio

import msgspec

from mcp_sidecar.admin.door import JSON, Door
from mcp_sidecar.call import Call
from mcp_sidecar.directory import Directory
from mcp_sidecar.engine.catalogue import list_tools
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.wire.http_server import Reply, Request

_AT_ONCE = 8
_SECONDS = 10.0


class Offered:
    """Asks each server as the visitor; what a server said a while ago is taken from the shelf."""

    def __init__(self, door: Door, directory: Directory, engine: Engine) -> None:
        self._door = door
        self._directory = directory
        self._engine = engine

    async def __call__(self, request: Request, reply: Reply) -> None:
        call = await self._door.admit(request, reply, "admin/tools")
        if call is None:
            return
        few = asyncio.Semaphore(_AT_ONCE)
        names = tuple(self._directory.snapshot)
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._ask(call, name, few), name=f"tools of {name}") for name in names]
        reply.send(200, JSON, msgspec.json.encode({"servers": [task.result() for task in asked]}))

    async def _ask(self, visit: Call, server: str, few: asyncio.Semaphore) -> dict[str, object]:
        """One server's tools as it described them, or why there are none."""
        call = visit.ask()
        async with few:
            try:
                async with asyncio.timeout(_SECONDS):
                    tools = await list_tools(self._engine, call, server)
            except SidecarError as failure:
                return {"server": server, "tools": [], "error": failure.message}
            except TimeoutError:
                return {"server": server, "tools": [], "error": f"no answer within {_SECONDS:.0f} s"}
        return {"server": server, "tools": [msgspec.Raw(tool) for tool in tools], "error": ""}
