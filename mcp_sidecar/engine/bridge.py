"""Between a face and a link: the one place that asks which era either is of. Knows no sockets.

Same era: nothing happens, the bytes go through. Modern face, legacy link: `downgrade` (and `hold`, for what the server
asks). Legacy face, modern link: `upgrade` and `unfold`. Tables: MCP reference, "Bridging eras".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from mcp_sidecar.call import Call
from mcp_sidecar.engine import downgrade, inputs, legs, unfold, upgrade
from mcp_sidecar.engine.listen import listen_legacy
from mcp_sidecar.outbound.link import LegacyLink, Link, Sink
from mcp_sidecar.protocol import eras
from mcp_sidecar.protocol.jsonrpc import Request, Response

_LEGACY = eras.Era.LEGACY  # looking a member up in its class costs as much as a call
# What a face of either era asks in the modern shape: the legacy era has no request for it.
_MODERN_SHAPE = frozenset((eras.DISCOVER, eras.LISTEN))
# Requests whose results never ask for input.
_PLAIN = eras.CACHEABLE - {"resources/read"}
Ask = Callable[[Call, Request, Sink], Coroutine[Any, Any, Response]]


def exchange(link: Link, request: Request, call: Call, sink: Sink) -> Awaitable[Response]:
    """One request of either era over a link of either era."""
    client = call.client
    if link.era is _LEGACY:
        if client is not None and request.method not in _MODERN_SHAPE:
            return legs.exchange(link, request, call, sink)
        return _legacy(cast(LegacyLink, link), request, call, sink)
    if client is not None and request.method not in _MODERN_SHAPE:
        return unfold.exchange(link, request, call, client, sink)
    return legs.exchange(link, request, call, sink)


async def tell(link: Link, notification: Request) -> None:
    """Pass on what a client of the 2025 era tells. 2026-07-28 has no notifications of clients."""
    if link.era is _LEGACY:
        await cast(LegacyLink, link).tell(notification)


def in_modern_shape(request: Request, call: Call, era: eras.Era | None) -> bool:
    """The request can be asked as a modern one although a client of the 2025 era asks: nothing can come of it but a
    result. `era` is the server's, as far as it is known.
    """
    return call.client is None or (era is eras.Era.MODERN and request.method in _PLAIN)


async def as_modern(request: Request, call: Call, sink: Sink, ask: Ask) -> Response:
    """What `ask` says to a request in modern shape, in the shape of the caller's era."""
    client = call.client
    if client is None or request.method == eras.DISCOVER:
        return await ask(call, request, sink)
    part = call.ask()
    part.client, part.server, part.part = None, call.server, call.part
    try:
        return upgrade.response(request, await ask(part, upgrade.request(request, client), sink))
    finally:
        call.adopt(part)


async def _legacy(link: LegacyLink, request: Request, call: Call, sink: Sink) -> Response:
    if request.method == eras.DISCOVER:
        return Response(request.id, result=downgrade.discover_result(link.profile))
    if request.method == eras.LISTEN:
        return await listen_legacy(link, request, call, sink)
    if request.method not in eras.SHARED_METHODS:
        return downgrade.unknown_method(request)
    return await _translated(link, request, call, sink)


async def _translated(link: LegacyLink, request: Request, call: Call, sink: Sink) -> Response:
    if inputs.STATE in request.params and request.method in inputs.ASKING:
        # Servers of this era give no states, and those of `hold` do not come here. Left out, the call would run anew.
        raise inputs.unknown_state()
    level = downgrade.log_level(request)
    if level and downgrade.offers(link.profile, "logging"):
        await link.want_logs(level, call)
    audience = downgrade.Audience(sink, request, call)
    response = await legs.exchange(link, downgrade.request(request), call, audience)
    return downgrade.response(request, audience.judge(response), link.profile)
