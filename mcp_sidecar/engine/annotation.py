"""What log and trace need to know of a request, noted when it comes in. Knows no upstream."""

from __future__ import annotations

import msgspec

from mcp_sidecar.call import NO_TRACE, Call, Trace
from mcp_sidecar.errors import InvalidCall
from mcp_sidecar.protocol import headers, jsonrpc, traced
from mcp_sidecar.protocol.baggage import NOTHING, Allowed
from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.protocol.traced import BAGGAGE, PARENT, STATE
from mcp_sidecar.sampling import Sampler


def annotate(call: Call, request: Request, sampler: Sampler | None = None, allowed: Allowed = NOTHING) -> Request:
    """Note what log and trace need to know of a request; returns it with the one trace context it is to carry.

    The `sampler` decides whether the call is traced, once its own trace context is known. Of its baggage goes on what
    is `allowed`.
    """
    call.method = request.method
    field = headers.NAMED_BY.get(request.method)
    if field is not None:
        call.name = call.name or _name(request, field)
    meta = request.meta
    own = PARENT in meta
    if own or STATE in meta:
        own, request = _read_trace(call, request)
    if BAGGAGE in meta or call.trace.baggage:
        request = _with_baggage(call, request, allowed)
    if sampler is not None and call.sampled is None:
        sampler.decide(call)
        if call.span is not None:
            call.span.message_id = request.id.decode()
    if not own and call.trace is not NO_TRACE and call.trace.traceparent:
        return traced.within(request, call.trace)
    return request


def pared(request: Request, allowed: Allowed) -> Request:
    """A message that is no call, with what of its trace context and baggage may go on."""
    if PARENT in request.meta or STATE in request.meta:
        _, request = traced.read(request)
    if BAGGAGE not in request.meta:
        return request
    return _carrying(request, allowed.of(jsonrpc.as_string(request.meta[BAGGAGE])))


def _name(request: Request, field: str) -> str:
    name = jsonrpc.as_string(request.params.get(field))
    if name is None:
        what = "must be a string"
        raise InvalidCall(f'"params.{field}" {what}', violations=((f"params.{field}", what),))
    return name


def _read_trace(call: Call, request: Request) -> tuple[bool, Request]:
    """Whether the message has a trace context of its own, which wins over the transport's; and the message without what
    of it is malformed.
    """
    own, request = traced.read(request)
    if own.traceparent:
        call.ambient, call.trace = call.trace, own
    return bool(own.traceparent), request


def _with_baggage(call: Call, request: Request, allowed: Allowed) -> Request:
    """The same baggage in the message and in what goes around it: the message's own, else the transport's."""
    given = jsonrpc.as_string(request.meta[BAGGAGE]) if BAGGAGE in request.meta else call.trace.baggage
    kept = allowed.of(given)
    found = call.trace
    call.trace = Trace(found.traceparent, found.tracestate, kept) if kept or found.traceparent else NO_TRACE
    return _carrying(request, kept)


def _carrying(request: Request, baggage: str) -> Request:
    rest = traced.without(request, (BAGGAGE,))
    return rest.with_meta({BAGGAGE: msgspec.json.encode(baggage)}) if baggage else rest
