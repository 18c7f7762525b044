"""One call's way: route → policy → admission → lease → exchange → once more, perhaps. Knows no gRPC and no sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine

import msgspec

from mcp_sidecar.alarm import Alarm
from mcp_sidecar.call import Call, Client, Deadline
from mcp_sidecar.directory import Directory, Snapshot, Upstream, gone, served
from mcp_sidecar.engine import bridge, downgrade, inputs, policy
from mcp_sidecar.engine.annotation import annotate, pared
from mcp_sidecar.engine.hold import Hold
from mcp_sidecar.engine.listen import Restamped
from mcp_sidecar.engine.listeners import Listeners
from mcp_sidecar.engine.measures import Measures, Unmeasured
from mcp_sidecar.engine.offers import Offers
from mcp_sidecar.engine.retry import may_go_elsewhere, may_repeat
from mcp_sidecar.engine.so_far import SoFar
from mcp_sidecar.engine.stay import Counted, Stay, Unbounded, sooner
from mcp_sidecar.errors import Cancelled, DeadlineExceeded, Draining, Execution, Overloaded, SidecarError
from mcp_sidecar.lifecycle import Lifecycle
from mcp_sidecar.outbound.backoff import Backoff
from mcp_sidecar.outbound.connection import Connection
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.outbound.http import EraChanged, HeadersRefused
from mcp_sidecar.outbound.link import Sink
from mcp_sidecar.protocol import eras, outcome
from mcp_sidecar.protocol.baggage import NOTHING
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.sampling import Sampler
from mcp_sidecar.settings import AdmissionSettings, MergeSettings, RetrySettings
from mcp_sidecar.shown import LONGEST

_MERGED = MergeSettings()
# All rounds of a call together; each has the limits of a call, and each pause that of `hold.expire`.
_LONGEST_HOLD_SECONDS = 3600.0
_NOBODY_SECONDS = 60.0  # how long a call may take when there is no server yet that could say so
_MOST_ASKED = 32  # requests that are noted of a call
_PAUSE = Backoff(first=0.05, longest=1.0)
# Looking a member up in its class costs as much as a call.
_NONE = Execution.NONE
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
        hold: Hold,
        tasks: asyncio.TaskGroup,
        merge: MergeSettings = _MERGED,
    ) -> None:
        self._directory = directory
        self._dialer = dialer
        self.lifecycle = lifecycle
        self._admission = admission
        self._most_attempts = retry.attempts
        self.hold = hold
        self._alarm = Alarm()
        self._listeners = Listeners(lifecycle, admission.in_flight, self._refusal)
        self._stopping = False
        self._known = directory.snapshot
        directory.subscribe(self._follow)  # before anybody else: what is gone must be known as gone when they look
        self.offers = Offers(self, directory, dialer, tasks, merge)
        self._mirrored = self.offers.mirrors.known
        self.sampler: Sampler | None = None
        """Who decides which calls are traced; nobody where none are."""
        self.measures: Measures = Unmeasured()
        self.baggage = NOTHING
        """What of callers' baggage goes on to servers."""

    def cut(self) -> None:
        """End every call that still runs: it gets a status, and is cancelled at the server."""
        self._stopping = True
        self._alarm.end()

    def run(self, call: Call, request: Request, server: str, sink: Sink) -> Coroutine[None, None, Response]:
        """One request to its response, whose id is the request's.

        Both are of the caller's era: legacy when `call.client` is set, but for `server/discover` and
        `subscriptions/listen`, which have one shape for all. `server` empty means the only upstream, or all of them.
        Notifications go to `sink`. Cancelling the task cancels the call upstream. What can be refused at once is raised
        at once.
        """
        request = annotate(call, request, self.sampler, self.baggage)
        if not server and self._directory.merged:
            return self._all(call, request, sink)
        upstream = self._directory.find(server)
        call.server = upstream.name
        if upstream.restricted:
            policy.check(upstream.settings.tools, request, upstream.name)
        if request.method in eras.CACHEABLE:
            if not self.lifecycle.admitting and not call.part:
                raise self._refusal(0)
            return self._in_time(call, self.offers.answer(call, request, upstream, sink, sooner(call, upstream)))
        if request.method == eras.LISTEN:
            until = Unbounded(time.monotonic() + upstream.settings.timeout.call)
            restamped = Restamped(sink, request)
            so_far = SoFar(restamped, self.offers, call)
            attempts = self._attempts(call, request, upstream, so_far, until)
            return restamped.to_its_end(self._listeners.hear(call, request, attempts))
        if self._mirrored and request.method == eras.CALL_TOOL:
            self.offers.mirrors.prepare(call, request, upstream.name)
        return self.send(call, request, upstream, sink)

    def send(self, call: Call, request: Request, upstream: Upstream, sink: Sink) -> Coroutine[None, None, Response]:
        """One request to one server, whatever is kept of what it said before."""
        goes_on = inputs.STATE in request.params and call.client is None
        # A server of unknown era may be a sidecar, whose state it is: once it is asked, it turns out to be or refuses.
        if goes_on and self.hold.knows(request, modern=self._era(upstream) is not eras.Era.LEGACY):
            return self._in_time(call, self.hold.resume(call, request, sink, sooner(call, upstream)))
        busy = self.lifecycle.in_flight
        if (not self.lifecycle.admitting or busy >= self._admission.in_flight) and not call.part:
            raise self._refusal(busy)
        if (
            call.client is None
            and request.meta.get(eras.META_CAPABILITIES) != b"{}"
            and self._may_ask(request, upstream)
        ):
            return self._held(call, request, upstream, sink, sooner(call, upstream))
        # Most calls bring no deadline: a number like others costs less than a `Deadline`.
        until = time.monotonic() + upstream.settings.timeout.call if call.deadline is None else sooner(call, upstream)
        stay = Counted(self._alarm, until, engine=self, call=call)
        return self._attempts(call, request, upstream, SoFar(sink, self.offers, call), stay)

    def _may_ask(self, request: Request, upstream: Upstream) -> bool:
        """The server may want to hear something from the client, in a request of its own."""
        return request.method in inputs.ASKING and self._era(upstream) is not eras.Era.MODERN

    def _era(self, upstream: Upstream) -> eras.Era | None:
        """As far as it is known."""
        verdict = self._dialer.verdict(upstream)
        return None if verdict is None else verdict.era

    def _held(
        self, call: Call, request: Request, upstream: Upstream, sink: Sink, until: Deadline
    ) -> Coroutine[None, None, Response]:
        own = msgspec.structs.replace(call, deadline=None)
        stay = Counted(self._alarm, until + _LONGEST_HOLD_SECONDS, engine=self, call=own, lease_by=until)

        def exchange(sink: Sink) -> Coroutine[None, None, Response]:
            return self._attempts(own, request, upstream, SoFar(sink, self.offers, own), stay)

        return self._in_time(call, self.hold.begin(call, request, exchange, sink, own, until))

    async def _in_time(self, call: Call, leg: Coroutine[None, None, Response]) -> Response:
        try:
            return await leg
        except TimeoutError as late:
            raise self.too_late(call) from late

    async def _attempts(self, call: Call, request: Request, upstream: Upstream, so_far: SoFar, stay: Stay) -> Response:
        """Until one of them has an answer or there may be no more."""
        listens = request.method == eras.LISTEN
        with stay:
            while True:
                call.execution = _NONE
                connection: Connection | None = None
                failure: SidecarError | None = _CUT_SHORT
                began = 0.0
                try:
                    if not so_far.tried:
                        connection = self._dialer.standing(upstream)
                    else:  # there may be others by now
                        upstream = self._directory.snapshot.get(upstream.name, upstream)
                    connection = connection or await self._lease(call, request, upstream, so_far, stay)
                    call.connection_id = connection.id
                    call.protocol_version = connection.link.profile.version
                    if call.span is not None:
                        call.span.toward = connection.key.endpoint.address
                    began = time.monotonic()
                    response = await bridge.exchange(connection.link, request, call, so_far)
                    # NONE: the bridge answered it, and the server was not asked.
                    failure = None if call.execution is not _NONE else _CUT_SHORT
                    call.fault = outcome.fault_in(response)
                    response.id = request.id
                    break
                except SidecarError as error:
                    failure = error
                    so_far.note(connection)
                finally:
                    if connection is not None:
                        self._measured(call, request.method, upstream.name, failure, began, stay)
                        self._dialer.release(upstream, connection, failure, listens=listens)
                    if so_far.may_have_run and call.execution is _NONE:
                        call.execution = Execution.UNKNOWN
                if (said := await self._after(failure, call, request, upstream, so_far, stay)) is not None:
                    response = said
                    break
        return policy.show(upstream.settings.tools, request, response) if upstream.restricted else response

    def _lease(
        self, call: Call, request: Request, upstream: Upstream, so_far: SoFar, stay: Stay
    ) -> Coroutine[None, None, Connection]:
        able, until = downgrade.capabilities(request), stay.lease_by or Deadline(stay.at)
        listens = request.method == eras.LISTEN
        return self._dialer.lease(upstream, able, until, call.client, so_far.tried, listens=listens)

    async def _after(
        self, failure: SidecarError, call: Call, request: Request, upstream: Upstream, so_far: SoFar, stay: Stay
    ) -> Response | None:
        """What follows a failed attempt: another (None), or the server's answer, or the failure is raised."""
        if isinstance(failure, HeadersRefused):
            if call.mirrored is not None:  # the caller's own headers
                call.execution = Execution.DONE
                return Response(request.id, error=failure.answer.error)
            if so_far.attempts > 1 or not await self.offers.learned(call, request, upstream.name, Deadline(stay.at)):
                raise failure
        elif isinstance(failure, EraChanged):
            if so_far.attempts > 1 or not await self._speaks_other_era(upstream, so_far, failure.era, stay):
                if call.mirrored is None and failure.of_version:
                    raise failure
                call.execution = Execution.DONE
                return Response(request.id, error=failure.answer.error)
        elif self._goes_elsewhere(failure, upstream, so_far):
            return None
        elif (
            so_far.attempts >= self._most_attempts
            or so_far.used
            or not may_repeat(failure, request, upstream.settings.tools)
        ):
            raise so_far.judged(failure)
        else:
            so_far.may_have_run = so_far.may_have_run or failure.execution is Execution.UNKNOWN
            await asyncio.sleep(max(failure.retry_after or 0.0, _PAUSE.delay(so_far.attempts)))
        so_far.attempts += 1
        self.measures.retried(failure.reason)
        return None

    def _measured(
        self, call: Call, method: str, server: str, failure: SidecarError | None, began: float, stay: Stay
    ) -> None:
        """An exchange is over; one that the server was not asked in is none."""
        if failure is _CUT_SHORT:
            if call.execution is _NONE:
                return
            if stay.expired:
                failure = self.too_late(call)  # what took too long was not given up by its caller
        seconds = time.monotonic() - began
        call.waited += seconds
        error = failure.reason if failure else call.fault
        if len(call.asked) < _MOST_ASKED:
            call.asked.append((method, call.connection_id, began, seconds, error))
        tool = call.name[:LONGEST] if method == eras.CALL_TOOL else ""
        self.measures.exchanged(method, server, tool, error, seconds)

    def _goes_elsewhere(self, failure: SidecarError, upstream: Upstream, so_far: SoFar) -> bool:
        if so_far.used or self._most_attempts == 1 or not may_go_elsewhere(failure, len(so_far.tried)):
            return False
        return self._dialer.elsewhere(self._directory.snapshot.get(upstream.name, upstream), so_far.tried)

    def _all(self, call: Call, request: Request, sink: Sink) -> Coroutine[None, None, Response]:
        """One request to all upstreams, or to the one that it turns out to be for."""
        if request.method == eras.LISTEN:
            return self._listeners.hear(call, request, self.offers.merge.listen(call, request, sink))
        busy = self.lifecycle.in_flight
        if not self.lifecycle.admitting or busy >= self._admission.in_flight:
            raise self._refusal(busy)
        return self._counted(self.offers.merge.run(call, request, sink))

    async def _counted(self, work: Coroutine[None, None, Response]) -> Response:
        """In flight also between its parts."""
        self.lifecycle.in_flight += 1
        try:
            return await work
        finally:
            self.lifecycle.leave()

    def _refusal(self, busy: int) -> SidecarError:
        """Why a call is not admitted."""
        if not self.lifecycle.admitting:
            self.lifecycle.refuse()
            return Draining("the sidecar is shutting down", retry_after=1.0)
        return Overloaded(f"{busy} calls are running, the most allowed (admission.in_flight)", retry_after=1.0)

    async def tell(self, client: Client, notification: Request) -> None:
        """Pass on what a client of the 2025 era tells, to the servers that know it; never fails, and opens nothing."""
        notification = pared(notification, self.baggage)
        await asyncio.gather(*(bridge.tell(own.link, notification) for own in self._dialer.own(client)))

    def _follow(self, upstreams: Snapshot) -> None:
        """Let go of endpoints and upstreams that are no more. Who listened there listens anew."""
        known, self._known = self._known, upstreams
        self._listeners.leave(self._dialer.retire(gone(known, upstreams)))
        for name in (known.keys() - upstreams.keys()) | (served(upstreams) - served(known)):
            self._dialer.forget_health(name)

    def forget(self, client: Client) -> None:
        """A client of the 2025 era is gone for good: nothing is kept for it at the servers any more."""
        self._dialer.forget(client)
        self.measures.conversed(time.monotonic() - client.began)

    def deadline(self, call: Call, server: str) -> Deadline:
        """When a call to `server` that begins now has to end. Raises `UnknownUpstream`."""
        if not server and self._directory.merged:
            everybody = [sooner(call, upstream) for upstream in self._directory.snapshot.values()]
            return max(everybody, default=Deadline.after(_NOBODY_SECONDS).sooner(call.deadline))
        return sooner(call, self._directory.find(server))

    def too_late(self, call: Call) -> SidecarError:
        """What a call is told whose deadline has passed."""
        if self._stopping:
            return Draining("the sidecar stopped before the call ended", execution=call.execution)
        message = f"the MCP server {call.server!r} did not answer in time"
        if call.unanswered:
            message = f"the client did not answer in time what the MCP server {call.server!r} asked"
        return DeadlineExceeded(message, execution=call.execution, metadata={"server": call.server})

    async def _speaks_other_era(self, upstream: Upstream, so_far: SoFar, era: eras.Era, stay: Stay) -> bool:
        """Ask the endpoint that was tried last what it speaks; True when that is another era."""
        endpoint = so_far.tried.pop()
        self._dialer.prober.forget(endpoint)
        connection = await self._dialer.lease_at(endpoint, upstream, b"{}", Deadline(stay.at))
        self._dialer.give_back(upstream, connection)
        return connection.link.era is not era
