"""One call's way: route → policy → admission → lease → exchange → once more, perhaps. Knows no gRPC and no sockets."""

from __future__ import annotations

import asyncio

import msgspec

from mcp_sidecar.alarm import RESOLUTION, Alarm
from mcp_sidecar.call import Call, Deadline, trace
from mcp_sidecar.directory import Directory, Upstream
from mcp_sidecar.engine import bridge, downgrade, policy
from mcp_sidecar.engine.listen import Restamped, graceful_end
from mcp_sidecar.engine.retry import may_repeat
from mcp_sidecar.errors import (
    Cancelled,
    DeadlineExceeded,
    Draining,
    Execution,
    InvalidCall,
    Overloaded,
    SidecarError,
    UpstreamLost,
)
from mcp_sidecar.lifecycle import Lifecycle, Phase
from mcp_sidecar.outbound.backoff import Backoff
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.outbound.http_modern import EraChanged
from mcp_sidecar.outbound.link import Sink
from mcp_sidecar.protocol import eras, headers, jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.settings import AdmissionSettings, RetrySettings

# The answer must be on its way before the caller's own deadline cuts the line.
_HEADROOM_SECONDS = 0.01 + RESOLUTION
_PAUSE = Backoff(first=0.05, longest=1.0)
# How an exchange did that ended neither well nor badly: that tells nothing about its connection.
_CUT_SHORT = Cancelled("the exchange was cut short")


class Engine:
    """Runs exchanges for every face. All failures are `SidecarError`s; each says whether the call may have run."""

    def __init__(
        self,
        directory: Directory,
        dialer: Dialer,
        lifecycle: Lifecycle,
        admission: AdmissionSettings,
        retry: RetrySettings,
    ) -> None:
        self._directory = directory
        self._dialer = dialer
        self._lifecycle = lifecycle
        self._admission = admission
        self._attempts = retry.attempts
        self._alarm = Alarm()
        self._listening = 0
        self._stopping = False

    def cut(self) -> None:
        """End every call that still runs: it gets a status, and is cancelled at the server."""
        self._stopping = True
        self._alarm.end()

    async def run(self, call: Call, request: Request, server: str, sink: Sink) -> Response:
        """One request of a modern client to its response, whose id is the request's.

        `server` empty means the only upstream. Notifications go to `sink`. Cancelling the task cancels the call
        upstream.
        """
        upstream = self._directory.find(server)
        call.server = upstream.name
        _annotate(call, request)
        policy.check(upstream.settings.tools, request, upstream.name)
        if request.method == eras.LISTEN:
            return await self._listen(call, request, upstream, sink)
        self._refuse_when(self._lifecycle.in_flight)
        self._lifecycle.enter()
        try:
            response = await self._bounded(call, request, upstream, sink)
        finally:
            self._lifecycle.leave()
        return policy.show(upstream.settings.tools, request, response)

    def _refuse_when(self, busy: int) -> None:
        if not self._lifecycle.admitting:
            self._lifecycle.refuse()
            raise Draining("the sidecar is shutting down", retry_after=1.0)
        if busy >= self._admission.in_flight:
            raise Overloaded(f"{busy} calls are running, the most allowed (admission.in_flight)", retry_after=1.0)

    def deadline(self, call: Call, server: str) -> Deadline:
        """When a call to `server` that begins now has to end. Raises `UnknownUpstream`."""
        return _sooner(call, self._directory.find(server))

    async def _bounded(self, call: Call, request: Request, upstream: Upstream, sink: Sink) -> Response:
        """Until the caller's deadline or the upstream's timeout, whichever is sooner."""
        deadline = _sooner(call, upstream)
        if call.deadline is not None and not call.deadline.remaining():
            raise DeadlineExceeded("the deadline passed before the call was sent", metadata={"server": upstream.name})
        try:
            with self._alarm.until(deadline.at):
                return await self._attempt_all(call, request, upstream, sink, deadline)
        except TimeoutError as error:
            if self._stopping:
                raise Draining("the sidecar stopped before the call ended", execution=call.execution) from error
            message = f"the MCP server {upstream.name!r} did not answer in time"
            raise DeadlineExceeded(message, execution=call.execution, metadata={"server": upstream.name}) from error

    async def _attempt_all(
        self, call: Call, request: Request, upstream: Upstream, sink: Sink, deadline: Deadline
    ) -> Response:
        watched = _Watched(sink)
        attempt, may_have_run = 1, False
        while True:
            try:
                return await self._attempt(call, request, upstream, watched, deadline)
            except EraChanged as change:
                if attempt > 1 or not await self._speaks_other_era(upstream, deadline):
                    call.execution = Execution.DONE
                    return Response(request.id, error=change.answer.error)
            except SidecarError as error:
                if attempt >= self._attempts or watched.used or not may_repeat(error, request, upstream.settings.tools):
                    if may_have_run and error.execution is Execution.NONE:
                        raise _doubted(error) from error
                    raise
                may_have_run = may_have_run or error.execution is Execution.UNKNOWN
                await asyncio.sleep(max(error.retry_after or 0.0, _PAUSE.delay(attempt)))
            finally:
                if may_have_run and call.execution is Execution.NONE:
                    call.execution = Execution.UNKNOWN
            attempt += 1

    async def _attempt(
        self, call: Call, request: Request, upstream: Upstream, sink: Sink, deadline: Deadline
    ) -> Response:
        call.execution = Execution.NONE
        connection = await self._dialer.lease(upstream, downgrade.capabilities(request), deadline)
        call.connection_id = connection.id
        call.protocol_version = connection.link.profile.version
        failure: SidecarError | None = _CUT_SHORT
        try:
            response = await bridge.exchange(connection.link, request, call, sink)
            if call.execution is not Execution.NONE:  # else the bridge answered it, and the server was not asked
                failure = None
        except SidecarError as error:
            failure = error
            raise
        finally:
            self._dialer.release(upstream, connection, failure)
        response.id = request.id
        return response

    async def _speaks_other_era(self, upstream: Upstream, deadline: Deadline) -> bool:
        """Ask the server anew what it speaks; True when that is something else than it was."""
        endpoint = upstream.endpoints[0]
        self._dialer.prober.forget(endpoint)
        connection = await self._dialer.lease(upstream, b"{}", deadline)
        self._dialer.give_back(upstream, connection)
        return connection.link.era is not eras.Era.MODERN

    async def _hear(self, call: Call, request: Request, upstream: Upstream, sink: Sink, deadline: Deadline) -> Response:
        try:
            return await self._attempt(call, request, upstream, sink, deadline)
        except EraChanged as change:
            if await self._speaks_other_era(upstream, deadline):
                return await self._attempt(call, request, upstream, sink, deadline)
            call.execution = Execution.DONE
            return Response(request.id, error=change.answer.error)

    async def _listen(self, call: Call, request: Request, upstream: Upstream, sink: Sink) -> Response:
        """A subscription lasts until its caller or the server ends it, or the sidecar drains."""
        self._refuse_when(self._listening)
        self._listening += 1
        end = None if call.deadline is None else call.deadline.remaining()
        try:
            async with asyncio.timeout(end) as scope:
                unsubscribe = self._lifecycle.subscribe(lambda phase: _end_when_draining(scope, phase))
                try:
                    connected_by = Deadline.after(upstream.settings.timeout.call)
                    return await self._hear(call, request, upstream, Restamped(sink, request), connected_by)
                finally:
                    unsubscribe()
        except TimeoutError:
            call.execution = Execution.DONE
            return graceful_end(request)
        finally:
            self._listening -= 1


def _sooner(call: Call, upstream: Upstream) -> Deadline:
    """The caller's deadline, less what the answer needs, or the upstream's timeout from now on."""
    deadline = Deadline.after(upstream.settings.timeout.call)
    if call.deadline is not None and call.deadline.at - _HEADROOM_SECONDS < deadline.at:
        return Deadline(call.deadline.at - _HEADROOM_SECONDS)
    return deadline


def _end_when_draining(scope: asyncio.Timeout, phase: Phase) -> None:
    if phase is Phase.DRAINING and not scope.expired():
        scope.reschedule(asyncio.get_running_loop().time())


def _doubted(error: SidecarError) -> SidecarError:
    """The failure of a call that may have run in an earlier attempt: its last one did not."""
    return UpstreamLost(
        error.message, execution=Execution.UNKNOWN, retry_after=error.retry_after, metadata=error.metadata
    )


def _annotate(call: Call, request: Request) -> None:
    """What the log and the trace need to know of the request."""
    call.method = request.method
    name = headers.name_of(request)
    if name is None and request.method in headers.NAMED_BY:
        field = headers.NAMED_BY[request.method]
        raise InvalidCall(f'"params.{field}" must be a string', violations=((f"params.{field}", "must be a string"),))
    call.name = name or ""
    _join_traces(call, request)


def _join_traces(call: Call, request: Request) -> None:
    """One trace context on both carriers: the message's own wins over the transport's (SEP-414)."""
    meta = request.meta
    if "traceparent" in meta:
        text = {key: jsonrpc.as_string(meta.get(key)) for key in ("traceparent", "tracestate", "baggage")}
        own = trace(text["traceparent"], text["tracestate"], text["baggage"])
        if own.traceparent:
            call.trace = own
    elif call.trace.traceparent:
        for key in ("traceparent", "tracestate", "baggage"):
            if value := getattr(call.trace, key):
                meta[key] = msgspec.json.encode(value)  # it may hold quotation marks


class _Watched:
    """Notes whether anything was passed on: a call that has spoken cannot be repeated unheard."""

    __slots__ = ("_sink", "used")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.used = False

    async def notify(self, method: str, message: bytes) -> None:
        self.used = True
        await self._sink.notify(method, message)

    async def ask(self, request: Request) -> Response:
        self.used = True
        return await self._sink.ask(request)
