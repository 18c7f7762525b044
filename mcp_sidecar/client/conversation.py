"""A whole MCP conversation over one stream; knows frames, and no MCP method."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc.aio

from mcp_sidecar.client.messages import JsonObject, dump, load
from mcp_sidecar.client.statuses import from_status, translated
from mcp_sidecar.v1 import engine_pb2 as engine


class Conversation:
    """A whole MCP conversation over one stream: many requests in flight, answers in completion order.

    Messages are JSON-RPC objects, sent and received as they are. `draining` is set once the sidecar has said that it
    goes away: what is in flight still ends, requests sent after that are refused.
    """

    def __init__(
        self, call: grpc.aio.StreamStreamCall[engine.ClientFrame, engine.ServerFrame], request_id: str
    ) -> None:
        self._stream: grpc.aio.StreamStreamCall[engine.ClientFrame, engine.ServerFrame] | None = call
        self._request_id = request_id
        self._turn = asyncio.Lock()  # gRPC breaks when two tasks write to one stream
        self.server = ""
        self.protocol_version = ""
        self.draining: engine.Draining | None = None

    @property
    def _call(self) -> grpc.aio.StreamStreamCall[engine.ClientFrame, engine.ServerFrame]:
        if self._stream is None:
            raise RuntimeError("the conversation is over: its block was left")
        return self._stream

    def leave(self) -> None:
        """Cancel what is still in flight; `SidecarClient.conversation` does so at the end of its block."""
        call, self._stream = self._stream, None  # gRPC keeps the connection for as long as anybody holds the call
        if call is not None:
            call.cancel()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one JSON-RPC message. Raises `SidecarError` when the stream has ended."""
        await self._write(engine.ClientFrame(message_json=dump(message)))

    async def open(self, server: str, protocol_version: str) -> None:
        """Choose the server; `SidecarClient.conversation` has done so."""
        await self._write(engine.ClientFrame(open=engine.Open(server=server, protocol_version=protocol_version)))

    async def receive(self) -> JsonObject:
        """The next JSON-RPC message. Raises EOFError after the last one, `SidecarError` when the stream broke."""
        with translated(self._request_id):
            while True:
                frame = await self._call.read()
                if not isinstance(frame, engine.ServerFrame):
                    raise EOFError("the sidecar ended the conversation")  # noqa: TRY004 - it is gRPC's end mark
                if frame.HasField("message_json"):
                    return load(frame.message_json)
                self._note(frame)

    async def __aiter__(self) -> AsyncIterator[JsonObject]:
        with contextlib.suppress(EOFError):
            while True:
                yield await self.receive()

    async def finish(self) -> None:
        """Say that no message follows; answers to what is in flight can still be received."""
        await self._call.done_writing()

    def _note(self, frame: engine.ServerFrame) -> None:
        if frame.HasField("opened"):
            self.server, self.protocol_version = frame.opened.server, frame.opened.protocol_version
        elif frame.HasField("draining"):
            self.draining = frame.draining

    async def _write(self, frame: engine.ClientFrame) -> None:
        with translated(self._request_id):
            try:
                async with self._turn:
                    await self._call.write(frame)
            except asyncio.InvalidStateError as ended:
                raise from_status(
                    await self._call.code(),
                    await self._call.details(),
                    await self._call.trailing_metadata(),
                    self._request_id,
                ) from ended
