"""The demo MCP server on HTTP; knows Streamable HTTP of both eras, and leaves the answers to `dialogue`."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from mcp_sidecar.demo.catalogue import JsonObject
from mcp_sidecar.demo.dialogue import (
    HEADER_MISMATCH,
    INVALID_REQUEST,
    LEGACY,
    MODERN,
    Notify,
    Refused,
    answer,
    unsupported,
)
from mcp_sidecar.protocol import sse
from mcp_sidecar.wire.http_server import Listener, Reply, Request, fields
from mcp_sidecar.wire.limits import ServerLimits

_PARSE_ERROR = -32700
_JSON = fields((b"content-type", b"application/json"))
_SSE = fields(
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class DemoServer:
    """Handles the requests of one listener. `pace` is how many seconds a step of `countdown` takes."""

    def __init__(self, pace: float = 0.15) -> None:
        self._pace = pace

    async def handle(self, request: Request, reply: Reply) -> None:
        """Answer one HTTP request."""
        if request.head.path != "/mcp":
            reply.send(404, b"", b"")
        elif not _welcome(request.head.headers.get(b"origin")):
            reply.send(403, b"", b"")
        elif request.head.method != "POST":
            reply.send(405, fields((b"allow", b"POST")), b"")
        else:
            await self._message(request, reply)

    async def _message(self, request: Request, reply: Reply) -> None:
        message = _parsed(request.body)
        if message is None:
            return _send(reply, 400, None, {"error": {"code": _PARSE_ERROR, "message": "not a JSON object"}})
        if "id" not in message or "method" not in message:
            # A notification or a response: there is nothing to answer, and nothing here waits for either.
            return reply.send(202, b"", b"")
        modern = _modern(request)
        try:
            if modern:
                _check_headers(request, message)
            result = await answer(message, modern=modern, notify=_events(reply), pace=self._pace)
        except Refused as refused:
            return await _finish(reply, refused.status if modern else 200, message["id"], {"error": refused.error})
        return await _finish(reply, 200, message["id"], {"result": result})


@contextlib.asynccontextmanager
async def serving(port: int = 0, *, pace: float = 0.15) -> AsyncIterator[str]:
    """A demo server on the loopback interface; its URL. It is gone when the block ends. Raises OSError."""
    async with asyncio.TaskGroup() as tasks:
        listener = Listener(DemoServer(pace).handle, ServerLimits(), tasks, on_fault=_complain)
        try:
            host, bound = await listener.bind("127.0.0.1", port)
            yield f"http://{host}:{bound}/mcp"
        finally:
            await listener.close()


def _complain(fault: BaseException) -> None:
    print(f"demo server: {type(fault).__name__}: {fault}", file=sys.stderr)


def _welcome(origin: bytes | None) -> bool:
    """A web page may not call a server on this machine (MCP 2026-07-28, Streamable HTTP, "Security")."""
    return origin is None or urlsplit(origin.decode("latin-1")).hostname in _LOOPBACK


def _parsed(body: bytes) -> JsonObject | None:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _modern(request: Request) -> bool:
    """Clients of 2025 name one of their revisions or, with `initialize`, none (MCP 2026-07-28, "Versioning")."""
    version = request.head.headers.get(b"mcp-protocol-version")
    return version is not None and version.decode("latin-1") not in LEGACY


def _check_headers(request: Request, message: JsonObject) -> None:
    version = (request.head.headers.get(b"mcp-protocol-version") or b"").decode("latin-1")
    if version != MODERN:
        raise unsupported(version)
    params = message.get("params")
    if not isinstance(params, dict):
        raise Refused(INVALID_REQUEST, "params: expected an object")
    method = message["method"]
    stated: list[tuple[bytes, object]] = [(b"mcp-method", method)]
    if method in _NAMED_BY:
        stated.append((b"mcp-name", params.get(_NAMED_BY[method])))
    meta = params.get("_meta")
    if isinstance(meta, dict) and _VERSION_KEY in meta:
        stated.append((b"mcp-protocol-version", meta[_VERSION_KEY]))
    for name, value in stated:
        if _decoded(request.head.headers.get(name)) != value:
            raise Refused(HEADER_MISMATCH, f"header {name.decode()} does not match the message")


def _decoded(value: bytes | None) -> str | None:
    if value is None:
        return None
    text = value.decode("latin-1")
    if not (text.startswith("=?base64?") and text.endswith("?=")):
        return text
    try:
        return base64.b64decode(text[9:-2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _events(reply: Reply) -> Notify:
    async def notify(notification: JsonObject) -> None:
        # The first notification turns the answer into a stream; until then the status is still open.
        if not reply.started:
            reply.start(200, _SSE)
        await reply.write(sse.encode(_dump(notification)))

    return notify


async def _finish(reply: Reply, status: int, request_id: object, outcome: JsonObject) -> None:
    if not reply.started:
        return _send(reply, status, request_id, outcome)
    await reply.write(sse.encode(_dump({"jsonrpc": "2.0", "id": request_id, **outcome})))
    return reply.end()


def _send(reply: Reply, status: int, request_id: object, outcome: JsonObject) -> None:
    identity = {} if request_id is None else {"id": request_id}
    reply.send(status, _JSON, _dump({"jsonrpc": "2.0", **identity, **outcome}))


def _dump(message: JsonObject) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
