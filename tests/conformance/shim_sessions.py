"""The sessions of the shim: a 2025-era session over HTTP is one BiDiStream to the sidecar; knows frames and no HTTP."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc.aio

from mcp_sidecar.v1 import engine_pb2 as pb

if TYPE_CHECKING:
    from mcp_sidecar.v1.engine_pb2_grpc import MCPEngineAsyncStub

_END = b""


class Session:
    """One conversation. What the sidecar says goes to the POST it belongs to, or to the stream for everything else."""

    def __init__(self, engine: MCPEngineAsyncStub, server: str, version: str, tasks: asyncio.TaskGroup) -> None:
        self.id = secrets.token_hex(16)
        self._tasks = tasks
        self._call = engine.BiDiStream()
        self._turn = asyncio.Lock()  # gRPC breaks when two tasks write to one stream
        self._open = pb.Open(server=server, protocol_version=version)
        self._asked: dict[str, asyncio.Queue[bytes]] = {}
        self._tokens: dict[str, str] = {}
        self._unasked: asyncio.Queue[bytes] = asyncio.Queue()
        self._begun = False
        self._failure: grpc.aio.AioRpcError | None = None

    async def say(self, body: bytes) -> None:
        """Send a message that nothing comes back for."""
        async with self._turn:
            await self._call.write(pb.ClientFrame(message_json=body))

    async def ask(self, body: bytes, message: dict[str, Any]) -> AsyncIterator[bytes]:
        """Send a request; what belongs to it, and then its response. Raises `AioRpcError` when the stream has ended."""
        if not self._begun:
            self._begun = True
            await self._call.write(pb.ClientFrame(open=self._open))
            self._tasks.create_task(self._read(), name=f"session {self.id}")
        key = json.dumps(message["id"])
        queue = self._asked[key] = asyncio.Queue()
        token = json.dumps(message.get("params", {}).get("_meta", {}).get("progressToken"))
        self._tokens[token] = key
        try:
            await self.say(body)
            while (said := await queue.get()) != _END:
                yield said
                if "method" not in json.loads(said):
                    return
            if self._failure is not None:
                raise self._failure
        finally:
            del self._asked[key]
            self._tokens.pop(token, None)

    async def unasked(self) -> AsyncIterator[bytes]:
        """What belongs to no request, until the session ends."""
        while (said := await self._unasked.get()) != _END:
            yield said

    def end(self) -> None:
        self._call.cancel()

    async def _read(self) -> None:
        try:
            async for frame in self._call:
                if frame.HasField("message_json"):
                    self._queue_for(json.loads(frame.message_json)).put_nowait(frame.message_json)
        except grpc.aio.AioRpcError as failed:
            self._failure = failed
        finally:
            for queue in (self._unasked, *self._asked.values()):
                queue.put_nowait(_END)

    def _queue_for(self, message: dict[str, Any]) -> asyncio.Queue[bytes]:
        if "method" not in message:
            return self._asked.get(json.dumps(message.get("id")), self._unasked)
        token = json.dumps(message.get("params", {}).get("progressToken"))
        key = self._tokens.get(token) if token != "null" else None
        if key is None and len(self._asked) == 1 and not message["method"].endswith("list_changed"):
            (key,) = self._asked
        return self._unasked if key is None else self._asked[key]


class Sessions:
    """The sessions that live, by their ids."""

    def __init__(self, engine: MCPEngineAsyncStub, server: str, tasks: asyncio.TaskGroup) -> None:
        self._engine = engine
        self._server = server
        self._tasks = tasks
        self._living: dict[str, Session] = {}

    def begin(self, initialize: dict[str, Any]) -> Session:
        """A session in the revision that the client asks for."""
        version = initialize.get("params", {}).get("protocolVersion", "")
        session = Session(self._engine, self._server, version, self._tasks)
        self._living[session.id] = session
        return session

    def find(self, session_id: str) -> Session | None:
        return self._living.get(session_id)

    def end(self, session: Session) -> bool:
        """End it; true."""
        del self._living[session.id]
        session.end()
        return True
