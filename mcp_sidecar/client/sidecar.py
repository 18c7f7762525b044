"""The client itself: one method an RPC; knows what each one sends and returns."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Self, TypeVar

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mcp_sidecar import errors
from mcp_sidecar.client.channel import CHANNEL_OPTIONS
from mcp_sidecar.client.conversation import Conversation
from mcp_sidecar.client.messages import JsonObject, ToolResult, dump, load, member, result_of, tool_result
from mcp_sidecar.client.statuses import translated
from mcp_sidecar.errors import Execution
from mcp_sidecar.v1 import connections_pb2 as connections
from mcp_sidecar.v1 import engine_pb2 as engine
from mcp_sidecar.v1.connections_pb2 import Connection, Server
from mcp_sidecar.v1.connections_pb2_grpc import ConnectionManagerStub
from mcp_sidecar.v1.engine_pb2_grpc import MCPEngineStub

DEFAULT_ADDRESS = "127.0.0.1:15051"

Request = TypeVar("Request")
Answer = TypeVar("Answer")
OnNotification = Callable[[JsonObject], Awaitable[None] | None]

_PROTOCOL_VERSION = "2026-07-28"


class SidecarClient:
    """One channel to a sidecar: `async with SidecarClient() as mcp: await mcp.call_tool("weather", "forecast", {...})`.

    `address` is `host:port` or `unix:///path`; `token` is sent as a bearer token; `request_timeout` is in seconds and
    holds for every call that is given no `timeout` of its own (streams without an end have none).

    Every method raises a `SidecarError` of `mcp_sidecar.errors` (or `McpError`, `SidecarUnreachable`) whose `execution`
    says whether the call may have run and whose `request_id` finds it in the sidecar's log. A tool call is never
    repeated.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, token: str | None = None, request_timeout: float = 60
    ) -> None:
        self.address = address
        self._authorization = () if token is None else (("authorization", f"Bearer {token}"),)
        self._request_timeout = request_timeout
        self._progress_tokens = itertools.count(1)
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        self._engine = MCPEngineStub(self._channel)
        self._connections = ConnectionManagerStub(self._channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._channel is not None:
            await self._channel.close(None)

    # -- MCP ---------------------------------------------------------------------------------------------------------

    async def list_tools(self, server: str = "") -> list[JsonObject]:
        """Every tool of `server` (empty: the only one), as the server describes it, all pages."""
        answer = await self._unary(self._engine.ListTools, engine.ListToolsRequest(server=server))
        return [load(tool) for tool in answer.tools_json]

    async def call_tool(
        self,
        server: str,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        on_notification: OnNotification | None = None,
    ) -> ToolResult:
        """Call one tool once. A tool's own failure is a result with `is_error`, not an exception.

        `meta` is merged into `params._meta`. `on_notification` gets the progress and log notifications of this call,
        in order, before the result.
        """
        if on_notification is not None:
            params: JsonObject = {"name": tool, "arguments": dict(arguments or {}), "_meta": dict(meta or {})}
            response = await self._exchange(server, "tools/call", params, timeout, on_notification)
            result_of(response)
            return tool_result(member(response.message_json, "result"), response.info)
        answer = await self._unary(
            self._engine.CallTool,
            engine.CallToolRequest(
                server=server,
                tool=tool,
                arguments_json=dump(arguments) if arguments else b"",
                meta_json=dump(meta) if meta else b"",
            ),
            timeout,
        )
        return tool_result(answer.result_json, answer.info)

    async def request(
        self,
        server: str,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        on_notification: OnNotification | None = None,
    ) -> JsonObject:
        """Any MCP request; the `result` object. Raises `McpError` when the answer is a JSON-RPC error."""
        return result_of(await self._exchange(server, method, dict(params or {}), timeout, on_notification))

    async def notifications(
        self,
        server: str = "",
        *,
        connection_id: str = "",
        lists: bool = True,
        resources: Iterable[str] = (),
        log_level: str = "",
    ) -> AsyncIterator[JsonObject]:
        """What the server says by itself, until the caller stops: first the acknowledgement, then every notification.

        `lists` asks for changes of the tool, prompt and resource lists, `resources` for updates of these URIs,
        `log_level` for logs of a 2025-era server from that level up.
        """
        request = engine.StreamRequest(
            server=server,
            connection_id=connection_id,
            tools_list_changed=lists,
            prompts_list_changed=lists,
            resources_list_changed=lists,
            resource_subscriptions=list(resources),
            log_level=log_level,
        )
        async with self._stream(self._engine.Stream, request) as messages:
            async for message in messages:
                yield load(message.notification_json)

    @contextlib.asynccontextmanager
    async def conversation(self, server: str = "", *, protocol_version: str = "") -> AsyncIterator[Conversation]:
        """An MCP conversation with `server`; leaving the block cancels what is still in flight."""
        metadata, request_id = self._metadata()
        talk = Conversation(self._engine.BiDiStream(None, metadata=metadata), request_id)
        try:
            await talk.open(server, protocol_version)
            yield talk
        finally:
            talk.leave()

    # -- the sidecar itself -------------------------------------------------------------------------------------------

    async def phase(self) -> str:
        """`starting`, `serving` or `draining`, from its health; empty where that cannot be told."""
        try:
            if await self._healthy("readiness"):
                return "serving"
            return "draining" if await self._healthy("startup") else "starting"
        except grpc.aio.AioRpcError:
            return ""

    async def _healthy(self, service: str) -> bool:
        stub = health_pb2_grpc.HealthStub(self._channel)  # type: ignore[no-untyped-call]  # generated without types
        request = health_pb2.HealthCheckRequest(service=service)
        answer = await stub.Check(request, metadata=self._metadata()[0], timeout=self._request_timeout)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    # -- servers and connections -------------------------------------------------------------------------------------

    async def list_servers(self) -> list[Server]:
        """Every MCP server the sidecar knows."""
        return list((await self._unary(self._connections.ListServers, connections.ListServersRequest())).servers)

    async def list_connections(self, server: str = "") -> list[Connection]:
        """The connections to `server`, or to every server."""
        request = connections.ListConnectionsRequest(server=server)
        return list((await self._unary(self._connections.ListConnections, request)).connections)

    async def get_connection(self, connection_id: str) -> Connection:
        """One connection. Raises `UnknownConnection`."""
        request = connections.GetConnectionRequest(connection_id=connection_id)
        return (await self._unary(self._connections.GetConnection, request)).connection

    async def open_connection(self, server: str) -> Connection:
        """Open a connection to `server`, or find the one that is open."""
        request = connections.OpenConnectionRequest(server=server)
        return (await self._unary(self._connections.OpenConnection, request)).connection

    async def close_connection(self, connection_id: str, *, wait: bool = False) -> Connection:
        """Close a connection; with `wait`, after the calls in flight on it have ended."""
        request = connections.CloseConnectionRequest(connection_id=connection_id, wait=wait)
        return (await self._unary(self._connections.CloseConnection, request)).connection

    async def refresh_server(self, server: str) -> Server:
        """Make the sidecar forget what it knows of `server` and ask it again."""
        request = connections.RefreshServerRequest(server=server)
        return (await self._unary(self._connections.RefreshServer, request)).server

    async def watch_connections(self, server: str = "") -> AsyncIterator[connections.WatchConnectionsResponse]:
        """The connections as they are (`initial` is true), then each one after every change, until the caller stops."""
        request = connections.WatchConnectionsRequest(server=server)
        async with self._stream(self._connections.WatchConnections, request) as changes:
            async for change in changes:
                yield change

    # -- the wire ----------------------------------------------------------------------------------------------------

    def _metadata(self) -> tuple[tuple[tuple[str, str], ...], str]:
        request_id = secrets.token_hex(16)
        return (("x-request-id", request_id), *self._authorization), request_id

    def _limit(self, timeout: float | None) -> float:
        return self._request_timeout if timeout is None else timeout

    async def _unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Answer],
        request: Request,
        timeout: float | None = None,
    ) -> Answer:
        metadata, request_id = self._metadata()
        with translated(request_id):
            return await method(request, metadata=metadata, timeout=self._limit(timeout))

    @contextlib.asynccontextmanager
    async def _stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Answer],
        request: Request,
        timeout: float | None = None,
    ) -> AsyncIterator[AsyncIterable[Answer]]:
        metadata, request_id = self._metadata()
        call = method(request, metadata=metadata, timeout=timeout)
        try:
            with translated(request_id):
                yield call
        finally:
            call.cancel()

    async def _exchange(
        self,
        server: str,
        method: str,
        params: JsonObject,
        timeout: float | None,
        on_notification: OnNotification | None,
    ) -> engine.CallResponse:
        meta = {
            "io.modelcontextprotocol/protocolVersion": _PROTOCOL_VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
            **params.get("_meta", {}),
        }
        if on_notification is not None:
            # Servers report progress only to those who name a token.
            meta.setdefault("progressToken", next(self._progress_tokens))
        body = dump({"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}})
        request = engine.CallRequest(server=server, message_json=body)
        response: engine.CallResponse | None = None
        async with self._stream(self._engine.CallStream, request, self._limit(timeout)) as events:
            # To the end, though nothing follows the response: a stream left early is a cancelled call to the sidecar.
            async for event in events:
                if event.HasField("response"):
                    response = event.response
                elif on_notification is not None:
                    done = on_notification(load(event.notification_json))
                    if inspect.isawaitable(done):
                        await done
        if response is None:
            message = "the sidecar ended the call without a response"
            raise errors.UpstreamProtocolError(message, execution=Execution.UNKNOWN)
        return response
