"""The requests that are sent for a traced call, each with a span of its own. Knows no sampling and no exporter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import cast

from mcp_sidecar import attributes as names
from mcp_sidecar.call import Call, Trace
from mcp_sidecar.errors import Cancelled, SidecarError
from mcp_sidecar.outbound.link import LegacyLink, Link, Sink
from mcp_sidecar.protocol import headers, outcome, traced
from mcp_sidecar.protocol.eras import Era
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.shown import shown_name
from mcp_sidecar.spans import LONGEST_ATTRIBUTE, Received, Value

_HTTP: dict[str, Value] = {names.TRANSPORT: "tcp", names.PROTOCOL_NAME: "http", names.PROTOCOL_VERSION: "1.1"}
_WIRES: dict[str, dict[str, Value]] = {
    "http": _HTTP,
    "sse": _HTTP,
    "grpc": _HTTP | {names.PROTOCOL_VERSION: "2"},
    "stdio": {names.TRANSPORT: "pipe"},
}
"""What travels underneath, by `Link.transport`."""


def exchange(link: Link, request: Request, call: Call, sink: Sink) -> Awaitable[Response]:
    """`Link.exchange`; what it does is seen in the call's trace, if there is one."""
    span = call.span
    return link.exchange(request, call, sink) if span is None else _traced(link, request, call, sink, span)


async def _traced(link: Link, request: Request, call: Call, sink: Sink, received: Received) -> Response:
    leg = received.leg(request.method)
    leg.attributes = {
        names.MESSAGE_ID: request.id.decode(),
        names.MCP_VERSION: link.profile.version,
        names.CONNECTION_ID: call.connection_id,
        names.SERVER_ADDRESS: received.toward,
        **_WIRES[link.transport],
        **_about(call.server, request.method, headers.name_of(request)),
    }
    outer, call.trace = call.trace, Trace(leg.traceparent, leg.tracestate, leg.baggage)
    try:
        response = await link.exchange(traced.within(request, call.trace), call, sink)
        leg.error = outcome.fault_in(response)
        return response
    except SidecarError as failure:
        leg.error = failure.reason
        raise
    except asyncio.CancelledError:
        leg.error = Cancelled.reason
        raise
    finally:
        call.trace = outer
        if link.era is Era.LEGACY:
            leg.attributes[names.SESSION_ID] = cast(LegacyLink, link).session[:LONGEST_ATTRIBUTE]
        leg.ended = time.monotonic()


@contextmanager
def resumed(call: Call, own: Call) -> Iterator[None]:
    """The rest of an exchange that an earlier call began, as it is seen in the trace of the one that goes on with it.

    `own` is the call of the exchange: its answer is this call's.
    """
    if call.span is None:
        yield
        return
    leg = call.span.leg(call.method)
    leg.attributes = {
        names.CONNECTION_ID: own.connection_id,
        names.MCP_VERSION: own.protocol_version,
        **_about(own.server, own.method, own.name),
    }
    if own.span is not None:
        leg.link = own.span.traceparent
    try:
        yield
        leg.error = own.fault
    except SidecarError as failure:
        leg.error = failure.reason
        raise
    except (asyncio.CancelledError, TimeoutError):
        leg.error = Cancelled.reason
        raise
    finally:
        leg.ended = time.monotonic()


def _about(server: str, method: str, name: str | None) -> dict[str, Value]:
    """Of what server, and what of it; of several as one, each has names of its own."""
    found: dict[str, Value] = {names.SERVER: server}
    if method in names.NAMED:
        # A leg may wait for its collector for long.
        found[names.NAMED[method]] = shown_name(method, name or "", LONGEST_ATTRIBUTE)
    return found
