"""What the page can do where `admin.actions` is on: call a tool, close a connection. Knows no markup."""

from __future__ import annotations

import re
import time

import msgspec

from mcp_sidecar.admin.door import EVENTS, JSON, event
from mcp_sidecar.call import Call
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.errors import Denied, InvalidParams, NotFound, SidecarError, UnknownConnection
from mcp_sidecar.outbound.link import Ignore
from mcp_sidecar.outbound.pool import Pool
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.json_text import check_text
from mcp_sidecar.protocol.jsonrpc import Response
from mcp_sidecar.settings import AdminSettings
from mcp_sidecar.wire.http_server import Reply, Request

RPC_CALL = "admin/call"
RPC_CLOSE = "admin/close"
CLOSE = re.compile(r"/api/connections/([A-Za-z0-9-]{1,64})/close\Z")
_EVENTS = {"progressToken": b"1", eras.META_LOG_LEVEL: b'"info"'}
_NO_ARGUMENTS = msgspec.Raw(b"{}")


class _Wish(msgspec.Struct):
    server: str
    tool: str
    arguments: msgspec.Raw = _NO_ARGUMENTS


class _Aim(msgspec.Struct):
    """What the visitor takes a connection for; ids begin anew with every process."""

    process: str = ""
    server: str = ""


class _Shown(Ignore):
    """What a call says before its answer, as events; a slow page slows the call down."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def notify(self, method: str, message: bytes) -> None:
        name = b"progress" if method == "notifications/progress" else b"notification"
        await self._reply.write(event(name, message.replace(b"\n", b" ").replace(b"\r", b" ")))


class Deeds:
    """`POST /api/call` and `POST /api/connections/ID/close`."""

    def __init__(self, settings: AdminSettings, process: str, engine: Engine, pool: Pool) -> None:
        self._allowed = settings.actions
        self._process = process
        self._engine = engine
        self._pool = pool

    async def call(self, call: Call, request: Request, reply: Reply) -> None:
        """Run one tool; progress as it comes, then `result` or `failed`."""
        self._check()
        wish = _wish(request.body)
        call.method, call.name = eras.CALL_TOOL, wish.tool
        params = {"name": msgspec.json.encode(wish.tool), "arguments": bytes(wish.arguments)}
        message = jsonrpc.Request(eras.CALL_TOOL, b"1", params, modern_meta() | _EVENTS)
        # Refused at once, it is answered with a status.
        running = self._engine.run(call, message, wish.server, _Shown(reply))
        reply.start(200, EVENTS)
        try:
            response = await running
        except SidecarError as failure:
            said = {"error": failure.message, "reason": failure.reason, "execution": failure.execution.value}
            await reply.write(event(b"failed", msgspec.json.encode(said | _facts(call))))
            raise
        await reply.write(event(b"result", _answer(response, call)))
        reply.end()

    async def close(self, call: Call, request: Request, reply: Reply) -> None:
        """Close a connection once its calls have ended; nobody new is led to it."""
        self._check()
        match = CLOSE.match(request.head.path)
        if match is None:
            raise NotFound("there is no such page")
        call.name = match[1]
        aim = _aim(request.body)
        if aim.process not in ("", self._process):
            raise UnknownConnection("the sidecar was started again: the connection went with the process before")
        call.server = self._pool.row(match[1]).server
        if aim.server not in ("", call.server):
            raise UnknownConnection(f"connection {match[1]} leads to {call.server!r} and not to {aim.server!r}")
        row = self._pool.close(match[1], wait=True)
        reply.send(200, JSON, msgspec.json.encode({"id": row.id, "state": row.state.value}))

    def _check(self) -> None:
        if not self._allowed:
            raise Denied("the admin page may look and not act: set admin.actions to true")


def _wish(body: bytes) -> _Wish:
    """What the page wants called. Raises `InvalidParams` or another `InvalidCall`."""
    check_text(body)
    try:
        wish = msgspec.json.decode(body, type=_Wish)
    except (msgspec.DecodeError, RecursionError) as error:
        example = '{"server": "weather", "tool": "forecast", "arguments": {"city": "Oslo"}}'
        raise InvalidParams(f"the body must be like {example}") from error
    if not wish.server or not wish.tool:
        raise InvalidParams("name a server and a tool")
    jsonrpc.members(bytes(wish.arguments), "arguments")
    return wish


def _aim(body: bytes) -> _Aim:
    try:
        return msgspec.json.decode(body or b"{}", type=_Aim)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidParams('the body must be like {"server": "weather"}, or {}') from error


def _answer(response: Response, call: Call) -> bytes:
    """The result or the server's own error, byte for byte, and what became of the call."""
    member, value = ("error", response.error) if response.error is not None else ("result", response.result or b"{}")
    said = {member: msgspec.Raw(value.replace(b"\n", b" ").replace(b"\r", b" ")), "execution": "done"}
    return msgspec.json.encode(said | _facts(call))


def _facts(call: Call) -> dict[str, object]:
    return {
        "request_id": call.request_id,
        "trace_id": call.span.trace_id if call.span is not None else call.trace.trace_id,
        "connection_id": call.connection_id,
        "protocol_version": call.protocol_version,
        "duration_ms": round((time.monotonic() - call.started) * 1000, 2),
    }
