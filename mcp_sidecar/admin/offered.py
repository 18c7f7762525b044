"""`GET /api/tools`: every server's tools with their schemas, as far as they can be read. Knows no page.

`?server=NAME`, which may be given several times, asks for these only. Whoever accepts an event stream is told of each
server as it answers; whoever does not has one document after a moment, in which those that have not answered are
`pending`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import parse_qs

import msgspec

from mcp_sidecar.admin.door import EVENTS, JSON, Door, event
from mcp_sidecar.call import Call
from mcp_sidecar.directory import Directory
from mcp_sidecar.engine.catalogue import list_tools
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.wire.faults import Disconnected
from mcp_sidecar.wire.http_server import Reply, Request

_MOST = 256
"""Servers that are asked at the same time, whoever wants to know."""
_AT_ONCE = 8
_MOMENT_SECONDS = 0.25  # for so long a server keeps the next one waiting
_DOCUMENT_SECONDS = 1.0
_SECONDS = 10.0
_ORDER = {True: 0, None: 1, False: 2}
Told = dict[str, object]
_Asked = dict[str, asyncio.Task[Told]]


class Offered:
    """Asks each server as the visitor; what a server said a while ago is taken from the shelf."""

    def __init__(self, door: Door, directory: Directory, engine: Engine, dialer: Dialer) -> None:
        self._door = door
        self._directory = directory
        self._engine = engine
        self._dialer = dialer
        self._many = asyncio.Semaphore(_MOST)

    async def __call__(self, request: Request, reply: Reply) -> None:
        call = await self._door.admit(request, reply, "admin/tools")
        if call is None:
            return
        wanted = parse_qs(request.head.query, keep_blank_values=True).get("server")
        names = [name for name in self._directory.snapshot if wanted is None or name in wanted]
        streamed = b"text/event-stream" in (request.head.headers.get(b"accept") or b"")
        if streamed and request.head.method == "HEAD":
            reply.send(200, EVENTS, b"")
            return
        async with asyncio.TaskGroup() as tasks:
            asked = self._begin(tasks, call, names)
            try:
                await (_stream if streamed else _document)(reply, asked)
            except Disconnected:
                pass  # nobody wants to know any more
            finally:
                for task in asked.values():
                    task.cancel()

    def _begin(self, tasks: asyncio.TaskGroup, call: Call, names: Sequence[str]) -> _Asked:
        """Those that answered lately first: whoever hangs is not in their way."""
        few = asyncio.Semaphore(_AT_ONCE)
        ordered = sorted(names, key=lambda name: _ORDER[self._dialer.health(name).up])
        begun = {name: tasks.create_task(self._in_turn(call, name, few), name=f"tools of {name}") for name in ordered}
        return {name: begun[name] for name in names}

    async def _in_turn(self, visit: Call, server: str, few: asyncio.Semaphore) -> Told:
        async with self._many:
            await few.acquire()
            loop = asyncio.get_running_loop()
            turn = loop.call_later(_MOMENT_SECONDS, few.release)  # however long this one takes
            try:
                return await self._ask(visit.ask(), server)
            finally:
                if turn.when() > loop.time():
                    turn.cancel()
                    few.release()

    async def _ask(self, call: Call, server: str) -> Told:
        """One server's tools as it described them, or why there are none."""
        try:
            async with asyncio.timeout(_SECONDS):
                tools = await list_tools(self._engine, call, server)
        except SidecarError as failure:
            return _told(server, error=failure.message)
        except TimeoutError:
            return _told(server, error=f"no answer within {_SECONDS:.0f} s")
        return _told(server, tools)


async def _stream(reply: Reply, asked: _Asked) -> None:
    reply.start(200, EVENTS)
    for answer in asyncio.as_completed(asked.values()):
        await reply.write(event(b"tools", msgspec.json.encode(await answer)))
    reply.end()


async def _document(reply: Reply, asked: _Asked) -> None:
    if asked:
        await asyncio.wait(asked.values(), timeout=_DOCUMENT_SECONDS)
    servers = [task.result() if task.done() else _told(name, pending=True) for name, task in asked.items()]
    reply.send(200, JSON, msgspec.json.encode({"servers": servers}))


def _told(server: str, tools: Sequence[bytes] = (), *, error: str = "", pending: bool = False) -> Told:
    return {"server": server, "tools": [msgspec.Raw(tool) for tool in tools], "error": error, "pending": pending}
