"""What log and trace need to know of a request, noted when it comes in. Knows no upstream."""

from __future__ import annotations

from mcp_sidecar.call import NO_TRACE, Call, trace
from mcp_sidecar.engine.legs import TRACE_KEYS, trace_meta
from mcp_sidecar.errors import InvalidCall
from mcp_sidecar.protocol import headers, jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.sampling import Sampler


def annotate(call: Call, request: Request, sampler: Sampler | None = None) -> Request:
    """Note what log and trace need to know of a request; returns it with the one trace context it is to carry.

    The `sampler` decides whether the call is traced, once its own trace context is known.
    """
    call.method = request.method
    field = headers.NAMED_BY.get(request.method)
    if field is not None:
        call.name = call.name or _name(request, field)
    own = "traceparent" in request.meta
    if own:
        _read_trace(call, request)
    if sampler is not None and call.sampled is None:
        sampler.decide(call)
        if call.span is not None:
            call.span.message_id = request.id.decode()
    if not own and call.trace is not NO_TRACE and call.trace.traceparent:
        return request.with_meta(trace_meta(call.trace))
    return request


def _name(request: Request, field: str) -> str:
    name = jsonrpc.as_string(request.params.get(field))
    if name is None:
        what = "must be a string"
        raise InvalidCall(f'"params.{field}" {what}', violations=((f"params.{field}", what),))
    return name


def _read_trace(call: Call, request: Request) -> None:
    """The message's own trace context wins over the transport's (SEP-414)."""
    text = {key: jsonrpc.as_string(request.meta.get(key)) for key in TRACE_KEYS}
    own = trace(text["traceparent"], text["tracestate"], text["baggage"])
    if own.traceparent:
        call.ambient, call.trace = call.trace, own
