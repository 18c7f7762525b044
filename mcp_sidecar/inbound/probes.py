"""Answers the kubelet's HTTP probes and Prometheus's scrapes; knows the health board and the metrics, and no call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from mcp_sidecar.inbound.health import LIVENESS, READINESS, STARTUP, HealthBoard
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.inbound.prometheus import (
    CONTENT_TYPE,
    OPENMETRICS,
    OPENMETRICS_TYPE,
    openmetrics_text,
    prometheus_text,
)
from mcp_sidecar.wire.http_server import Handle, Reply, Request, fields

_SERVICES = {"/livez": LIVENESS, "/readyz": READINESS, "/startupz": STARTUP}
_METRICS = "/metrics"
_TEXT = "text/plain; charset=utf-8"
_VERBS = ("GET", "HEAD")
Page = Callable[[Request, Reply], Awaitable[None]]


def probe(path: str, board: HealthBoard, metrics: Metrics, accept: str = "") -> tuple[int, str, bytes]:
    """Status, content type and body for a GET of `path`; a probe that fails says in one line what is waited for."""
    if path == _METRICS:
        if OPENMETRICS in accept:
            return 200, OPENMETRICS_TYPE, openmetrics_text(metrics.snapshot())
        return 200, CONTENT_TYPE, prometheus_text(metrics.snapshot())
    service = _SERVICES.get(path)
    if service is None:
        return 404, _TEXT, f"not here; there are {', '.join((*_SERVICES, _METRICS))}\n".encode()
    reason = board.reason(service)
    return (503, _TEXT, f"{reason}\n".encode()) if reason else (200, _TEXT, b"ok\n")


def probes(board: HealthBoard, metrics: Metrics, pages: Mapping[str, Page] | None = None) -> Handle:
    """What a `wire` listener calls for requests to the metrics port. It only ever reads, but for `pages` (by path)."""
    others = pages or {}

    async def handle(request: Request, reply: Reply) -> None:
        if (page := others.get(request.head.path)) is not None:
            await page(request, reply)
            return
        if request.head.method not in _VERBS:
            lines = fields((b"allow", ", ".join(_VERBS).encode()), (b"content-type", _TEXT.encode()))
            reply.send(405, lines, b"only GET and HEAD\n")
            return
        accept = (request.head.headers.get(b"accept") or b"").decode("latin-1")
        status, content_type, body = probe(request.head.path, board, metrics, accept)
        # A cache between us and the kubelet would turn the truth of a moment into a habit.
        reply.send(status, fields((b"content-type", content_type.encode()), (b"cache-control", b"no-store")), body)

    return handle
