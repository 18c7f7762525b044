"""What goes around every call, on every face: recovery → log and metrics → authentication → the handler.

One coroutine, joined once per handler, so that a call pays for one frame and not for one an interceptor. Each face
brings its own recovery, which turns a failure into that face's answer; `status.named` decides what a failure is called,
so that log line, sample and answer agree (docs/decisions/0003).
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from mcp_sidecar.call import ANONYMOUS, NO_TRACE, POD, Call, Principal
from mcp_sidecar.errors import (
    Bug,
    Cancelled,
    DeadlineExceeded,
    Draining,
    Execution,
    Exhausted,
    SidecarError,
    UpstreamRefused,
)
from mcp_sidecar.inbound.auth import Authenticator
from mcp_sidecar.inbound.instruments import SHED
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.inbound.status import OK, named, status_of
from mcp_sidecar.logs import Line, Log
from mcp_sidecar.protocol.eras import CALL_TOOL
from mcp_sidecar.shown import LONGEST, shown_name

Handler = Callable[[Call, Any], Awaitable[Any]]
Recover = Callable[[Call, Any, SidecarError, BaseException], Awaitable[Any]]
"""Turns a failure, by our name and as it was raised, into an answer; raises what has to go further."""
Conclude = Callable[[Any, Any, Any], Awaitable[None] | None]
"""Takes call, request and what the handler returned; what it returns is awaited."""


async def pass_on(_call: Call, _request: Any, _failure: SidecarError, error: BaseException) -> Any:
    """The recovery of those who answer failures themselves."""
    raise error


def let_through(error: BaseException) -> None:
    """Raise what ends a task and not its work alone: a cancellation of the task itself, or the end of the process.

    Somebody else's cancellation that leaked into this task is a failure like any other, also in a group: a client that
    is told nothing would hang.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise error
    elif isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise error


class Chain:
    """Joins handlers with what goes around them. Without an `authenticator` everybody is let in as nobody."""

    def __init__(
        self, ledger: Ledger, authenticator: Authenticator | None = None, *, exempt: tuple[str, ...] = ()
    ) -> None:
        self._ledger = ledger
        self._authenticator = authenticator
        self._exempt = exempt
        """Services that answer everybody, as beginnings of RPC names."""

    def inside(self) -> Chain:
        """The chain for the parts of a call whose caller was let in already."""
        return Chain(self._ledger)

    def around(
        self,
        handler: Handler,
        recover: Recover = pass_on,
        *,
        arrive: Callable[[Any], Call] | None = None,
        conclude: Conclude | None = None,
    ) -> Callable[[Any, Any], Coroutine[Any, Any, Any]]:
        """The handler with everything around it, taking a request and its origin; done once, when it is registered.

        `arrive` makes a call of the origin, which may be the call itself; `conclude` is told of a success before it
        counts as one.
        """
        ended = self._ledger.ended
        admit = self.admit if self._authenticator is not None else None

        async def run(request: Any, origin: Any) -> Any:
            call = origin if arrive is None else arrive(origin)
            try:
                if admit is not None:
                    await admit(call)
                answer = await handler(call, request)
                if conclude is not None and (rest := conclude(call, request, answer)) is not None:
                    await rest
            except BaseException as error:  # noqa: BLE001  # the call's boundary
                failure = named(error, call)
                ended(call, failure, error)
                return await recover(call, request, failure, error)
            call.execution = _DONE
            ended(call)
            return answer

        return run

    def refused(self, call: Call, failure: SidecarError) -> None:
        """A call failed before there was anything to hand to a handler."""
        self._ledger.ended(call, failure)

    async def admit(self, call: Call) -> None:
        """Find out who calls; refuse those who cannot be known."""
        if self._authenticator is not None and not (self._exempt and call.rpc.startswith(self._exempt)):
            try:
                async with asyncio.timeout(None if call.deadline is None else call.deadline.remaining()):
                    known = await self._authenticator.authenticate(call.authorization)
                # What a token says goes before what the connection's certificate does.
                shown = call.principal.certificate
                call.principal = replace(known, certificate=shown) if shown else known
            except TimeoutError as late:
                raise DeadlineExceeded("the deadline passed before it was known who calls") from late
            finally:
                call.authorization = None


Entry = tuple[Call, float, SidecarError | None, BaseException | None]
"""A call that has ended, when (monotonic seconds), its failure by our name, and as it was raised."""
Tell = Callable[[Sequence[Entry], Sequence["CallLine"]], None]
_MOST_WAITING = 1000
_DONE = Execution.DONE  # looking a member up in its class costs as much as a call
_DID_RUN = _DONE.value


class Ledger:
    """One line and one sample for each call that has ended, whatever its end.

    The stack of a bug goes into the line and nowhere else. Successes of the `quiet` RPCs are worth a debug line only.
    `tell` hears of every call that has ended, of some together, and what their lines are.
    """

    def __init__(
        self, log: Log, metrics: Metrics, *, quiet: frozenset[str] = frozenset(), tell: Tell | None = None
    ) -> None:
        self._log = log
        self._tell = tell
        self._metrics = metrics
        self._quiet = quiet
        self._waiting: list[Entry] = []
        metrics.before_snapshot(self.settle)

    def ended(self, call: Call, failure: SidecarError | None = None, error: BaseException | None = None) -> None:
        """Take note. The entry is made a little later, with others: in a row they cost a fraction (decision 0010)."""
        waiting = self._waiting
        waiting.append((call, time.monotonic(), failure, error))
        if len(waiting) == 1:
            self._log.soon(self.settle)
        elif len(waiting) >= _MOST_WAITING:
            self.settle()

    def settle(self) -> None:
        """Make the entries that wait."""
        waiting, self._waiting = self._waiting, []
        enter, now = self._enter, time.monotonic()
        lines = [enter(call, at - call.started, failure, error) for call, at, failure, error in waiting]
        if self._tell is not None:
            self._tell(waiting, lines)
        self._log.write(lines, [now - ended[1] for ended in waiting])
        for _, _, _, error in waiting:
            if error is not None:
                _let_go(error)

    def _enter(self, call: Call, seconds: float, failure: SidecarError | None, error: BaseException | None) -> CallLine:
        """Count and time one call; its line."""
        if failure is None:
            level, code, execution, fault = "debug" if call.rpc in self._quiet else "info", OK, _DID_RUN, call.fault
        else:
            level, code, execution, fault = self._failed(call, failure)
        rpc, method, server, span, waited = call.rpc, call.method, call.server, call.span, call.waited
        if method == CALL_TOOL:
            tool = name = call.name[:LONGEST]
        else:
            tool, name = "", shown_name(method, call.name)
        self._metrics.record(
            (rpc, method, server, code, execution, tool, fault),
            seconds,
            None if not waited else seconds - waited if seconds > waited else 0.0,
            None if span is None else (span.trace_id, span.span_id),
        )
        line = CallLine(
            "",
            level,
            "call",
            rpc,
            method,
            server,
            name,
            code,
            execution,
            int(seconds * 100_000 + 0.5) / 100,  # `round` takes several times as long
            call.request_id,
            span.trace_id if span is not None else "" if call.trace is NO_TRACE else call.trace.trace_id,
            call.peer,
        )
        if call.principal is not ANONYMOUS:
            _identify(line, call.principal)
        if failure is not None:
            _explain(line, failure, error)
        return line

    def _failed(self, call: Call, failure: SidecarError) -> tuple[str, str, str, str]:
        """Level, code, execution and fault of what did not go well."""
        if isinstance(failure, (Exhausted, Draining)):
            self._metrics.count(SHED, reason=failure.reason)
        fault = call.fault if isinstance(failure, UpstreamRefused) else ""
        return _level(failure), status_of(failure).grpc, failure.execution.value, fault


def _let_go(error: BaseException) -> None:
    """Make a failure, and those behind it, forget the frames they passed.

    The frames know the failure in turn, and the message and answer it was about: up to 20 MiB a call, which would stay
    until the cycle collector comes round. That counts objects and not bytes.
    """
    left, seen = [error], set[BaseException]()
    while left:
        one = left.pop()
        if one in seen:
            continue
        seen.add(one)
        one.__traceback__ = None
        left += [other for other in (one.__cause__, one.__context__) if other is not None]
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions


def _identify(line: CallLine, principal: Principal) -> None:
    line.subject = principal.subject[:LONGEST]
    line.certificate = principal.certificate[:LONGEST]
    line.pod = str(principal.claims.get(POD, ""))[:LONGEST]


def _explain(line: CallLine, failure: SidecarError, error: BaseException | None) -> None:
    # What a server says in an error may repeat arguments: the log gets the code only.
    line.error = f"JSON-RPC error {failure.code}" if isinstance(failure, UpstreamRefused) else failure.message
    if isinstance(failure, Bug) and error is not None:
        line.stack = "".join(traceback.format_exception(error))[-6000:]


def _level(failure: SidecarError) -> str:
    if isinstance(failure, Cancelled):
        return "info"
    return "error" if isinstance(failure, Bug) else "warning"


class CallLine(Line, omit_defaults=True, gc=False):
    """A call's log line; the fields without a default are always there."""

    rpc: str
    method: str
    server: str
    name: str
    code: str
    execution: str
    duration_ms: float
    request_id: str
    trace_id: str
    peer: str
    subject: str = ""
    certificate: str = ""
    pod: str = ""
    error: str = ""
    stack: str = ""
