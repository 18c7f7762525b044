"""A link to another sidecar over gRPC: our own API from its other side, always of the modern era. Knows no client.

`CallStream` is the exchange: notifications, then exactly one response.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import grpc
import grpc.aio

from mcp_sidecar import errors, statuses
from mcp_sidecar.call import Call
from mcp_sidecar.directory import Endpoint
from mcp_sidecar.errors import Execution, InvalidCall, SidecarError, UpstreamLost, UpstreamProtocolError
from mcp_sidecar.outbound.credentials import Credential, CredentialsRefused
from mcp_sidecar.outbound.link import Ignore, Sink
from mcp_sidecar.outbound.measures import UNMEASURED, Measures
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.eras import LATEST_MODERN, Era
from mcp_sidecar.protocol.handshake import ServerProfile, discover_request
from mcp_sidecar.v1 import engine_pb2 as pb
from mcp_sidecar.v1.engine_pb2_grpc import MCPEngineStub

METHOD = "mcp_sidecar.v1.MCPEngine/CallStream"
_MAX_MESSAGE = 16 * 1024 * 1024
_LAST_SECONDS = 1.0  # for the status that follows the response
# Sidecars send those away who ping more often than `grpc.keepalive.min_time`, by default 5 minutes.
_KEEPALIVE_MS = 330_000
_KEEPALIVE_TIMEOUT_MS = 20_000  # also for what was sent and never acknowledged (TCP_USER_TIMEOUT)
_OPTIONS = (
    # A channel has its own connection: closing the one closes the other.
    ("grpc.use_local_subchannel_pool", 1),
    # A proxy named in the environment is meant for the internet, not for a neighbour in the cluster.
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.max_receive_message_length", _MAX_MESSAGE + 64 * 1024),  # and its envelope
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    # Bounds what a stream that nobody reads can hold.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * 1024),
)

# What the caller can do something about stays what it is; the rest is about the sidecar there.
_PASSED_ON: Mapping[grpc.StatusCode, type[SidecarError]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidCall,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Exhausted,
    grpc.StatusCode.UNIMPLEMENTED: errors.UpstreamProtocolError,
    grpc.StatusCode.INTERNAL: errors.UpstreamProtocolError,
}
_BY_REASON: Mapping[str, type[SidecarError]] = {
    word.reason: word for word in (errors.UnknownTool, errors.UnknownUpstream, errors.Overloaded)
}
_NOT_ACCEPTED = frozenset((grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED))


class GrpcLink:
    """A channel of its own to one upstream of another sidecar, which is the path of the endpoint."""

    era = Era.MODERN
    transport = "grpc"
    stateful = False

    def __init__(
        self,
        endpoint: Endpoint,
        credential: Credential,
        connect_seconds: float,
        measures: Measures = UNMEASURED,
    ) -> None:
        self._measures = measures
        self.profile = ServerProfile(LATEST_MODERN)
        self._upstream = endpoint.upstream
        self._server = endpoint.path.removeprefix("/")
        self._credential = credential
        options = [*_OPTIONS, ("grpc.min_reconnect_backoff_ms", int(connect_seconds * 1000))]
        if endpoint.secure:
            self._channel = grpc.aio.secure_channel(endpoint.address, _channel_credentials(credential), options=options)
        else:
            self._channel = grpc.aio.insecure_channel(endpoint.address, options=options)
        self._call_stream = MCPEngineStub(self._channel).CallStream

    async def open(self) -> None:
        """Nothing precedes the first request; gRPC connects by itself."""

    async def exchange(self, request: jsonrpc.Request, call: Call, sink: Sink) -> jsonrpc.Response:
        """See `Link.exchange`. Ids and tokens stay: there is one request in an RPC."""
        sent_id = request.id or b"1"
        message = pb.CallRequest(server=self._server, message_json=request.encode(sent_id))
        seconds = None if call.deadline is None else call.deadline.remaining()
        call.execution = Execution.UNKNOWN
        # What is neither answered nor failed was cancelled: by the caller, for its nonsense, or with the channel.
        began, code = time.monotonic(), grpc.StatusCode.CANCELLED
        rpc = self._call_stream(message, timeout=seconds, metadata=self._metadata(call))
        try:
            answer = await self._events(rpc, sent_id, call, sink)
            code = grpc.StatusCode.OK
            return answer
        except grpc.aio.AioRpcError as failed:
            code = failed.code()
            failure = self._failure(failed)
            call.execution = failure.execution
            raise failure from failed
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise self._lost() from error  # the channel was closed under the call
        finally:
            rpc.cancel()  # nothing, once it has ended
            self._measures.called(METHOD, code.name, time.monotonic() - began)

    async def _events(
        self, rpc: grpc.aio.UnaryStreamCall[pb.CallRequest, pb.CallEvent], sent_id: bytes, call: Call, sink: Sink
    ) -> jsonrpc.Response:
        while isinstance(event := await rpc.read(), pb.CallEvent):
            message = self._parse(event)
            if isinstance(message, jsonrpc.Request):
                await sink.notify(message.method, event.notification_json)
            elif message.id == sent_id:
                call.execution = Execution.DONE
                await _ended(rpc)
                return message
            else:
                raise self._nonsense("it answered another request than the one it was sent")
        raise self._nonsense("it ended a call without a response")

    def _parse(self, event: pb.CallEvent) -> jsonrpc.Message:
        final = event.HasField("response")
        try:
            message = jsonrpc.parse(event.response.message_json if final else event.notification_json)
        except InvalidCall as error:
            raise self._nonsense("its message is not as JSON-RPC has it") from error
        if isinstance(message, jsonrpc.Response) is not final or (not final and message.id):
            raise self._nonsense("it sent another kind of message than it said")
        return message

    def _metadata(self, call: Call) -> list[tuple[str, str]]:
        found = [("x-request-id", call.request_id)]
        trace = call.trace
        if trace.traceparent:
            found.append(("traceparent", trace.traceparent))
            if trace.tracestate:
                found.append(("tracestate", trace.tracestate))
        if trace.baggage:
            found.append(("baggage", trace.baggage))
        if secret := self._credential.token.secret:
            found.append(("authorization", f"Bearer {secret.decode()}"))
        return found

    def _failure(self, failed: grpc.aio.AioRpcError) -> SidecarError:
        """A status in our words. Only a sidecar's own words are repeated: gRPC's hold addresses."""
        told = statuses.read(failed.trailing_metadata())
        code, details = failed.code(), failed.details() or ""
        execution = told.execution or (Execution.NONE if statuses.never_sent(details) else Execution.UNKNOWN)
        kind = _PASSED_ON.get(code, UpstreamLost)
        words = details if told.reason else f"the sidecar of the MCP server {self._upstream!r} failed ({code.name})"
        if code in _NOT_ACCEPTED:
            kind, words = CredentialsRefused, self._refusal()
        elif kind is UpstreamLost and execution is Execution.NONE:
            kind = errors.UpstreamUnavailable
            words = words if told.reason else f"the sidecar of the MCP server {self._upstream!r} cannot be reached"
        kind = _BY_REASON.get(told.reason, kind)
        facts, retry_after = {"server": self._upstream}, told.retry_after
        return kind(words, execution=execution, violations=told.violations, retry_after=retry_after, metadata=facts)

    def _refusal(self) -> str:
        return f"the sidecar of the MCP server {self._upstream!r} does not accept this sidecar's credentials"

    def _lost(self) -> UpstreamLost:
        message = f"the connection to the sidecar of the MCP server {self._upstream!r} was closed"
        return UpstreamLost(message, execution=Execution.UNKNOWN, metadata={"server": self._upstream})

    def _nonsense(self, what: str) -> UpstreamProtocolError:
        message = f"the sidecar of the MCP server {self._upstream!r} broke the protocol: {what}"
        return UpstreamProtocolError(message, execution=Execution.UNKNOWN, metadata={"server": self._upstream})

    async def check(self) -> None:
        """Ask the server who it is: that goes all the way."""
        await self.exchange(discover_request(), Call(rpc="monitor", request_id="monitor"), Ignore())

    def close_idle(self, unused_for: float) -> None:
        """A channel is one connection, which gRPC looks after."""

    async def close(self) -> None:
        await self._channel.close(None)


async def _ended(rpc: grpc.aio.UnaryStreamCall[pb.CallRequest, pb.CallEvent]) -> None:
    """Wait for the status after the response: a stream that is left early is a cancelled call over there."""
    try:
        async with asyncio.timeout(_LAST_SECONDS):
            await rpc.read()
    except (grpc.aio.AioRpcError, TimeoutError):
        pass  # the response is there, and that is what counts


def _channel_credentials(credential: Credential) -> grpc.ChannelCredentials:
    """Of the newest files; a channel keeps them for its life. Raises `OSError` while there are none that fit."""
    return grpc.ssl_channel_credentials(*credential.trust.pem())
