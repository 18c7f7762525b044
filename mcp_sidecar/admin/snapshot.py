"""What there is at this moment, as one JSON document: phase, servers, connections. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mcp_sidecar.admin.recent import Recent, elapsed
from mcp_sidecar.directory import AnyEndpoint, Directory, Upstream
from mcp_sidecar.lifecycle import Lifecycle
from mcp_sidecar.outbound.connection import Row, State
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.settings import AdminSettings

_STATES = {None: "unknown", True: "up", False: "down"}
_MOST_CONNECTIONS = 500
_FRESH_SECONDS = 0.2
# A connection in one of these tells more about its endpoint than one in the next.
_TELLING = (State.CONNECTED, State.CONNECTING, State.DISCONNECTED)


class Snapshots:
    """The state as JSON text, made at most five times a second however many ask.

    `process` is what tells it from the one that is started after it.
    """

    def __init__(
        self,
        settings: AdminSettings,
        version: str,
        process: str,
        directory: Directory,
        dialer: Dialer,
        lifecycle: Lifecycle,
        recent: Recent,
    ) -> None:
        self._settings = settings
        self._version = version
        self._process = process
        self._directory = directory
        self._dialer = dialer
        self._lifecycle = lifecycle
        self._recent = recent
        self.offers: Callable[[str], int] = lambda _: 0
        """Another number for each change of what a server offers."""
        self._started = time.monotonic()
        self._made_at = float("-inf")
        self._text = b""

    def text(self) -> bytes:
        """The state, at most a moment old."""
        now = time.monotonic()
        if now - self._made_at >= _FRESH_SECONDS:
            self._text, self._made_at = msgspec.json.encode(self.state(now)), now
        return self._text

    def state(self, now: float) -> dict[str, Any]:
        """The state at `now` (monotonic seconds); its own times are wall-clock seconds."""
        lifecycle, ahead = self._lifecycle, elapsed()
        rows = self._dialer.pool.rows()
        deadline = lifecycle.drain_deadline
        return {
            "version": self._version,
            "process": self._process,
            "started_at": round(self._started + ahead, 1),
            "phase": lifecycle.phase.value,
            "drain_ends_at": None if deadline is None else round(deadline + ahead, 1),
            "in_flight": lifecycle.in_flight,
            "refused": lifecycle.refused,
            "calls": self._recent.count,
            "actions": self._settings.actions,
            "payloads": self._settings.payloads,
            "servers": [self._server(upstream, rows, now) for upstream in self._directory.snapshot.values()],
            "connections": [_connection(row) for row in rows[:_MOST_CONNECTIONS]],
            "connections_total": len(rows),
        }

    def _server(self, upstream: Upstream, rows: Sequence[Row], now: float) -> dict[str, Any]:
        health, (title, version) = self._dialer.health(upstream.name), self._dialer.title(upstream)
        verdict = self._dialer.verdict(upstream)
        own = [row for row in rows if row.server == upstream.name]
        return {
            "name": upstream.name,
            "title": title,
            "version": version,
            "transport": (verdict and verdict.transport) or next((one.transport for one in upstream.endpoints), ""),
            "protocol_version": "" if verdict is None else verdict.profile.version,
            "state": _STATES[health.up],
            "last_error": health.last_error,
            "offers": self.offers(upstream.name),
            "endpoints": [self._endpoint(one, own, now) for one in upstream.endpoints],
            "latency": self._recent.of_server(upstream.name).shown(now),
        }

    def _endpoint(self, endpoint: AnyEndpoint, rows: Sequence[Row], now: float) -> dict[str, Any]:
        """`state` is that of its best connection, empty while there is none."""
        here = [row for row in rows if row.endpoint == endpoint.address]
        return {
            "address": endpoint.address,
            "state": next((state.value for state in _TELLING if any(row.state is state for row in here)), ""),
            "connections": len(here),
            "in_flight": sum(row.in_flight for row in here),
            "latency": self._recent.of_endpoint(endpoint.upstream, endpoint.address).shown(now),
        }


def _connection(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "server": row.server,
        "endpoint": row.endpoint,
        "transport": row.transport,
        "protocol_version": row.protocol_version,
        "state": row.state.value,
        "since": round(row.since, 1),
        "last_used": round(row.last_used, 0),
        "in_flight": row.in_flight,
        "calls": row.calls,
        "last_error": row.last_error,
    }
