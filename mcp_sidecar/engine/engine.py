"""One call's way: route → policy → admission → lease → exchange → once more, perhaps. Knows no gRPC and no sockets."""

from __future__ import annotations

import asyncio
import time

import msgspec

from mcp_sidecar.alarm import RESOLUTION, Alarm
from mcp_sidecar.call import NO_TRACE, Call, Deadline, Trace, trace
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
_TRACE_KEYS = ("traceparent", "tracestate", "baggage")
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
        request = _annotate(call, request)
        if upstream.restricted:
            policy.check(upstream.settings.tools, request, upstream.name)
        if request.method == eras.LISTEN:
            return await self._listen(call, request, upstream, sink)
        lifecycle = self._lifecycle
        if not lifecycle.admitting or lifecycle.in_flight >= self._admission.in_flight:
            raise self._refusal(lifecycle.in_flight)
        deadline, watched = _sooner(call, upstream), _Watched(sink)
        lifecycle.enter()
        try:
            with self._alarm.until(deadline):
                try:
                    response = await self._attempt(call, request, upstream, watched, deadline)
                except SidecarError as error:
                    response = await self._again(error, call, request, upstream, watched, deadline)
        except TimeoutError as error:
            raise self._too_late(call) from error
        finally:
            lifecycle.leave()
        return policy.show(upstream.settings.tools, request, response) if upstream.restricted else response

    def _refusal(self, busy: int) -> SidecarError:
        """Why a call is not admitted."""
        if not self._lifecycle.admitting:
            self._lifecycle.refuse()
            return Draining("the sidecar is shutting down", retry_after=1.0)
        return Overloaded(f"{busy} calls are running, the most allowed (admission.in_flight)", retry_after=1.0)

    def deadline(self, call: Call, server: str) -> Deadline:
        """When a call to `server` that begins now has to end. Raises `UnknownUpstream`."""
        return _sooner(call, self._directory.find(server))

    def _too_late(self, call: Call) -> SidecarError:
        if self._stopping:
            return Draining("the sidecar stopped before the call ended", execution=call.execution)
        message = f"the MCP server {call.server!r} did not answer in time"
        return DeadlineExceeded(message, execution=call.execution, metadata={"server": call.server})

    async def _again(
        self,
        failure: SidecarError,
        call: Call,
        request: Request,
        upstream: Upstream,
        watched: _Watched,
        deadline: Deadline,
    ) -> Response:
        """What follows a failed attempt: others, as long as they are allowed."""
        attempt, may_have_run = 1, False
        while True:
            if isinstance(failure, EraChanged):
                if attempt > 1 or not await self._speaks_other_era(upstream, deadline):
                    call.execution = Execution.DONE
                    return Response(request.id, error=failure.answer.error)
            elif attempt >= self._attempts or watched.used or not may_repeat(failure, request, upstream.settings.tools):
                raise _doubted(failure) if may_have_run and failure.execution is Execution.NONE else failure
            else:
                may_have_run = may_have_run or failure.execution is Execution.UNKNOWN
                await asyncio.sleep(max(failure.retry_after or 0.0, _PAUSE.delay(attempt)))
            attempt += 1
            try:
                return await self._attempt(call, request, upstream, watched, deadline)
            except SidecarError as error:
                failure = error
            finally:
                if may_have_run and call.execution is Execution.NONE:
                    call.execution = Execution.UNKNOWN

    async def _attempt(
        self, call: Call, request: Request, upstream: Upstream, sink: Sink, deadline: Deadline
    ) -> Response:
        call.execution = Execution.NONE
        capabilities = downgrade.capabilities(request)
        connection = self._dialer.ready(upstream, capabilities)
        if connection is None:
            connection = await self._dialer.lease(upstream, capabilities, deadline)
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

    async def _hear(
        self, call: Call, request: Request, upstream: Upstream, watched: _Watched, deadline: Deadline
    ) -> Response:
        try:
            return await self._attempt(call, request, upstream, watched, deadline)
        except EraChanged as change:
            return await self._again(change, call, request, upstream, watched, deadline)

    async def _listen(self, call: Call, request: Request, upstream: Upstream, sink: Sink) -> Response:
        """A subscription lasts until its caller or the server ends it, or the sidecar drains."""
        if not self._lifecycle.admitting or self._listening >= self._admission.in_flight:
            raise self._refusal(self._listening)
        self._listening += 1
        end = None if call.deadline is None else call.deadline.remaining()
        try:
            async with asyncio.timeout(end) as scope:
                unsubscribe = self._lifecycle.subscribe(lambda phase: _end_when_draining(scope, phase))
                try:
                    connected_by = Deadline.after(upstream.settings.timeout.call)
                    return await self._hear(call, request, upstream, _Watched(Restamped(sink, request)), connected_by)
                finally:
                    unsubscribe()
        except TimeoutError:
            call.execution = Execution.DONE
            return graceful_end(request)
        finally:
            self._listening -= 1


def _sooner(call: Call, upstream: Upstream) -> Deadline:
    """The caller's deadline, less what the answer needs, or the upstream's timeout from now on.

    Raises `DeadlineExceeded` when the caller's has passed.
    """
    deadline = Deadline(time.monotonic() + upstream.settings.timeout.call)
    if call.deadline is None:
        return deadline
    if not call.deadline.remaining():
        raise DeadlineExceeded("the deadline passed before the call was sent", metadata={"server": upstream.name})
    return deadline.sooner(Deadline(call.deadline - _HEADROOM_SECONDS))


def _end_when_draining(scope: asyncio.Timeout, phase: Phase) -> None:
    if phase is Phase.DRAINING and not scope.expired():
        scope.reschedule(asyncio.get_running_loop().time())


def _doubted(error: SidecarError) -> SidecarError:
    """The failure of a call that may have run in an earlier attempt: its last one did not."""
    return UpstreamLost(
        error.message, execution=Execution.UNKNOWN, retry_after=error.retry_after, metadata=error.metadata
    )


def _annotate(call: Call, request: Request) -> Request:
    """Note what log and trace need to know of a request; returns it with the one trace context it is to carry."""
    call.method = request.method
    field = headers.NAMED_BY.get(request.method)
    if field is not None:
        name = call.name or request.text(field)
        if name is None:
            what = "must be a string"
            raise InvalidCall(f'"params.{field}" {what}', violations=((f"params.{field}", what),))
        call.name = name
    if "traceparent" in request.meta:
        _read_trace(call, request)
    elif call.trace is not NO_TRACE and call.trace.traceparent:
        return request.with_meta(_trace_meta(call.trace))
    return request


def _read_trace(call: Call, request: Request) -> None:
    """The message's own trace context wins over the transport's (SEP-414)."""
    text = {key: jsonrpc.as_string(request.meta.get(key)) for key in _TRACE_KEYS}
    own = trace(text["traceparent"], text["tracestate"], text["baggage"])
    if own.traceparent:
        call.trace = own


def _trace_meta(context: Trace) -> dict[str, bytes]:
    found = {key: getattr(context, key) for key in _TRACE_KEYS}
    return {key: msgspec.json.encode(value) for key, value in found.items() if value}  # it may hold quotation marks


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
