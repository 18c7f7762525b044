"""Between a face and a link of different eras: the one place that asks which era. Knows no sockets.

Same era: nothing happens, the bytes go through. A modern face on a legacy link: shapes are translated (table: MCP
reference, "Modern client, legacy upstream"); requests of the server to the client are refused until they can be held.
"""

from __future__ import annotations

from collections.abc import Awaitable

from mcp_sidecar.call import Call
from mcp_sidecar.engine import downgrade
from mcp_sidecar.engine.listen import listen_legacy
from mcp_sidecar.outbound.http_legacy import LegacyLink
from mcp_sidecar.outbound.link import Link, Sink
from mcp_sidecar.protocol import eras
from mcp_sidecar.protocol.jsonrpc import Request, Response


def exchange(link: Link, request: Request, call: Call, sink: Sink) -> Awaitable[Response]:
    """One modern request over a link of either era."""
    if isinstance(link, LegacyLink):
        return _legacy(link, request, call, sink)
    return link.exchange(request, call, sink)


async def _legacy(link: LegacyLink, request: Request, call: Call, sink: Sink) -> Response:
    if request.method == eras.DISCOVER:
        return Response(request.id, result=downgrade.discover_result(link.profile))
    if request.method == eras.LISTEN:
        return await listen_legacy(link, request, call, sink)
    if request.method not in eras.SHARED_METHODS:
        return downgrade.unknown_method(request)
    return await _translated(link, request, call, sink)


async def _translated(link: LegacyLink, request: Request, call: Call, sink: Sink) -> Response:
    level = downgrade.log_level(request)
    if level and downgrade.offers(link.profile, "logging"):
        await link.want_logs(level, call)
    response = await link.exchange(downgrade.request(request), call, downgrade.Logs(sink, level))
    return downgrade.response(request, response, link.profile)
