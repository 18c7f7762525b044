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
from mcp_sidecar.errors import DeadlineExceeded, SidecarError, UpstreamRefused
from mcp_sidecar.protocol import eras
from mcp_sidecar.protocol.outcome import CALLERS_FAULT
from mcp_sidecar.spans import Received, Span, Value

SCOPE = InstrumentationScope("mcp_sidecar", __version__)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NAMED = {eras.CALL_TOOL: names.TOOL, "prompts/get": names.PROMPT}
_MOST_TEXT = 1024
Attributes = dict[str, Value]


class Finished(NamedTuple):
    """A sampled call that ended at `ended` (monotonic seconds), with what had been sent for it until then."""

    call: Call
    span: Received
    legs: tuple[Span, ...]
    ended: float
    failure: SidecarError | None

    @classmethod
    def at(cls, ended: float, call: Call, span: Received, failure: SidecarError | None) -> Finished:
        return cls(call, span, tuple(span.legs), ended, failure)

    def weight(self) -> int:
        """How many spans it is."""
        return 1 + len(self.legs)


class Traces:
    """Turns calls into spans of `resource`."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def of(self, finished: Finished) -> Iterator[ReadableSpan]:
        """The spans of a call that has ended."""
        call, span, legs, ended, failure = finished
        offset = time.time() - time.monotonic()
        span.ended, span.name = ended, _title(call)
        span.error = _fault(failure) if failure is not None else call.fault
        attributes = _received(call, span) | {names.EXECUTION: (failure or call).execution.value}
        fault = span.error if span.error not in CALLERS_FAULT else ""
        yield self._make(span, SpanKind.SERVER, attributes, offset, error=fault)
        for leg in legs:
            leg.ended = leg.ended or ended  # it is still open where a call is held for its client's answer
            attributes = _sent(call, leg)
            leg.name = f"{leg.name} {call.name}" if leg.name in _NAMED and call.name else leg.name
            yield self._make(leg, SpanKind.CLIENT, attributes, offset, error=leg.error)

    def _make(
        self, span: Span, kind: SpanKind, attributes: Mapping[str, Value], offset: float, *, error: str
    ) -> ReadableSpan:
        state = TraceState.from_header([span.tracestate]) if span.tracestate else TraceState()
        parent = _context(span.trace_id, span.parent_id, state, remote=kind is SpanKind.SERVER)
        context = _context(span.trace_id, span.span_id, state, remote=False)
        assert context is not None  # noqa: S101  # every span has an id
        return ReadableSpan(
            name=fit(span.name),
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=_fitting(attributes),
            links=_links(span),
            kind=kind,
            status=Status(StatusCode.ERROR, error) if error else Status(),
            start_time=_nanoseconds(span.started + offset),
            end_time=_nanoseconds(span.ended + offset),
            instrumentation_scope=SCOPE,
        )


def _fitting(attributes: Mapping[str, Value]) -> Attributes:
    known = ((name, value) for name, value in attributes.items() if name in names.SPAN_ATTRIBUTES)
    return {name: fit(value) if isinstance(value, str) else value for name, value in known}


def fit(text: str) -> str:
    """What protobuf takes: no half of a surrogate pair (JSON allows it), and not more than anybody reads."""
    text = text[:_MOST_TEXT]
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


def _title(call: Call) -> str:
    """`tools/call weather`: a method, and the tool or prompt; URIs are too many for names."""
    if not call.method:
        return call.rpc.removeprefix("/") or "HTTP"
    return f"{call.method} {call.name}" if call.name and call.method in _NAMED else call.method


def _about(call: Call) -> Attributes:
    """What both kinds of spans say of the call."""
    found: Attributes = {names.SERVER: call.server} if call.server else {}
    if call.method:
        found[names.MCP_METHOD] = call.method
    if call.name:
        found[_NAMED.get(call.method, names.RESOURCE_URI)] = call.name
    if call.method == eras.CALL_TOOL:
        found[names.OPERATION] = "execute_tool"
    return found


def _received(call: Call, span: Received) -> Attributes:
    found = _about(call) | {
        names.REQUEST_ID: call.request_id,
        names.TRANSPORT: "tcp",
        names.PROTOCOL_NAME: "http",
        names.PROTOCOL_VERSION: "2" if call.rpc else "1.1",
    }
    for name, value in ((names.MESSAGE_ID, span.message_id), (names.MCP_VERSION, call.protocol_version)):
        if value:
            found[name] = value
    if span.lost:
        found[names.LEGS_LOST] = span.lost
    return _with_error(found | _client(call.peer), span.error)


def _client(peer: str) -> Attributes:
    """gRPC says `ipv4:127.0.0.1:4711`, HTTP `127.0.0.1:4711`; a unix socket has no address."""
    plain = unquote(peer.removeprefix("ipv4:").removeprefix("ipv6:"))  # gRPC quotes the brackets
    host, _, port = plain.rpartition(":")
    if not host or not port.isdecimal():
        return {}
    return {names.CLIENT_ADDRESS: host.strip("[]"), names.CLIENT_PORT: int(port)}


def _sent(call: Call, leg: Span) -> Attributes:
    found = _about(call) | leg.attributes
    found[names.MCP_METHOD] = leg.name
    host, _, port = str(found.pop(names.SERVER_ADDRESS, "")).rpartition(":")
    if port.isdecimal():
        found |= {names.SERVER_ADDRESS: host.strip("[]"), names.SERVER_PORT: int(port)}
    elif host or port:
        found[names.SERVER_ADDRESS] = port
    return _with_error(found, leg.error)


def _with_error(found: Attributes, error: str) -> Attributes:
    if error:
        found[names.ERROR_TYPE] = error
    return found


def _fault(failure: SidecarError) -> str:
    """A failure in one word of low cardinality; what a server answered is called as where it is passed on."""
    if isinstance(failure, UpstreamRefused):
        return str(failure.code)
    return "timeout" if isinstance(failure, DeadlineExceeded) else failure.reason


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
