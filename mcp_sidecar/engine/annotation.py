"""What log and trace need to know of a request, noted when it comes in. Knows no upstream."""

from __future__ import annotations

import msgspec

from mcp_sidecar.call import NO_TRACE, Call, Trace, trace
from mcp_sidecar.errors import InvalidCall
from mcp_sidecar.protocol import headers, jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request

_TRACE_KEYS = ("traceparent", "tracestate", "baggage")


def annotate(call: Call, request: Request) -> Request:
    """Note what log and trace need to know of a request; returns it with the one trace context it is to carry."""
    call.method = request.method
    field = headers.NAMED_BY.get(request.method)
    if field is not None:
        name = call.name or jsonrpc.as_string(request.params.get(field))
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
