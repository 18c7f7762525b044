"""`ConnectionManager`: what the sidecar knows of servers and holds of connections, to see and to steer. No MCP here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from mcp_sidecar import shown
from mcp_sidecar.call import Deadline
from mcp_sidecar.directory import AnyEndpoint, Directory, Upstream
from mcp_sidecar.engine.catalogue import list_tools
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.errors import DeadlineExceeded, Draining, SendQueueFull
from mcp_sidecar.inbound.grpc.metadata import REQUEST_ID, RpcCall
from mcp_sidecar.inbound.grpc.writing import write
from mcp_sidecar.lifecycle import Lifecycle, Phase
from mcp_sidecar.outbound.connection import Row, State
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.v1 import connections_pb2 as pb

_MAX_UNREAD = 1000
_STATES: Mapping[State, pb.ConnectionState] = {
    State.CONNECTING: pb.CONNECTION_STATE_CONNECTING,
    State.CONNECTED: pb.CONNECTION_STATE_CONNECTED,
    State.DISCONNECTED: pb.CONNECTION_STATE_DISCONNECTED,
    State.CLOSED: pb.CONNECTION_STATE_CLOSED,
}
_UP: Mapping[bool | None, pb.ServerState] = {
    None: pb.SERVER_STATE_UNKNOWN,
    True: pb.SERVER_STATE_UP,
    False: pb.SERVER_STATE_DOWN,
}


class ConnectionService:
    """Handlers get the request and the call; see protos/mcp_sidecar/v1/connections.proto."""

    def __init__(self, directory: Directory, dialer: Dialer, engine: Engine, lifecycle: Lifecycle) -> None:
        self._directory = directory
        self._dialer = dialer
        self._pool = dialer.pool
        self._engine = engine
        self._lifecycle = lifecycle

    async def ListServers(self, _request: pb.ListServersRequest, _call: RpcCall) -> pb.ListServersResponse:  # noqa: N802
        """Every upstream, in the order of the configuration."""
        return pb.ListServersResponse(servers=[self._server(one) for one in self._directory.snapshot.values()])

    async def ListConnections(  # noqa: N802
        self, request: pb.ListConnectionsRequest, _call: RpcCall
    ) -> pb.ListConnectionsResponse:
        """Every connection, oldest first."""
        if request.server:
            self._directory.find(request.server)
        rows = [row for row in self._pool.rows() if request.server in ("", row.server)]
        return pb.ListConnectionsResponse(connections=[_connection(row) for row in rows])

    async def GetConnection(self, request: pb.GetConnectionRequest, _call: RpcCall) -> pb.GetConnectionResponse:  # noqa: N802
        """One connection by its id."""
        return pb.GetConnectionResponse(connection=_connection(self._pool.row(request.connection_id)))

    async def OpenConnection(self, request: pb.OpenConnectionRequest, call: RpcCall) -> pb.OpenConnectionResponse:  # noqa: N802
        """Open a connection ahead of its first call."""
        upstream = self._directory.find(request.server)
        call.server = upstream.name
        deadline = Deadline.after(upstream.settings.timeout.call).sooner(call.deadline)
        try:
            async with asyncio.timeout(deadline.remaining()):
                connection = await self._dialer.lease(upstream, b"{}", deadline)
        except TimeoutError as error:
            message = f"the MCP server {upstream.name!r} did not answer in time"
            raise DeadlineExceeded(message, metadata={"server": upstream.name}) from error
        self._dialer.give_back(upstream, connection)
        return pb.OpenConnectionResponse(connection=_connection(self._pool.row(connection.id)))

    async def CloseConnection(self, request: pb.CloseConnectionRequest, _call: RpcCall) -> pb.CloseConnectionResponse:  # noqa: N802
        """Close a connection now, or with `wait` when its calls have ended."""
        row = self._pool.close(request.connection_id, wait=request.wait)
        if request.wait:
            row = await self._closed(row)
        return pb.CloseConnectionResponse(connection=_connection(row))

    async def _closed(self, row: Row) -> Row:
        """The row once it says closed; the caller's deadline bounds the wait."""
        if row.state is State.CLOSED:
            return row
        closed: asyncio.Future[Row] = asyncio.get_running_loop().create_future()

        def look(changed: Row) -> None:
            if changed.id == row.id and changed.state is State.CLOSED and not closed.done():
                closed.set_result(changed)

        unwatch = self._pool.watch(look)
        try:
            return await closed
        finally:
            unwatch()

    async def RefreshServer(self, request: pb.RefreshServerRequest, call: RpcCall) -> pb.RefreshServerResponse:  # noqa: N802
        """Forget the server's era and its connections, and list its tools anew."""
        upstream = self._directory.find(request.server)
        for endpoint in upstream.all:
            self._dialer.prober.forget(endpoint)
        self._pool.close_upstream(upstream.name)
        self._engine.offers.forget(upstream.name)
        tools = await list_tools(self._engine, call, upstream.name)
        return pb.RefreshServerResponse(server=self._server(upstream), tools=len(tools))

    async def WatchConnections(self, request: pb.WatchConnectionsRequest, call: RpcCall) -> None:  # noqa: N802
        """The connections there are, then every change, until the client leaves or the sidecar drains."""
        if request.server:
            self._directory.find(request.server)
        if not self._lifecycle.admitting:
            self._lifecycle.refuse()
            raise Draining("the sidecar is shutting down", retry_after=1.0)
        changes: asyncio.Queue[Row | None] = asyncio.Queue(_MAX_UNREAD)
        unwatch = self._pool.watch(lambda row: _offer(changes, row))
        unsubscribe = self._lifecycle.subscribe(
            lambda phase: _offer(changes, None) if phase is Phase.DRAINING else None
        )
        try:
            # Only then: who has seen the headers misses nothing, not even a drain that begins at once.
            await call.context.send_initial_metadata(((REQUEST_ID, call.request_id),))
            for row in self._pool.rows():
                await self._tell(call, request, row, initial=True)
            while (change := await changes.get()) is not None:
                if changes.qsize() >= _MAX_UNREAD - 1:
                    raise SendQueueFull(f"the watcher is {_MAX_UNREAD} changes behind")
                await self._tell(call, request, change, initial=False)
        finally:
            unwatch()
            unsubscribe()

    async def _tell(self, call: RpcCall, request: pb.WatchConnectionsRequest, row: Row, *, initial: bool) -> None:
        if request.server in ("", row.server):
            await write(call.context, pb.WatchConnectionsResponse(connection=_connection(row), initial=initial))

    def _server(self, upstream: Upstream) -> pb.Server:
        rows = [row for row in self._pool.rows() if row.server == upstream.name]
        health = self._dialer.health(upstream.name)
        title, version = self._dialer.title(upstream)
        return pb.Server(
            name=upstream.name,
            url=shown.uri(upstream.settings.url) or next((one.address for one in upstream.all), ""),
            transport=self._transport(upstream),
            state=_UP[health.up if upstream.all else False],
            endpoints=[self._endpoint(upstream, endpoint) for endpoint in upstream.all],
            connections=len(rows),
            last_error=health.last_error,
            title=title,
            version=version,
            origin=upstream.origin,
        )

    def _transport(self, upstream: Upstream) -> str:
        """What its endpoint says, or what it turned out to be."""
        verdict = self._dialer.verdict(upstream)
        return (verdict and verdict.transport) or next((one.transport for one in upstream.all), "http")

    def _endpoint(self, upstream: Upstream, endpoint: AnyEndpoint) -> pb.Endpoint:
        verdict = self._dialer.verdict(upstream, endpoint)
        in_flight = self._pool.load(endpoint)
        shown = pb.Endpoint(address=endpoint.address, state=self._state(upstream, endpoint), in_flight=in_flight)
        if verdict is not None:
            shown.protocol_version = verdict.profile.version
            shown.probed.CopyFrom(_timestamp(verdict.at))
        return shown

    def _state(self, upstream: Upstream, endpoint: AnyEndpoint) -> pb.EndpointState:
        if endpoint in upstream.leaving:
            return pb.ENDPOINT_STATE_LEAVING
        avoided = self._dialer.balancer.is_avoided(endpoint, time.monotonic())
        return pb.ENDPOINT_STATE_AVOIDED if avoided else pb.ENDPOINT_STATE_READY


def _offer(changes: asyncio.Queue[Row | None], row: Row | None) -> None:
    if not changes.full():
        changes.put_nowait(row)


def _timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(int(seconds * 1e9))
    return stamp


def _connection(row: Row) -> pb.Connection:
    return pb.Connection(
        id=row.id,
        server=row.server,
        endpoint=row.endpoint,
        transport=row.transport,
        era=row.era,
        protocol_version=row.protocol_version,
        state=_STATES[row.state],
        since=_timestamp(row.since),
        in_flight=row.in_flight,
        lru_rank=row.lru_rank,
        last_error=row.last_error,
        last_used=_timestamp(row.last_used),
        calls=row.calls,
    )
