"""The interceptor chain: one coroutine a step, around the whole call, the same for every kind of call and every face.

Order, outermost first: recovery → logging → authentication → metrics → the handler. Each face brings its own recovery,
which turns what it catches into that face's answer; `status.named` decides what a failure is called, so that log line,
sample and answer agree.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from mcp_sidecar.call import Call
from mcp_sidecar.errors import Bug, Cancelled, Execution, SidecarError, UpstreamRefused
from mcp_sidecar.inbound.auth import Authenticator
from mcp_sidecar.inbound.metrics import CALLS, Metrics
from mcp_sidecar.inbound.status import OK, named, status_of
from mcp_sidecar.logs import Log

Next = Callable[[Call, Any], Awaitable[Any]]
Step = Callable[[Call, Any, Next], Awaitable[Any]]


# When to do what nobody waits for. A face whose answers leave after the chain hands in its loop's `call_soon`: the
# client gets its answer first, and line and sample are made while that is on its way.
Soon = Callable[..., object]


def at_once(work: Callable[..., object], *about: object) -> None:
    """The answer has left already."""
    work(*about)


def compose(steps: Sequence[Step], leaf: Next) -> Next:
    """One function from steps and a handler; done once, when the handler is registered."""
    composed = leaf
    for step in reversed(steps):
        composed = _around(step, composed)
    return composed


def _around(step: Step, inner: Next) -> Next:
    def entered(call: Call, request: Any) -> Awaitable[Any]:
        return step(call, request, inner)

    return entered


class Logging:
    """One line when the call has ended, whatever its end. The stack of a bug goes here and nowhere else."""

    def __init__(self, log: Log, *, quiet: frozenset[str] = frozenset(), soon: Soon = at_once) -> None:
        self._log = log
        self._quiet = quiet
        self._soon = soon

    async def __call__(self, call: Call, request: Any, inner: Next) -> Any:
        try:
            answer = await inner(call, request)
        except BaseException as error:
            self._ended(call, named(error, call), error)
            raise
        call.execution = Execution.DONE
        self._soon(self._ended, call, None, None)
        return answer

    def _ended(self, call: Call, failure: SidecarError | None, error: BaseException | None) -> None:
        level = "debug" if failure is None and call.rpc in self._quiet else _level(failure)
        if not self._log.takes(level):
            return
        line = describe(call, failure)
        if isinstance(failure, Bug) and error is not None:
            line.stack = "".join(traceback.format_exception(error))[-6000:]
        self._log.event(level, "call", line)


def _level(failure: SidecarError | None) -> str:
    if failure is None or isinstance(failure, Cancelled):
        return "info"
    return "error" if isinstance(failure, Bug) else "warning"


class CallLine(msgspec.Struct, omit_defaults=True, gc=False):
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
    error: str = ""
    stack: str = ""


def describe(call: Call, failure: SidecarError | None) -> CallLine:
    """What the log says of a call."""
    line = CallLine(
        call.rpc,
        call.method,
        call.server,
        call.name[:128],
        OK,
        call.execution.value,
        round((time.monotonic() - call.started) * 1000, 2),
        call.request_id,
        call.trace.trace_id,
        call.peer,
        call.principal.subject[:128],
    )
    if failure is not None:
        line.code = status_of(failure).grpc
        line.execution = failure.execution.value
        # What a server says in an error may repeat arguments: the log gets the code only.
        line.error = f"JSON-RPC error {failure.code}" if isinstance(failure, UpstreamRefused) else failure.message
    return line


class Measuring:
    """One sample when the call has ended. Calls refused before they get here are recorded by who refuses them."""

    def __init__(self, metrics: Metrics, *, soon: Soon = at_once) -> None:
        self._metrics = metrics
        self._soon = soon

    async def __call__(self, call: Call, request: Any, inner: Next) -> Any:
        try:
            answer = await inner(call, request)
        except BaseException as error:
            self.record(call, named(error, call))
            raise
        self._soon(self.record, call, None)
        return answer

    def record(self, call: Call, failure: SidecarError | None) -> None:
        """Count and time one ended call."""
        code = OK if failure is None else status_of(failure).grpc
        execution = "done" if failure is None else failure.execution.value
        self._metrics.record(call.rpc, call.method, call.server, code, time.monotonic() - call.started)
        self._metrics.count(CALLS, code=code, execution=execution)


class Authentication:
    """Finds out who calls; refuses those it cannot know. `exempt` services answer everybody."""

    def __init__(self, authenticator: Authenticator, measuring: Measuring, *, exempt: tuple[str, ...] = ()) -> None:
        self._authenticator = authenticator
        self._measuring = measuring
        self._exempt = exempt

    async def __call__(self, call: Call, request: Any, inner: Next) -> Any:
        if not call.rpc.startswith(self._exempt):
            try:
                call.principal = await self._authenticator.authenticate(call.authorization)
            except BaseException as refusal:
                # The metrics step is inside this one and never sees the call.
                self._measuring.record(call, named(refusal, call))
                raise
            finally:
                call.authorization = None
        return await inner(call, request)
