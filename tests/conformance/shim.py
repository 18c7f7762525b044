"""Streamable HTTP in, the sidecar's gRPC API out, so that a suite that speaks HTTP can judge gRPC.

`python -m tests.conformance.shim PORT GRPC_ADDRESS SERVER call-stream|conversation`. As thin as it can be: a body goes
to the sidecar as it is, what comes back becomes JSON or events, a status becomes what MCP has for it. Headers go with a
`CallStream` as metadata, and the sidecar judges them. The messages of a conversation have none: there the shim sees to
it that they are there, and nobody that they are right.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc.aio
import uvicorn
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mcp_sidecar.v1 import engine_pb2 as pb
from mcp_sidecar.v1.engine_pb2_grpc import MCPEngineStub
from tests.conformance.shim_sessions import Session, Sessions

if TYPE_CHECKING:
    from mcp_sidecar.v1.engine_pb2_grpc import MCPEngineAsyncStub

Messages = AsyncIterator[bytes]

# MCP 2026-07-28, basic/transports/streamable-http: the HTTP statuses of JSON-RPC errors.
_HTTP = {-32700: 400, -32600: 400, -32602: 400, -32020: 400, -32021: 400, -32022: 400, -32601: 404}
# The JSON-RPC errors behind the sidecar's own reasons.
_CODES = {
    "MALFORMED_MESSAGE": -32700,
    "INVALID_CALL": -32600,
    "INVALID_PARAMS": -32602,
    "UNSUPPORTED_VERSION": -32022,
    "UNKNOWN_METHOD": -32601,
    "HEADER_MISMATCH": -32020,
}
_HEADER_MISMATCH = -32020
_NAMING = {"tools/call", "resources/read", "prompts/get"}


class Shim:
    """One endpoint in front of one server of one sidecar."""

    def __init__(
        self, engine: MCPEngineAsyncStub, server: str, tasks: asyncio.TaskGroup, *, conversations: bool
    ) -> None:
        self._engine = engine
        self._server = server
        self._conversations = conversations
        self._sessions = Sessions(engine, server, tasks)

    async def answer(self, request: Request) -> Response:
        """Whatever comes in over HTTP."""
        if self._conversations and request.headers.get("mcp-protocol-version", "2025")[:4] in {"2024", "2025"}:
            return await self._in_session(request)
        if request.method != "POST":
            return Response(status_code=405, headers={"Allow": "POST"})
        body = await request.body()
        message = _read(body)
        if message is not None and "id" not in message:
            return Response(status_code=202)  # no RPC carries a notification of a client that has no conversation
        if not self._conversations:
            return await _answer(self._stream(body, request), message)
        if message is not None and (missing := _missing(message.get("method"), request)):
            error = {"code": _HEADER_MISMATCH, "message": f"{missing} is missing"}
            return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error}, status_code=400)
        return await _answer(self._converse(body), message)

    async def _stream(self, body: bytes, request: Request) -> Messages:
        stated = tuple((name, value) for name, value in request.headers.items() if name.startswith("mcp-"))
        call = self._engine.CallStream(pb.CallRequest(server=self._server, message_json=body), metadata=stated)
        async for event in call:
            yield event.notification_json or event.response.message_json

    async def _converse(self, body: bytes) -> Messages:
        """A conversation of one request, as befits a revision without sessions."""
        call = self._engine.BiDiStream()
        await call.write(pb.ClientFrame(open=pb.Open(server=self._server, protocol_version="2026-07-28")))
        await call.write(pb.ClientFrame(message_json=body))
        await call.done_writing()
        async for frame in call:
            if frame.HasField("message_json"):
                yield frame.message_json

    async def _in_session(self, request: Request) -> Response:
        session = self._sessions.find(request.headers.get("mcp-session-id", ""))
        if request.method == "DELETE":
            return Response(status_code=200 if session and self._sessions.end(session) else 404)
        if request.method == "GET":
            return _events(session.unasked()) if session else Response(status_code=404)
        body = await request.body()
        message = _read(body)
        if message is not None and message.get("method") == "initialize":
            session = self._sessions.begin(message)
            response = await _answer(session.ask(body, message), message)
            response.headers["Mcp-Session-Id"] = session.id
            return response
        if session is None:
            return Response(status_code=404 if "mcp-session-id" in request.headers else 400)
        return await _in(session, body, message)


async def _in(session: Session, body: bytes, message: dict[str, Any] | None) -> Response:
    if message is None or "id" not in message or "method" not in message:
        await session.say(body)
        return Response(status_code=202)
    return await _answer(session.ask(body, message), message)


async def _answer(messages: Messages, message: dict[str, Any] | None) -> Response:
    """JSON when the first thing that comes is the response, else events: a status cannot be changed once it is sent."""
    try:
        first = await anext(messages)
    except grpc.aio.AioRpcError as failed:
        error = _error(failed)
        answer = {"jsonrpc": "2.0", "id": (message or {}).get("id"), "error": error}
        return JSONResponse(answer, status_code=_HTTP.get(error["code"], 502))
    read = json.loads(first)
    if "method" not in read:
        await messages.aclose()  # type: ignore[attr-defined]  # they are generators
        status = _HTTP.get(read["error"]["code"], 200) if "error" in read else 200
        return Response(first, status_code=status, media_type="application/json")
    return _events(_after(first, messages))


async def _after(first: bytes, messages: Messages) -> Messages:
    yield first
    async for message in messages:
        yield message


def _events(messages: Messages) -> Response:
    async def written() -> AsyncIterator[bytes]:
        async for message in messages:
            yield b"event: message\ndata: %b\n\n" % message

    return StreamingResponse(written(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


def _read(body: bytes) -> dict[str, Any] | None:
    """The message, if it is one: the sidecar has to say what is wrong with anything else."""
    try:
        read = json.loads(body)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def _missing(method: object, request: Request) -> str:
    """The header that this request ought to have and has not."""
    wanted = ["mcp-method", *(["mcp-name"] if method in _NAMING else [])]
    return next((name for name in wanted if name not in request.headers), "")


def _error(failed: grpc.aio.AioRpcError) -> dict[str, Any]:
    """The JSON-RPC error behind a status."""
    packed = dict(failed.trailing_metadata()).get("grpc-status-details-bin", b"")
    info = ErrorInfo()
    for detail in Status.FromString(bytes(packed)).details:
        detail.Unpack(info)
    code = _CODES.get(info.reason, -32603)
    error: dict[str, Any] = {"code": code, "message": failed.details()}
    if info.reason == "UNSUPPORTED_VERSION":
        supported = info.metadata.get("supported", "")
        error["data"] = {
            "requested": info.metadata["requested"],
            "supported": supported.split(", ") if supported else [],
        }
    return error


def main(port: int, address: str, server: str, rpc: str) -> None:
    async def serve() -> None:
        async with asyncio.TaskGroup() as tasks, grpc.aio.insecure_channel(address) as channel:
            shim = Shim(MCPEngineStub(channel), server, tasks, conversations=rpc == "conversation")
            route = Route("/mcp", shim.answer, methods=["GET", "POST", "DELETE"])
            guard = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
            app = Starlette(routes=[route], middleware=[guard])
            config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", http="h11")
            await uvicorn.Server(config).serve()

    asyncio.run(serve())


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:5])
