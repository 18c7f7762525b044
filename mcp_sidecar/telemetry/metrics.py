"""A snapshot of our measurements as metrics of the SDK, cumulative since the process began. Knows no exporter."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource

from mcp_sidecar.inbound import metrics as own
from mcp_sidecar.inbound.instruments import TABLE, Instrument
from mcp_sidecar.telemetry.traces import SCOPE, fit

_CUMULATIVE = AggregationTemporality.CUMULATIVE


class Points:
    """Turns snapshots into metrics of `resource`. Raises `KeyError` for an instrument that stands in no table."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._began = time.time_ns()

    def of(self, snapshot: own.Snapshot) -> MetricsData:
        """Everything measured when the snapshot was taken."""
        metrics = [self._metric(TABLE[family.name], family, time.time_ns()) for family in snapshot.families]
        return MetricsData([ResourceMetrics(self._resource, [ScopeMetrics(SCOPE, metrics, "")], "")])

    def _metric(self, known: Instrument, family: own.Family, now: int) -> Metric:
        data: Sum | Gauge | Histogram
        if known.kind == "histogram":
            data = Histogram(list(self._buckets(known, family, now)), _CUMULATIVE)
        elif known.kind == "counter":
            data = Sum(list(self._numbers(known, family, now)), _CUMULATIVE, is_monotonic=True)
        else:
            data = Gauge(list(self._numbers(known, family, now)))
        return Metric(known.otlp, known.text, known.unit, data)

    def _numbers(self, known: Instrument, family: own.Family, now: int) -> Iterator[NumberDataPoint]:
        for one in family.series:
            if not isinstance(one, own.Histogram):
                yield NumberDataPoint(_attributes(known, one.labels), self._began, now, one.value)

    def _buckets(self, known: Instrument, family: own.Family, now: int) -> Iterator[HistogramDataPoint]:
        for one in family.series:
            if isinstance(one, own.Histogram):
                yield HistogramDataPoint(
                    attributes=_attributes(known, one.labels),
                    start_time_unix_nano=self._began,
                    time_unix_nano=now,
                    count=sum(one.counts),
                    sum=one.total,
                    bucket_counts=one.counts,
                    explicit_bounds=one.bounds,
                    # Which ones they were is not kept; NaN would be read as a number.
                    min=None,  # type: ignore[arg-type]
                    max=None,  # type: ignore[arg-type]
                    exemplars=[_exemplar(found) for _, found in one.exemplars],
                )


def _attributes(known: Instrument, labels: own.Labels) -> Mapping[str, str]:
    return {known.attributes[name]: fit(value) for name, value in labels if value}


def _exemplar(found: own.Exemplar) -> Exemplar:
    return Exemplar({}, found.value, int(found.at * 1e9), int(found.span_id, 16), int(found.trace_id, 16))
