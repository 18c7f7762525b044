"""What log and trace need to know of a request, noted when it comes in. Knows no upstream."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mcp_sidecar.call import NO_TRACE, Call, Trace, trace
from mcp_sidecar.engine.legs import TRACE_KEYS, trace_meta
from mcp_sidecar.errors import InvalidCall
from mcp_sidecar.protocol import headers, jsonrpc
from mcp_sidecar.protocol.baggage import NOTHING, Allowed
from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.sampling import Sampler

_BAGGAGE = "baggage"


def annotate(call: Call, request: Request, sampler: Sampler | None = None, allowed: Allowed = NOTHING) -> Request:
    """Note what log and trace need to know of a request; returns it with the one trace context it is to carry.

    The `sampler` decides whether the call is traced, once its own trace context is known. Of its baggage goes on what
    is `allowed`.
    """
    call.method = request.method
    field = headers.NAMED_BY.get(request.method)
    if field is not None:
        call.name = call.name or _name(request, field)
    own = "traceparent" in request.meta
    if own and not _read_trace(call, request):
        own, request = False, _without(request, TRACE_KEYS[:2])
    if _BAGGAGE in request.meta or call.trace.baggage:
        request = _with_baggage(call, request, allowed)
    if sampler is not None and call.sampled is None:
        sampler.decide(call)
        if call.span is not None:
            call.span.message_id = request.id.decode()
    if not own and call.trace is not NO_TRACE and call.trace.traceparent:
        return request.with_meta(trace_meta(call.trace))
    return request


def pared(request: Request, allowed: Allowed) -> Request:
    """The message with what of its baggage may go on."""
    if _BAGGAGE not in request.meta:
        return request
    return _carrying(request, allowed.of(jsonrpc.as_string(request.meta[_BAGGAGE])))


def _name(request: Request, field: str) -> str:
    name = jsonrpc.as_string(request.params.get(field))
    if name is None:
        what = "must be a string"
        raise InvalidCall(f'"params.{field}" {what}', violations=((f"params.{field}", what),))
    return name


def _read_trace(call: Call, request: Request) -> bool:
    """The message's own trace context wins over the transport's (SEP-414), unless it is malformed."""
    text = {key: jsonrpc.as_string(request.meta.get(key)) for key in TRACE_KEYS}
    own = trace(text["traceparent"], text["tracestate"], text[_BAGGAGE])
    if own.traceparent:
        call.ambient, call.trace = call.trace, own
    return bool(own.traceparent)


def _with_baggage(call: Call, request: Request, allowed: Allowed) -> Request:
    """The same baggage in the message and in what goes around it: the message's own, else the transport's."""
    given = jsonrpc.as_string(request.meta[_BAGGAGE]) if _BAGGAGE in request.meta else call.trace.baggage
    kept = allowed.of(given)
    traced = call.trace
    call.trace = Trace(traced.traceparent, traced.tracestate, kept) if kept or traced.traceparent else NO_TRACE
    return _carrying(request, kept)


def _carrying(request: Request, baggage: str) -> Request:
    rest = _without(request, (_BAGGAGE,))
    return rest.with_meta({_BAGGAGE: msgspec.json.encode(baggage)}) if baggage else rest


def _without(request: Request, keys: Sequence[str]) -> Request:
    """The message without these members of `_meta`."""
    meta = {key: value for key, value in request.meta.items() if key not in keys}
    return Request(request.method, request.id, request.params, meta)
