"""The requests that are sent for a traced call, each with a span of its own. Knows no sampling and no exporter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

import msgspec

from mcp_sidecar.call import Call, Trace
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.outbound.link import Link, Sink
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.spans import Received, Span

TRACE_KEYS = ("traceparent", "tracestate", "baggage")
TOOL_ERROR = "tool_error"
CANCELLED = "cancelled"


class _Result(msgspec.Struct):
    isError: bool = False  # noqa: N815  # the wire's spelling


_result = msgspec.json.Decoder(_Result)


def exchange(link: Link, request: Request, call: Call, sink: Sink) -> Awaitable[Response]:
    """`Link.exchange`; what it does is seen in the call's trace, if there is one."""
    span = call.span
    return link.exchange(request, call, sink) if span is None else _traced(link, request, call, sink, span)


async def _traced(link: Link, request: Request, call: Call, sink: Sink, received: Received) -> Response:
    leg = received.leg(request.method)
    leg.attributes = {
        "jsonrpc.request.id": request.id.decode(),
        "mcp.protocol.version": link.profile.version,
        "network.transport": "pipe" if link.transport == "stdio" else "tcp",
        "mcp_sidecar.connection.id": call.connection_id,
        "server.address": received.toward,
    }
    outer, call.trace = call.trace, Trace(leg.traceparent, leg.tracestate, leg.baggage)
    try:
        response = await link.exchange(request.with_meta(trace_meta(call.trace)), call, sink)
        leg.error = _error_in(response, leg)
        return response
    except SidecarError as failure:
        leg.error = failure.reason
        raise
    except asyncio.CancelledError:
        leg.error = CANCELLED
        raise
    finally:
        call.trace = outer
        leg.ended = time.monotonic()


def _error_in(response: Response, leg: Span) -> str:
    """What the conventions want to see of an answer: a code of JSON-RPC, or that the tool failed."""
    if response.error is not None:
        said = jsonrpc.read_error(response)
        code = str(said[0]) if said else "_OTHER"
        leg.attributes["rpc.response.status_code"] = code
        return code
    try:
        failed = response.result is not None and _result.decode(response.result).isError
    except msgspec.DecodeError:
        return ""
    return TOOL_ERROR if failed else ""


def trace_meta(context: Trace) -> dict[str, bytes]:
    """A trace context as members of `_meta` (SEP-414)."""
    found = {key: getattr(context, key) for key in TRACE_KEYS}
    return {key: msgspec.json.encode(value) for key, value in found.items() if value}  # it may hold quotation marks
