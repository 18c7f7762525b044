"""What others keep count of, read for each snapshot of the metrics. Decides nothing."""

from __future__ import annotations

import time
from functools import partial

from mcp_sidecar.directory import Directory
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.inbound import instruments
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.inbound.process import watch_process
from mcp_sidecar.lifecycle import Phase
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound.credentials import Credentials
from mcp_sidecar.outbound.dialer import Dialer


def watch(
    metrics: Metrics, engine: Engine, dialer: Dialer, directory: Directory, credentials: Credentials, log: Log
) -> None:
    """Have the process, the calls in flight, the connections and the upstreams read at each snapshot."""
    watch_process(metrics)
    lifecycle, sampler = engine.lifecycle, engine.sampler
    metrics.gauge(instruments.IN_FLIGHT, lambda: float(lifecycle.in_flight))
    metrics.gauge(instruments.LOG_LINES_DROPPED, lambda: float(log.dropped()))
    metrics.gauge(instruments.CONNECTIONS, lambda: float(len(dialer.pool.connections())))
    metrics.gauge(instruments.QUEUE_DEPTH, lambda: float(dialer.pool.waiting))
    metrics.gauge(instruments.CONFIG_GENERATION, lambda: float(credentials.generation), kind="credentials")
    metrics.gauge(instruments.DRAIN_STATE, lambda: float(list(Phase).index(lifecycle.phase)))
    if sampler is not None:
        metrics.gauge(instruments.TRACES_CAPPED, lambda: float(sampler.capped))
    _watch_servers(metrics, dialer, directory)


def _watch_servers(metrics: Metrics, dialer: Dialer, directory: Directory) -> None:
    def count(up: bool | None) -> float:
        return float(sum(dialer.health(name).up is up for name in directory.snapshot))

    for state, up in (("up", True), ("down", False), ("unknown", None)):
        metrics.gauge(instruments.UPSTREAMS, partial(count, up), state=state)

    def endpoints(state: str) -> float:
        now, upstreams = time.monotonic(), directory.snapshot.values()
        if state == "leaving":
            return float(sum(len(upstream.leaving) for upstream in upstreams))
        avoided = [dialer.balancer.is_avoided(one, now) for upstream in upstreams for one in upstream.endpoints]
        return float(avoided.count(state == "avoided"))

    for state in ("ready", "avoided", "leaving"):
        metrics.gauge(instruments.ENDPOINTS, partial(endpoints, state), state=state)
