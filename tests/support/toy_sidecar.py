"""A real gRPC server with both of our services and the demo server's answers; knows nothing of upstreams and HTTP.

It fails on purpose where a test asks for it, with the statuses, details and trailers of the real one.
"""

# ruff: noqa: N802 - gRPC methods are named by their proto

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from mcp_sidecar.demo import dialogue
from mcp_sidecar.v1 import connections_pb2 as connections
from mcp_sidecar.v1 import connections_pb2_grpc, engine_pb2_grpc
from mcp_sidecar.v1 import engine_pb2 as engine

PATIENCE = 5.0
DETAILS = "grpc-status-details-bin"
EXECUTION = "mcp-sidecar-execution"


class ToySidecar(engine_pb2_grpc.MCPEngineServicer, connections_pb2_grpc.ConnectionManagerServicer):
    """Serves the MCP server `demo`; `down` cannot be reached, and any other name is unknown.

    `executions` are the tools that ran, `cancelled` those whose caller left, `metadata` what came with each RPC.
    `failures` more RPCs end UNAVAILABLE without a word of explanation, as when a connection breaks.
    """

    def __init__(self, pace: float = 0.001, token: str = "") -> None:
        self.pace = pace
        self.token = token
        self.failures = 0
        self.executions: list[str] = []
        self.cancelled: list[str] = []
        self.metadata: list[dict[str, str]] = []
        self.pushed: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.changes: asyncio.Queue[connections.Connection] = asyncio.Queue()
        self.connection = connections.Connection(
            id="c-1",
            server="demo",
            endpoint="127.0.0.1:8000",
            transport="http",
            era="modern",
            protocol_version="2026-07-28",
            state=connections.CONNECTION_STATE_CONNECTED,
            since=Timestamp(seconds=1_790_000_000),
            calls=7,
        )

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until it is true, within a bound."""
        async with asyncio.timeout(PATIENCE):
            while not true():  # noqa: ASYNC110 - what is waited for are plain lists
                await asyncio.sleep(0.002)

    # -- MCPEngine -----------------------------------------------------------------------------------------------------

    async def ListTools(self, request: engine.ListToolsRequest, context: Any) -> engine.ListToolsResponse:
        await self._admit(context, request.server)
        result = await self._answer("tools/list", {})
        return engine.ListToolsResponse(tools_json=[_dump(tool) for tool in result["tools"]], info=self._info())

    async def CallTool(self, request: engine.CallToolRequest, context: Any) -> engine.CallToolResponse:
        await self._admit(context, request.server)
        params = {"name": request.tool, "arguments": json.loads(request.arguments_json or b"{}")}
        if request.meta_json:
            params["_meta"] = json.loads(request.meta_json)
        try:
            result = await self._answer("tools/call", params)
        except dialogue.Refused as refused:
            metadata = {"jsonrpc_code": str(refused.error["code"])}
            await abort(context, "INVALID_ARGUMENT", str(refused), "UPSTREAM_REFUSED", "done", metadata=metadata)
            raise AssertionError from refused  # abort has raised
        return engine.CallToolResponse(
            is_error=result.get("isError", False), result_json=_dump(result), info=self._info()
        )

    async def Call(self, request: engine.CallRequest, context: Any) -> engine.CallResponse:
        await self._admit(context, request.server)
        return engine.CallResponse(message_json=await self._message(request.message_json), info=self._info())

    async def CallStream(self, request: engine.CallRequest, context: Any) -> AsyncIterator[engine.CallEvent]:
        await self._admit(context, request.server)
        await context.send_initial_metadata(())
        notifications: asyncio.Queue[bytes] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            answered = tasks.create_task(self._message(request.message_json, notifications), name="answer")
            while not (answered.done() and notifications.empty()):
                waiting = tasks.create_task(notifications.get(), name="next notification")
                await asyncio.wait({waiting, answered}, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    yield engine.CallEvent(notification_json=waiting.result())
                waiting.cancel()
        yield engine.CallEvent(response=engine.CallResponse(message_json=answered.result(), info=self._info()))

    async def Stream(self, request: engine.StreamRequest, context: Any) -> AsyncIterator[engine.StreamResponse]:
        await self._admit(context, request.server)
        wanted = {"toolsListChanged": request.tools_list_changed, "uris": list(request.resource_subscriptions)}
        yield engine.StreamResponse(
            notification_json=_dump({"method": "notifications/subscriptions/acknowledged", "params": wanted})
        )
        try:
            while True:
                yield engine.StreamResponse(notification_json=_dump(await self.pushed.get()))
        finally:
            self.cancelled.append("Stream")

    async def BiDiStream(self, request_iterator: Any, context: Any) -> AsyncIterator[engine.ServerFrame]:
        async for frame in request_iterator:
            if frame.HasField("open"):
                await self._admit(context, frame.open.server)
                yield engine.ServerFrame(opened=engine.Opened(server="demo", protocol_version="2026-07-28"))
            elif json.loads(frame.message_json).get("method") == "notifications/cancelled":
                yield engine.ServerFrame(draining=engine.Draining(grace_ms=1500, reason="going away"))
            else:
                yield engine.ServerFrame(message_json=await self._message(frame.message_json), info=self._info())

    # -- ConnectionManager ---------------------------------------------------------------------------------------------

    async def ListServers(self, request: Any, context: Any) -> connections.ListServersResponse:
        await self._admit(context)
        up = connections.Server(
            name="demo",
            url="http://127.0.0.1:8000/mcp",
            transport="http",
            state=connections.SERVER_STATE_UP,
            endpoints=[
                connections.Endpoint(
                    address="127.0.0.1:8000", protocol_version="2026-07-28", state=connections.ENDPOINT_STATE_READY
                ),
                connections.Endpoint(address="127.0.0.1:8001", state=connections.ENDPOINT_STATE_LEAVING),
            ],
            connections=1,
            origin="Service tools/demo",
        )
        down = connections.Server(
            name="down", url="http://127.0.0.1:9/mcp", state=connections.SERVER_STATE_DOWN, last_error="refused"
        )
        return connections.ListServersResponse(servers=[up, down])

    async def ListConnections(self, request: Any, context: Any) -> connections.ListConnectionsResponse:
        await self._admit(context)
        return connections.ListConnectionsResponse(connections=[self.connection])

    async def GetConnection(self, request: Any, context: Any) -> connections.GetConnectionResponse:
        await self._connection(request.connection_id, context)
        return connections.GetConnectionResponse(connection=self.connection)

    async def OpenConnection(self, request: Any, context: Any) -> connections.OpenConnectionResponse:
        await self._admit(context, request.server)
        return connections.OpenConnectionResponse(connection=self.connection)

    async def CloseConnection(self, request: Any, context: Any) -> connections.CloseConnectionResponse:
        await self._connection(request.connection_id, context)
        self.connection.state = connections.CONNECTION_STATE_CLOSED
        return connections.CloseConnectionResponse(connection=self.connection)

    async def RefreshServer(self, request: Any, context: Any) -> connections.RefreshServerResponse:
        await self._admit(context, request.server)
        return connections.RefreshServerResponse(server=connections.Server(name=request.server), tools=4)

    async def WatchConnections(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._admit(context)
        yield connections.WatchConnectionsResponse(connection=self.connection, initial=True)
        while True:
            yield connections.WatchConnectionsResponse(connection=await self.changes.get())

    # -- inside --------------------------------------------------------------------------------------------------------

    async def _admit(self, context: Any, server: str = "demo") -> None:
        self.metadata.append(dict(context.invocation_metadata()))
        if self.token and self.metadata[-1].get("authorization") != f"Bearer {self.token}":
            await abort(context, "UNAUTHENTICATED", "no valid token", "UNAUTHENTICATED", "none")
        if self.failures:
            self.failures -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if server == "down":
            await abort(context, "UNAVAILABLE", "down: refused", "UPSTREAM_UNAVAILABLE", "none", retry_after=2)
        if server not in {"", "demo"}:
            await abort(context, "NOT_FOUND", f"no server {server}", "UNKNOWN_SERVER", "none", field="server")

    async def _connection(self, connection_id: str, context: Any) -> None:
        await self._admit(context)
        if connection_id != self.connection.id:
            await abort(context, "NOT_FOUND", f"no connection {connection_id}", "UNKNOWN_CONNECTION", "none")

    async def _message(self, message: bytes, notifications: asyncio.Queue[bytes] | None = None) -> bytes:
        request = json.loads(message)
        try:
            outcome = {"result": await self._answer(request["method"], request["params"], notifications)}
        except dialogue.Refused as refused:
            outcome = {"error": {**refused.error, "data": {"asked": request["method"]}}}
        return _dump({"jsonrpc": "2.0", "id": request.get("id"), **outcome})

    async def _answer(self, method: str, params: dict[str, Any], notifications: Any = None) -> dict[str, Any]:
        async def notify(notification: dict[str, Any]) -> None:
            if notifications is not None:
                notifications.put_nowait(_dump(notification))

        if method == "tools/call":
            self.executions.append(params["name"])
        try:
            request = {"method": method, "params": params}
            return await dialogue.answer(request, modern=False, notify=notify, pace=self.pace)
        except asyncio.CancelledError:
            self.cancelled.append(params.get("name", method))
            raise

    def _info(self) -> engine.CallInfo:
        request_id = self.metadata[-1].get("x-request-id", "")
        return engine.CallInfo(request_id=request_id, server="demo", execution=engine.EXECUTION_DONE)


async def abort(
    context: Any,
    code: str,
    message: str,
    reason: str,
    execution: str,
    *,
    metadata: dict[str, str] | None = None,
    field: str = "",
    retry_after: int = 0,
) -> None:
    """End the RPC as the real sidecar does."""
    status = grpc.StatusCode[code]
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain="mcp-sidecar", metadata=metadata)]
    if retry_after:
        details.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry_after)))
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description="not known")
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    rich = status_pb2.Status(code=status.value[0], message=message, details=packed)
    context.set_trailing_metadata(((EXECUTION, execution), (DETAILS, rich.SerializeToString())))
    await context.abort(status, message)


@contextlib.asynccontextmanager
async def toy_sidecar(
    address: str = "127.0.0.1:0", *, pace: float = 0.001, token: str = ""
) -> AsyncIterator[tuple[ToySidecar, str]]:
    """A running toy and its address."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    toy = ToySidecar(pace, token)
    engine_pb2_grpc.add_MCPEngineServicer_to_server(toy, server)
    connections_pb2_grpc.add_ConnectionManagerServicer_to_server(toy, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield toy, address if address.startswith("unix:") else f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def _dump(value: object) -> bytes:
    return json.dumps(value).encode()
