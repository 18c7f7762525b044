"""`POST /api/drain`, what `mcp-sidecar drain` asks for; knows the drain and nothing of MCP."""

from __future__ import annotations

import asyncio
import ipaddress

import msgspec

from mcp_sidecar.drain import Drain
from mcp_sidecar.lifecycle import Lifecycle
from mcp_sidecar.wire.http_server import Reply, Request, fields

_JSON = fields((b"content-type", b"application/json"))
_MAX_WAIT = 3600.0


class _Wish(msgspec.Struct):
    wait_seconds: float = 0.0


class DrainPage:
    """Begins the drain and answers when nothing is in flight any more or the wait is over."""

    def __init__(self, drain: Drain, lifecycle: Lifecycle) -> None:
        self._drain = drain
        self._lifecycle = lifecycle

    async def __call__(self, request: Request, reply: Reply) -> None:
        """Answer one request. Only this pod may drain it, and no web page may."""
        if not _is_local(request.peer) or request.head.headers.get(b"origin") is not None:
            _answer(reply, 403, {"error": "only processes of this pod may drain the sidecar"})
            return
        if request.head.method != "POST":
            _answer(reply, 405, {"error": "only POST"}, fields((b"allow", b"POST")))
            return
        try:
            wish = msgspec.json.decode(request.body or b"{}", type=_Wish)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _answer(reply, 400, {"error": 'the body must be like {"wait_seconds": 12.5}'})
            return
        walk = self._drain.begin(announced=False, by="hook", peer=request.peer)
        await asyncio.wait({walk}, timeout=min(max(wish.wait_seconds, 0.0), _MAX_WAIT))
        _answer(reply, 200, {"phase": self._lifecycle.phase.value, "in_flight": self._lifecycle.in_flight})


def _answer(reply: Reply, status: int, body: dict[str, object], lines: bytes = b"") -> None:
    reply.send(status, _JSON + lines, msgspec.json.encode(body))


def _is_local(peer: str) -> bool:
    """A loopback address, or a unix socket, which has none."""
    host = peer.rpartition(":")[0].strip("[]")
    if not host:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return peer.startswith("unix")
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
