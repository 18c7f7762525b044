"""`MCPEngine`: RPCs in, exchanges of the engine out. Knows no upstream and no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from mcp_sidecar import call as calls
from mcp_sidecar.engine.catalogue import list_tools, result_of
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.engine.listen import LOG_LEVEL
from mcp_sidecar.errors import Execution, InvalidCall, UpstreamProtocolError
from mcp_sidecar.inbound.chain import Chain
from mcp_sidecar.inbound.grpc.conversation import Conversation, Work
from mcp_sidecar.inbound.grpc.messages import complete, info, read_request, tool_request
from mcp_sidecar.inbound.grpc.metadata import REQUEST_ID, RpcCall
from mcp_sidecar.inbound.grpc.replies import Replies
from mcp_sidecar.inbound.grpc.server import serialized
from mcp_sidecar.inbound.grpc.writing import write
from mcp_sidecar.outbound.link import Ignore
from mcp_sidecar.outbound.pool import Pool
from mcp_sidecar.protocol import eras, outcome
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.protocol.session import check_level
from mcp_sidecar.settings import GrpcSettings
from mcp_sidecar.v1 import engine_pb2 as pb

_IGNORE = Ignore()


class _Events(Ignore):
    """Notifications to a stream of events; the write waits when the reader is slow."""

    def __init__(self, call: RpcCall) -> None:
        self._call = call

    async def notify(self, method: str, message: bytes) -> None:  # noqa: ARG002 - every sink is told the method
        await write(self._call.context, pb.CallEvent(notification_json=message))


class _Notifications(Ignore):
    """Notifications to the stream of `Stream`."""

    def __init__(self, call: RpcCall) -> None:
        self._call = call

    async def notify(self, method: str, message: bytes) -> None:  # noqa: ARG002 - every sink is told the method
        await write(self._call.context, pb.StreamResponse(notification_json=message, info=info(self._call)))


class EngineService:
    """Handlers get the request (or the stream of requests) and the call; see protos/mcp_sidecar/v1/engine.proto.

    `chain` goes around each request inside a conversation.
    """

    def __init__(
        self,
        engine: Engine,
        pool: Pool,
        settings: GrpcSettings,
        chain: Chain,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._engine = engine
        self._pool = pool
        self._settings = settings
        self._chain = chain
        self._run_inner = chain.around(_do)
        self._tasks = tasks
        self._replies = Replies()

    @serialized
    async def Call(self, message: pb.CallRequest, call: RpcCall) -> bytes:  # noqa: N802  # the RPC's name
        """One exchange; its notifications are dropped."""
        request = read_request(message, call, self._settings.max_message, events=False)
        response = await self._engine.run(call, request, message.server, _IGNORE)
        return self._replies.write(response.encode(response.id), call)

    async def CallStream(self, message: pb.CallRequest, call: RpcCall) -> None:  # noqa: N802
        """One exchange with its notifications, then the response."""
        await _begin(call)
        request = read_request(message, call, self._settings.max_message, events=True)
        response = await self._engine.run(call, request, message.server, _Events(call))
        final = pb.CallResponse(message_json=response.encode(response.id), info=info(call))
        await write(call.context, pb.CallEvent(response=final))

    async def Stream(self, message: pb.StreamRequest, call: RpcCall) -> None:  # noqa: N802
        """`subscriptions/listen`, whatever the server's era calls it."""
        await _begin(call)
        server = message.server
        if message.connection_id:
            server = self._server_of(message)
        response = await self._engine.run(call, _listen_request(message), server, _Notifications(call))
        result_of(response)

    def _server_of(self, message: pb.StreamRequest) -> str:
        row = self._pool.row(message.connection_id)
        if message.server not in ("", row.server):
            what = f"is a connection to {row.server!r}"
            raise InvalidCall(f"{message.connection_id!r} {what}", violations=(("connection_id", what),))
        return row.server

    async def BiDiStream(self, frames: AsyncIterator[pb.ClientFrame], call: RpcCall) -> None:  # noqa: N802
        """A conversation; each request inside it has its own log line and sample."""
        await _begin(call)
        inner = self._run_inner, self._chain.refused
        await Conversation(call, self._settings, self._engine, *inner, self._tasks).run(frames)

    async def ListTools(self, message: pb.ListToolsRequest, call: RpcCall) -> pb.ListToolsResponse:  # noqa: N802
        """Every page of `tools/list`."""
        tools = await list_tools(self._engine, call, message.server)
        return pb.ListToolsResponse(tools_json=tools, info=info(call))

    async def CallTool(self, message: pb.CallToolRequest, call: RpcCall) -> pb.CallToolResponse:  # noqa: N802
        """One tool call; a JSON-RPC error of the server is a status here."""
        request = tool_request(message, self._settings.max_message)
        response = await self._engine.run(call, request, message.server, _IGNORE)
        result = result_of(response, server=call.server, tool=message.tool)
        try:
            failed = outcome.failed(result)
        except msgspec.DecodeError as error:
            raise UpstreamProtocolError(
                "the MCP server's tool result cannot be read", execution=Execution.DONE
            ) from error
        return pb.CallToolResponse(is_error=failed, result_json=result, info=info(call))


async def _do(call: calls.Call, work: Work) -> Response:
    return await work(call)


async def _begin(call: RpcCall) -> None:
    """Send the headers first: only then does ending the stream work while a write is stuck (docs/decisions/0004)."""
    await call.context.send_initial_metadata(((REQUEST_ID, call.request_id),))


def _listen_request(message: pb.StreamRequest) -> Request:
    if message.log_level:
        check_level(message.log_level, "log_level")
    wanted: dict[str, object] = {}
    if message.tools_list_changed:
        wanted["toolsListChanged"] = True
    if message.prompts_list_changed:
        wanted["promptsListChanged"] = True
    if message.resources_list_changed:
        wanted["resourcesListChanged"] = True
    if message.resource_subscriptions:
        wanted["resourceSubscriptions"] = list(message.resource_subscriptions)
    if not wanted and not message.log_level:
        wanted = dict.fromkeys(("toolsListChanged", "promptsListChanged", "resourcesListChanged"), True)
    request = complete(Request(eras.LISTEN, params={"notifications": msgspec.json.encode(wanted)}))
    if message.log_level:
        return request.with_meta({LOG_LEVEL: msgspec.json.encode(message.log_level)})
    return request
