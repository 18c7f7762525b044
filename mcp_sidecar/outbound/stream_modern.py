"""A link to a server of MCP 2026-07-28 over one stream of messages, such as stdio; knows no client and no wire.

Requests are told apart by id, subscriptions by `subscriptionId`; both are cancelled by notification
(basic/transports/stdio).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial

from mcp_sidecar.call import Call
from mcp_sidecar.errors import Execution, SidecarError, UpstreamProtocolError, UpstreamUnavailable
from mcp_sidecar.outbound.flights import Flights
from mcp_sidecar.outbound.link import Ignore, Sink
from mcp_sidecar.outbound.stream import Stream, Wire
from mcp_sidecar.outbound.stream_legacy import progress_of
from mcp_sidecar.protocol import eras
from mcp_sidecar.protocol.handshake import ServerProfile, discover_request
from mcp_sidecar.protocol.jsonrpc import Request, Response, encode_error
from mcp_sidecar.protocol.subscriptions import graceful_end

_PROGRESS = "progressToken"
_CANCELLED = "notifications/cancelled"
_COURTESY_SECONDS = 1.0


class _Cancelled(Exception):
    """The server ended a request of ours without a response."""


class ModernStreamLink:
    """Sends every caller's requests over one wire, which is opened anew when it was lost. Ids are ours."""

    era = eras.Era.MODERN
    stateful = True

    def __init__(
        self,
        upstream: str,
        transport: str,
        open_wire: Callable[[], Awaitable[Wire]],
        tasks: asyncio.TaskGroup,
        profile: ServerProfile,
    ) -> None:
        self.transport = transport
        self.profile = profile
        self._upstream = upstream
        self._open_wire = open_wire
        self._tasks = tasks
        self._flights: Flights[None] = Flights(tasks)
        self._ids = itertools.count(1)
        self._stream: Stream | None = None
        self._closed = False

    async def open(self) -> None:
        """Open the wire, unless it stands; callers at the same time share one."""
        if self._stream is None or self._stream.lost.done():
            await self._flights.join("open", self._open)

    async def _open(self) -> None:
        if self._closed:
            raise UpstreamUnavailable(f"the connection to the MCP server {self._upstream!r} was closed")
        wire = await self._open_wire()
        self._stream = Stream(wire, self._upstream, self._tasks, _named, _drop)
        if self._closed:
            await self.close()

    async def exchange(self, request: Request, call: Call, sink: Sink) -> Response:
        """See `Link.exchange`."""
        if request.method == "initialize":
            # All share the process: one caller may not turn it into a server of the other era.
            error = encode_error(eras.METHOD_NOT_FOUND, "the MCP server has no method initialize")
            return Response(request.id, error=error)
        await self.open()
        if self._stream is None:
            raise UpstreamUnavailable(f"the connection to the MCP server {self._upstream!r} was closed")
        stream, request_id = self._stream, b"%d" % next(self._ids)
        token = request.meta.get(_PROGRESS)
        if token is not None:
            request = request.with_meta({_PROGRESS: request_id})
        answered = False
        try:
            receive = partial(self._receive, token, sink)
            ours = isinstance(sink, Ignore)
            response = await stream.exchange(request_id, request.encode(request_id), call, receive, ours=ours)
            answered = True
            return response
        except _Cancelled:
            answered = True
            return self._given_up(request, request_id, call)
        finally:
            if not answered and call.execution is Execution.UNKNOWN:
                self._cancel(stream, request_id)

    async def _receive(self, token: bytes | None, sink: Sink, message: Request) -> None:
        if message.id:
            raise self._nonsense("it sent a request, which 2026-07-28 does not have")
        if message.method == _CANCELLED:
            raise _Cancelled
        if message.method == "notifications/progress":
            if token is None:
                return
            message = message.with_params({_PROGRESS: token})
        await sink.notify(message.method, message.encode(b""))

    def _given_up(self, request: Request, request_id: bytes, call: Call) -> Response:
        """A server may end a subscription like this (basic/patterns/subscriptions), and no other request."""
        if request.method != eras.LISTEN:
            raise self._nonsense("it cancelled a request instead of answering it")
        call.execution = Execution.DONE
        return graceful_end(request_id)

    def _nonsense(self, what: str) -> UpstreamProtocolError:
        message = f"the MCP server {self._upstream!r} broke the protocol: {what}"
        return UpstreamProtocolError(message, execution=Execution.UNKNOWN, metadata={"server": self._upstream})

    def _cancel(self, stream: Stream, request_id: bytes) -> None:
        params = {"requestId": request_id, "reason": b'"the caller went away"'}
        message = Request(_CANCELLED, params=params).encode(b"")
        self._tasks.create_task(_try_to_send(stream, message), name=f"cancel {self._upstream}")

    async def check(self) -> None:
        """Ask the server who it is, unless the wire is known to be lost; opens none."""
        if self._stream is None or self._stream.lost.done():
            raise UpstreamUnavailable(f"the MCP server {self._upstream!r} went away")
        await self.exchange(discover_request(), Call(rpc="monitor", request_id="monitor"), Ignore())

    def close_idle(self, unused_for: float) -> None:
        if self._stream is not None:
            self._stream.close_idle(unused_for)

    async def close(self) -> None:
        self._closed = True
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()


def _named(notification: Request) -> bytes:
    """The request that a notification names."""
    if notification.method == _CANCELLED:
        return notification.params.get("requestId", b"null")
    return notification.meta.get(eras.META_SUBSCRIPTION) or progress_of(notification)


def _drop(message: Request) -> None:
    """Nobody asked for it: servers of this revision say nothing by themselves."""


async def _try_to_send(stream: Stream, message: bytes) -> None:
    try:
        async with asyncio.timeout(_COURTESY_SECONDS):
            await stream.send(message, Call(rpc="courtesy", request_id="courtesy"))
    except (SidecarError, TimeoutError):
        pass  # the path is broken, which the exchange itself has reported or will
