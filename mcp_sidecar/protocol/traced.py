"""The trace context that a message carries in its `_meta` (SEP-414). Knows no header and decides nothing."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from mcp_sidecar.call import Trace, trace
from mcp_sidecar.protocol.jsonrpc import Request, as_string

PARENT, STATE, BAGGAGE = "traceparent", "tracestate", "baggage"
_KEYS = (PARENT, STATE, BAGGAGE)
_PLAIN = 55  # characters of a parent of version 00, in which nothing needs escaping
_META = b'"_meta":{'


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
    if (
        request.raw
        and not (context.tracestate or context.baggage)
        and (found := _spliced(request, context.traceparent))
    ):
        return found
    meta = dict(request.meta)
    for key in _KEYS:
        if value := getattr(context, key):
            meta[key] = msgspec.json.encode(value)  # it may hold quotation marks
        else:
            meta.pop(key, None)
    return Request(request.method, request.id, request.params, meta)


def _spliced(request: Request, parent: str) -> Request | None:
    """The message with only this added, its text still as it arrived: what is written anew costs three times as much.

    None where the place is not plain to see, or something else has to go.
    """
    meta = request.meta
    if len(parent) != _PLAIN or not meta or PARENT in meta or STATE in meta or BAGGAGE in meta:
        return None
    # What is there once is the member of `params`: a message that has its text still has that one, so spelt.
    if request.raw.count(_META) != 1:
        return None
    value = b'"%b"' % parent.encode()
    raw = request.raw.replace(_META, b'%b"traceparent":%b,' % (_META, value))
    return Request(request.method, request.id, request.params, {PARENT: value, **meta}, raw)


def without(request: Request, keys: Collection[str]) -> Request:
    """The message without these members of `_meta`."""
    meta = {key: value for key, value in request.meta.items() if key not in keys}
    return Request(request.method, request.id, request.params, meta)
