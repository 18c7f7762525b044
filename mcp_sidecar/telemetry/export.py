"""Everything that leaves for a collector: three signals, a queue and a thread each. Knows no listener."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from mcp_sidecar.call import Call
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.inbound import instruments
from mcp_sidecar.inbound.chain import CallLine, Entry
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.logs import Log
from mcp_sidecar.sampling import Sampler
from mcp_sidecar.settings import QueuedSettings, TelemetrySettings
from mcp_sidecar.telemetry.delivery import Delivery, Pace, Refused
from mcp_sidecar.telemetry.logs import Ended, Logs
from mcp_sidecar.telemetry.metrics import Measured, Points
from mcp_sidecar.telemetry.resource import resource
from mcp_sidecar.telemetry.target import target
from mcp_sidecar.telemetry.traces import Finished, Traces
from mcp_sidecar.telemetry.wires import Wire, wire

_QUIET_SECONDS = 60.0
"""Between two lines about the same trouble."""


class Export:
    """Takes what the ledger tells of ended calls, and the metrics every `interval`, and delivers what is wanted.

    Raises `OSError` for a certificate that cannot be used.
    """

    def __init__(self, settings: TelemetrySettings, metrics: Metrics, log: Log) -> None:
        self.sampler = Sampler(settings.sample) if "traces" in settings.endpoints else None
        """Who decides which calls are traced; nobody where no traces are sent."""
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._said: dict[str, float] = {}
        source = resource(settings)
        self._targets = {signal: target(settings, signal) for signal in settings.endpoints}
        wires = {signal: wire(way, signal, settings.of(signal)) for signal, way in self._targets.items()}
        self._spans = self._make_spans(Traces(source), wires.get("traces"))
        self._points = self._make_points(Points(source, settings.temporality), wires.get("metrics"))
        self._records = self._make_records(Logs(source), wires.get("logs"))
        ways: dict[str, Delivery[Any] | None] = {
            "traces": self._spans,
            "metrics": self._points,
            "logs": self._records,
        }
        self.deliveries = {signal: delivery for signal, delivery in ways.items() if delivery is not None}
        for signal, delivery in self.deliveries.items():
            metrics.gauge(instruments.TELEMETRY_DROPPED, partial(_dropped, delivery), signal=signal)

    def _make_spans(self, traces: Traces, way: Wire | None) -> Delivery[Finished] | None:
        if way is None:
            return None

        def send(batch: Sequence[Finished], seconds: float) -> int:
            return way.send(encode_spans([span for call in batch for span in traces.of(call)]), seconds)

        return Delivery("traces", send, weigh=Finished.weight, cut=way.cut, pace=self._pace("traces"))

    def _make_points(self, points: Points, way: Wire | None) -> Delivery[Measured] | None:
        if way is None:
            return None

        def send(batch: Sequence[Measured], seconds: float) -> int:
            try:
                rejected = way.send(encode_metrics(points.of(batch[-1])), seconds)
            except Refused as refused:
                if not refused.untaken:
                    points.passed(batch[-1])  # nobody knows, and counting twice is worse
                raise
            points.passed(batch[-1])
            return len(batch) if rejected else 0

        delay = min(1.0, self._settings.interval)
        pace = Pace(self._settings.of("metrics").timeout, most=1, batch=1, delay=delay, latest=True)
        return Delivery("metrics", send, cut=way.cut, pace=pace)

    def _make_records(self, logs: Logs, way: Wire | None) -> Delivery[Ended] | None:
        if way is None:
            return None

        def send(batch: Sequence[Ended], seconds: float) -> int:
            return way.send(encode_logs([logs.of(ended) for ended in batch]), seconds)

        return Delivery("logs", send, cut=way.cut, pace=self._pace("logs"))

    def _pace(self, signal: str) -> Pace:
        own = self._settings.of(signal)
        assert isinstance(own, QueuedSettings)  # noqa: S101  # spans and records have a queue, metrics do not
        return Pace(own.timeout, own.queue, own.batch, own.delay)

    def tell(self, ended: Sequence[Entry], lines: Sequence[CallLine]) -> None:
        """These calls have ended, each at a moment of its own (monotonic seconds); each costs an entry in a queue."""
        for (call, at, failure, _), line in zip(ended, lines, strict=True):
            self._take(call, at, failure, line)

    def _take(self, call: Call, at: float, failure: SidecarError | None, line: CallLine) -> None:
        if call.sampled is None and self.sampler is not None and (failure is not None or _is_message(call)):
            self.sampler.decide(call)  # it was refused, or answered, before anybody else looked at it
            line.trace_id = call.span.trace_id if call.span is not None else call.trace.trace_id
        if self._spans is not None and call.span is not None:
            self._spans.offer(Finished.at(at, call, call.span, failure))
        if self._records is not None and self._log.wants(line.level):
            self._records.offer(Ended(line, at, "" if call.span is None else call.span.span_id))

    async def run(self) -> None:
        """Hand over the metrics every interval, and say what troubles there are."""
        while True:
            await asyncio.sleep(self._settings.interval)
            self._measure()
            self._report()

    async def close(self, seconds: float) -> None:
        """Deliver what is left, all signals side by side, within so many seconds."""
        self._measure()
        await asyncio.gather(*(asyncio.to_thread(one.close, seconds) for one in self.deliveries.values()))
        self._report()

    def _measure(self) -> None:
        if self._points is not None:
            self._points.offer(Measured.now(self._metrics.snapshot()))

    def _report(self) -> None:
        now = time.monotonic()
        for signal, delivery in self.deliveries.items():
            if delivery.trouble and now - self._said.get(signal, -_QUIET_SECONDS) >= _QUIET_SECONDS:
                self._said[signal] = now
                self._log.warning(
                    "telemetry",
                    signal=signal,
                    collector=self._targets[signal].address,
                    trouble=delivery.trouble,
                    dropped=delivery.dropped,
                )


def _is_message(call: Call) -> bool:
    """It is one of MCP, and not only what carries such."""
    return bool(call.method) and not call.method.startswith("session/")


def _dropped(delivery: Delivery[Any]) -> float:
    return float(delivery.dropped)
