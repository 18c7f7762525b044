"""A finished call as spans of the SDK: a SERVER span, and a CLIENT span for each request sent. Knows no exporter."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.trace.status import Status, StatusCode

from mcp_sidecar import __version__
from mcp_sidecar import attributes as names
from mcp_sidecar.call import Call
from mcp_sidecar.errors import Cancelled, DeadlineExceeded, SidecarError, UpstreamRefused
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.outcome import is_callers
from mcp_sidecar.shown import shown_name
from mcp_sidecar.spans import LONGEST_ATTRIBUTE, Received, Span, Value

SCOPE = InstrumentationScope("mcp_sidecar", __version__)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_TITLED = (eras.CALL_TOOL, "prompts/get")
_TIMEOUT = "timeout"
Attributes = dict[str, Value]


class Finished(NamedTuple):
    """A sampled call that ended at `ended` (monotonic seconds), with what had been sent for it until then.

    Copied from the call and its failure: they may hold megabytes, and nobody knows how long a collector lets this wait.
    """

    span: Received
    legs: tuple[Span, ...]
    ended: float
    rpc: str
    method: str
    server: str
    name: str
    request_id: str
    peer: str
    version: str
    """What the client speaks."""
    session: str
    execution: str
    error: str
    """What went wrong in a word."""
    own: bool
    """That is an error of the one who answered, and not of the caller."""
    late: bool
    """The deadline ended it."""

    @classmethod
    def at(cls, ended: float, call: Call, span: Received, failure: SidecarError | None) -> Finished:
        return cls(
            span,
            tuple(span.legs),
            ended,
            call.rpc,
            call.method,
            call.server,
            shown_name(call.method, call.name, LONGEST_ATTRIBUTE),
            call.request_id,
            call.peer,
            *_spoken(call, span),
            (failure or call).execution.value,
            _fault(failure) if failure is not None else call.fault,
            not is_callers(failure, call.fault),
            isinstance(failure, DeadlineExceeded),
        )

    def weight(self) -> int:
        """How many spans it is."""
        return 1 + len(self.legs)


class Traces:
    """Turns calls into spans of `resource`."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def of(self, finished: Finished) -> Iterator[ReadableSpan]:
        """The spans of a call that has ended. Changes nothing: a batch may be sent again."""
        span, ended = finished.span, finished.ended
        offset = time.time() - time.monotonic()
        status = finished.error if finished.own else ""
        times = _times(span, ended, offset)
        yield self._make(span, SpanKind.SERVER, _title(finished), _received(finished), times, status)
        for leg in finished.legs:
            attributes = _sent(leg, late=finished.late)
            status = str(attributes.get(names.ERROR_TYPE, ""))
            # It is still open where a call is held for its client's answer.
            times = _times(leg, leg.ended or ended, offset)
            yield self._make(leg, SpanKind.CLIENT, _leg_title(leg), attributes, times, status)

    def _make(
        self,
        span: Span,
        kind: SpanKind,
        title: str,
        attributes: Mapping[str, Value],
        times: tuple[int, int],
        error: str,
    ) -> ReadableSpan:
        state = TraceState.from_header([span.tracestate]) if span.tracestate else TraceState()
        parent = _context(span.trace_id, span.parent_id, state, remote=kind is SpanKind.SERVER)
        context = _context(span.trace_id, span.span_id, state, remote=False)
        assert context is not None  # noqa: S101  # every span has an id
        return ReadableSpan(
            name=fit(title),
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=_fitting(attributes),
            links=_links(span),
            kind=kind,
            status=Status(StatusCode.ERROR, error) if error else Status(),
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=SCOPE,
        )


def _fitting(attributes: Mapping[str, Value]) -> Attributes:
    known = ((name, value) for name, value in attributes.items() if name in names.SPAN_ATTRIBUTES)
    return {name: fit(value) if isinstance(value, str) else value for name, value in known}


def fit(text: str) -> str:
    """What protobuf takes: no half of a surrogate pair (JSON allows it), and not more than anybody reads."""
    text = text[:LONGEST_ATTRIBUTE]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _context(trace_id: str, span_id: str, state: TraceState, *, remote: bool) -> SpanContext | None:
    if not span_id:
        return None
    return SpanContext(int(trace_id, 16), int(span_id, 16), remote, _SAMPLED, state)


def _links(span: Span) -> tuple[Link, ...]:
    if not span.link:
        return ()
    _, trace_id, span_id, _ = span.link.split("-", 3)
    context = _context(trace_id, span_id, TraceState(), remote=True)
    return () if context is None else (Link(context),)


def _title(call: Finished) -> str:
    """`tools/call weather`: a method, and the tool or prompt; URIs are too many for names."""
    if not call.method:
        return call.rpc.removeprefix("/") or "HTTP"
    return f"{call.method} {call.name}" if call.name and call.method in _TITLED else call.method


def _leg_title(leg: Span) -> str:
    named = leg.attributes.get(names.NAMED[leg.name]) if leg.name in _TITLED else ""
    return f"{leg.name} {named}" if named else leg.name


def _about(method: str) -> Attributes:
    """What both kinds of spans say of a message."""
    found: Attributes = {names.MCP_METHOD: method} if method else {}
    if method == eras.CALL_TOOL:
        found[names.OPERATION] = "execute_tool"
    return found


def _received(call: Finished) -> Attributes:
    found = _about(call.method) | {
        names.EXECUTION: call.execution,
        names.REQUEST_ID: call.request_id,
        names.TRANSPORT: "unix" if call.peer.startswith("unix") else "tcp",
        names.PROTOCOL_NAME: "http",
        names.PROTOCOL_VERSION: "2" if call.rpc.startswith("/") else "1.1",
        names.SERVER: call.server,
        names.MESSAGE_ID: _id(call.span.message_id),
    }
    if call.method:  # with the server it may be another
        found |= {names.MCP_VERSION: call.version, names.SESSION_ID: call.session}
    if call.method in names.NAMED:
        found[names.NAMED[call.method]] = call.name
    if call.span.lost:
        found[names.LEGS_LOST] = call.span.lost
    return _with_error(found | _client(call.peer), call.error)


def _spoken(call: Call, span: Received) -> tuple[str, str]:
    """The client's revision, and its session if it has one; before there is an agreement, what it asks for."""
    if call.client is not None:
        return call.client.version, call.client.session
    return eras.LATEST_MODERN if span.offered is None else span.offered, ""


def _id(text: str) -> str:
    """The id of a message, of which strings lose their quotation marks."""
    found = jsonrpc.as_string(text.encode()) if text.startswith('"') else None
    return text if found is None else found


def _client(peer: str) -> Attributes:
    """gRPC says `ipv4:127.0.0.1:4711`, HTTP `127.0.0.1:4711`; a unix socket has no address."""
    plain = unquote(peer.removeprefix("ipv4:").removeprefix("ipv6:"))  # gRPC quotes the brackets
    host, _, port = plain.rpartition(":")
    if not host or not port.isdecimal():
        return {}
    return {names.CLIENT_ADDRESS: host.strip("[]"), names.CLIENT_PORT: int(port)}


def _sent(leg: Span, *, late: bool) -> Attributes:
    found = _about(leg.name) | leg.attributes
    found[names.MESSAGE_ID] = _id(str(found.get(names.MESSAGE_ID, "")))
    host, _, port = str(found.pop(names.SERVER_ADDRESS, "")).rpartition(":")
    if port.isdecimal():
        found |= {names.SERVER_ADDRESS: host.strip("[]"), names.SERVER_PORT: int(port)}
    elif host or port:
        found[names.SERVER_ADDRESS] = port
    of_time = leg.error == DeadlineExceeded.reason or (late and leg.error == Cancelled.reason)
    return _with_error(found, _TIMEOUT if of_time else leg.error)


def _with_error(found: Attributes, error: str) -> Attributes:
    """What is known, with the error; a code of JSON-RPC stands under its own name too."""
    if error:
        found[names.ERROR_TYPE] = error
    if error.removeprefix("-").isdecimal():
        found[names.RPC_STATUS] = error
    return {name: value for name, value in found.items() if value != ""}


def _fault(failure: SidecarError) -> str:
    """A failure in one word of low cardinality; what a server answered is called as where it is passed on."""
    if isinstance(failure, UpstreamRefused):
        return str(failure.code)
    return _TIMEOUT if isinstance(failure, DeadlineExceeded) else failure.reason


def _times(span: Span, ended: float, offset: float) -> tuple[int, int]:
    """Beginning and end in nanoseconds of Unix time."""
    return int((span.started + offset) * 1e9), int((ended + offset) * 1e9)
