"""What the parts below tell of themselves, as numbers of the instruments. Decides nothing, and reads nothing."""

from __future__ import annotations

from mcp_sidecar.discovery.pulse import Pulse
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.inbound import instruments
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.sampling import Sampler
from mcp_sidecar.watched import Report


class Outward:
    """An `outbound.measures.Measures`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def waited(self, seconds: float) -> None:
        self._metrics.time(instruments.QUEUE_WAIT, seconds)

    def lasted(self, seconds: float) -> None:
        self._metrics.time(instruments.CLIENT_SESSION_SECONDS, seconds)

    def called(self, method: str, code: str, seconds: float) -> None:
        self._metrics.time(instruments.CLIENT_RPC_SECONDS, seconds, rpc_method=method, code=code)

    def turned(self, server: str, state: str) -> None:
        self._metrics.count(instruments.BREAKER, server=server, state=state)


def observe(engine: Engine, dialer: Dialer, metrics: Metrics, log: Log, sampler: Sampler | None) -> None:
    """Have engine and dialer tell what they do; `sampler` decides what is traced."""
    engine.measures, engine.sampler = metrics, sampler
    dialer.tell(Outward(metrics))
    engine.offers.mirrors.watch(
        lambda server, tool, why: log.warning("dropped", server=server, tool=tool[:128], why=why)
    )
    engine.offers.inventory.cut = lambda server, title: log.warning(
        "cut", server=server, why=f"the list of its {title} has no end: what was read of it is shown"
    )
    engine.offers.told.notify = lambda server, how: metrics.count(instruments.CATALOGUE, server=server, how=how)


def follow(pulse: Pulse, metrics: Metrics) -> None:
    """Have a source of servers tell how fresh its knowledge is."""
    metrics.gauge(instruments.DISCOVERY_AGE, pulse.age)
    pulse.restarted = lambda reason: metrics.count(instruments.WATCH_RESTARTS, reason=reason)


def complaints(kind: str, metrics: Metrics, log: Log) -> Report:
    """Takes what is wrong with files of one kind, which is an event of the log too: a warning, and counted."""

    # There from the beginning, so that the first one is an increase for those who look at increases.
    metrics.count(instruments.RELOAD_FAILURES, 0.0, kind=kind)

    def report(trouble: str) -> None:
        log.warning(kind, trouble=trouble)
        metrics.count(instruments.RELOAD_FAILURES, kind=kind)

    return report
