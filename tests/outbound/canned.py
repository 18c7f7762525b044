"""An HTTP server that gives every request the one answer it was made with; knows no MCP."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self

from tests.support.fake_wire import HttpRequest, Wire


class Canned:
    """Answers with `status` and `body` (JSON unless it is bytes). An event in `wait` holds the answers back."""

    def __init__(
        self, status: int, body: Any = b"", kind: str = "application/json", *, wait: asyncio.Event | None = None
    ) -> None:
        self._status = status
        self._body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._kind = kind
        self._wait = wait
        self._wires: set[Wire] = set()
        self.requests: list[HttpRequest] = []

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Wire(self._opened), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}/mcp"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for wire in tuple(self._wires):
            wire.transport.abort()
        await self._tasks.__aexit__(None, None, None)

    def _opened(self, wire: Wire) -> None:
        self._wires.add(wire)
        self._tasks.create_task(self._talk(wire), name="canned")

    async def _talk(self, wire: Wire) -> None:
        while (request := await wire.request()) is not None:
            self.requests.append(request)
            if self._wait is not None:
                await self._wait.wait()
            wire.respond(self._status, self._body, [("content-type", self._kind)])
        wire.close()


def answer(**fields: Any) -> dict[str, Any]:
    """A JSON-RPC response to the sidecar's probe."""
    return {"jsonrpc": "2.0", "id": "probe", **fields}


def error(code: int, **fields: Any) -> dict[str, Any]:
    return answer(error={"code": code, "message": "secret-words"}, **fields)
