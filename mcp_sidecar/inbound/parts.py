"""What every listener serves and reports to, built by the app; knows no listener."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mcp_sidecar.directory import Directory
from mcp_sidecar.drain import Drain
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.inbound.auth import Reviewed
from mcp_sidecar.inbound.health import HealthBoard
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.lifecycle import Lifecycle
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound.dialer import Dialer


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
    reviewed: Reviewed | None = None
    """Who is let in by tokens that the Kubernetes API reviews, in `auth.mode: kubernetes`."""
