"""What others keep count of, read for each snapshot of the metrics. Decides nothing."""

from __future__ import annotations

from functools import partial

from mcp_sidecar.directory import Directory
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.inbound import instruments
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.inbound.process import watch_process
from mcp_sidecar.lifecycle import Phase
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound.dialer import Dialer


def watch(metrics: Metrics, engine: Engine, dialer: Dialer, directory: Directory, log: Log) -> None:
    """Have the process, the calls in flight, the connections and the upstreams read at each snapshot."""
    watch_process(metrics)
    lifecycle, sampler = engine.lifecycle, engine.sampler
    metrics.gauge(instruments.IN_FLIGHT, lambda: float(lifecycle.in_flight))
    metrics.gauge(instruments.LOG_LINES_DROPPED, lambda: float(log.dropped()))
    metrics.gauge(instruments.CONNECTIONS, lambda: float(len(dialer.pool.connections())))
    metrics.gauge(instruments.DRAIN_STATE, lambda: float(list(Phase).index(lifecycle.phase)))
    if sampler is not None:
        metrics.gauge(instruments.TRACES_CAPPED, lambda: float(sampler.capped))

    def count(up: bool | None) -> float:
        return float(sum(dialer.health(name).up is up for name in directory.snapshot))

    for state, up in (("up", True), ("down", False), ("unknown", None)):
        metrics.gauge(instruments.UPSTREAMS, partial(count, up), state=state)
