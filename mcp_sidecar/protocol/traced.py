"""The trace context that a message carries in its `_meta` (SEP-414). Knows no header and decides nothing."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from mcp_sidecar.call import Trace, trace
from mcp_sidecar.protocol.jsonrpc import Request, as_string

PARENT, STATE, BAGGAGE = "traceparent", "tracestate", "baggage"
_KEYS = (PARENT, STATE, BAGGAGE)


def read(request: Request) -> tuple[Trace, Request]:
    """A message's own trace context, and the message without what of parent and state is malformed.

    A state belongs to its parent: without one it says nothing.
    """
    meta = request.meta
    parent, state, baggage = (as_string(meta.get(key)) for key in _KEYS)
    own = trace(parent, state, baggage)
    if not own.traceparent:
        return own, without(request, (PARENT, STATE))
    if STATE in meta and (not state or state != own.tracestate):
        request = without(request, (STATE,))
        if own.tracestate:
            request = request.with_meta({STATE: msgspec.json.encode(own.tracestate)})
    return own, request


def within(request: Request, context: Trace) -> Request:
    """The message with this trace context, and with nothing of another."""
    meta = dict(request.meta)
    for key in _KEYS:
        if value := getattr(context, key):
            meta[key] = msgspec.json.encode(value)  # it may hold quotation marks
        else:
            meta.pop(key, None)
    return Request(request.method, request.id, request.params, meta)


def without(request: Request, keys: Collection[str]) -> Request:
    """The message without these members of `_meta`."""
    meta = {key: value for key, value in request.meta.items() if key not in keys}
    return Request(request.method, request.id, request.params, meta)
