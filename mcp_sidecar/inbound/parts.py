"""What every listener serves and reports to, built by the app; knows no listener."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mcp_sidecar.directory import Directory
from mcp_sidecar.drain import Drain
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.inbound.auth import Reviewed
from mcp_sidecar.inbound.chain import Tell
from mcp_sidecar.inbound.health import HealthBoard
from mcp_sidecar.inbound.http.door import Door
from mcp_sidecar.inbound.http.server import Page
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.lifecycle import Lifecycle
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound.dialer import Dialer


def no_pages(_door: Door) -> Mapping[str, Page]:
    """Nothing but MCP."""
    return {}


@dataclass(frozen=True)
class Parts:
    """What the listeners serve and report to."""

    engine: Engine
    dialer: Dialer
    directory: Directory
    lifecycle: Lifecycle
    drain: Drain
    board: HealthBoard
    metrics: Metrics
    log: Log
    tasks: asyncio.TaskGroup
    tell: Tell | None = None
    """Hears of every call that has ended."""
    reviewed: Reviewed | None = None
    """Who is let in by tokens that the Kubernetes API reviews, in `auth.mode: kubernetes`."""
    pages: Callable[[Door], Mapping[str, Page]] = no_pages
    """What the HTTP listener serves besides MCP, by path, behind this door."""
