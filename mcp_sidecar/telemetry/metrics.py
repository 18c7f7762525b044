"""Snapshots of our measurements as metrics of the SDK: sums since the start, or deltas. Knows no exporter."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

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

_CUMULATIVE, _DELTA = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA
_NANOSECONDS = 1_000_000_000
_Said = Mapping[tuple[str, own.Labels], own.Counter | own.Gauge | own.Histogram]


class Measured(NamedTuple):
    """A snapshot and when it was taken, in nanoseconds of Unix time."""

    snapshot: own.Snapshot
    at: int

    @classmethod
    def now(cls, snapshot: own.Snapshot) -> Measured:
        return cls(snapshot, time.time_ns())


class Points:
    """Turns snapshots into metrics of `resource`. Raises `KeyError` for an instrument that stands in no table.

    A delta is the difference to the last snapshot that has `passed`. What did not pass is therefore in the next one,
    and each delta begins where the one before it ended.
    """

    def __init__(self, resource: Resource, temporality: str = "cumulative") -> None:
        self._resource = resource
        self._temporality = temporality
        self._began = self._passed = time.time_ns()
        self._said: _Said = {}

    def of(self, measured: Measured) -> MetricsData:
        """Everything measured when the snapshot was taken; in a delta, what has not changed since is left out."""
        found = (self._metric(TABLE[family.name], family, measured.at) for family in measured.snapshot.families)
        metrics = [metric for metric in found if metric.data.data_points]
        return MetricsData([ResourceMetrics(self._resource, [ScopeMetrics(SCOPE, metrics, "")], "")])

    def passed(self, measured: Measured) -> None:
        """A collector has it, or may have it: the next delta begins here."""
        if self._temporality == "cumulative":
            return
        self._passed = measured.at
        self._said = {(family.name, one.labels): one for family in measured.snapshot.families for one in family.series}

    def _metric(self, known: Instrument, family: own.Family, at: int) -> Metric:
        data: Sum | Gauge | Histogram
        since = self._since(family)
        if known.kind == "histogram":
            data = Histogram(list(self._buckets(known, family, at)), since)
        elif known.kind == "counter":
            data = Sum(list(self._numbers(known, family, at, since)), since, is_monotonic=True)
        else:
            data = Gauge(list(self._numbers(known, family, at, _CUMULATIVE)))
        return Metric(known.otlp, known.text, known.unit, data)

    def _since(self, family: own.Family) -> AggregationTemporality:
        """What is read from elsewhere (an asynchronous instrument) is a sum by itself, and costs no memory as one."""
        read = isinstance(family.series[0], own.Gauge)
        delta = self._temporality == "delta" or (self._temporality == "lowmemory" and not read)
        return _DELTA if delta else _CUMULATIVE

    def _numbers(
        self, known: Instrument, family: own.Family, at: int, since: AggregationTemporality
    ) -> Iterator[NumberDataPoint]:
        for one in family.series:
            if isinstance(one, own.Histogram):
                continue
            value, began = one.value, self._began
            if since is _DELTA:
                before = self._said.get((family.name, one.labels))
                value -= before.value if before is not None and not isinstance(before, own.Histogram) else 0.0
                began = self._passed
                if not value:
                    continue
            yield NumberDataPoint(_attributes(known, one.labels), began, at, value)

    def _buckets(self, known: Instrument, family: own.Family, at: int) -> Iterator[HistogramDataPoint]:
        delta = self._since(family) is _DELTA
        began = self._passed if delta else self._began
        for series in family.series:
            if not isinstance(series, own.Histogram):
                continue
            before = self._said.get((family.name, series.labels))
            one = _difference(series, before, self._passed) if delta else series
            if not any(one.counts):
                continue
            yield HistogramDataPoint(
                attributes=_attributes(known, one.labels),
                start_time_unix_nano=began,
                time_unix_nano=at,
                count=sum(one.counts),
                sum=one.total,
                bucket_counts=one.counts,
                explicit_bounds=one.bounds,
                # Which ones they were is not kept; NaN would be read as a number.
                min=None,  # type: ignore[arg-type]
                max=None,  # type: ignore[arg-type]
                exemplars=[_exemplar(found) for _, found in one.exemplars],
            )


def _difference(now: own.Histogram, before: object, since: int) -> own.Histogram:
    """What a histogram has gained, and the exemplars of that."""
    fresh = tuple(found for found in now.exemplars if found[1].at * _NANOSECONDS >= since)
    if not isinstance(before, own.Histogram):
        return replace(now, exemplars=fresh)
    counts = tuple(new - old for new, old in zip(now.counts, before.counts, strict=True))
    return replace(now, counts=counts, total=now.total - before.total, exemplars=fresh)


def _attributes(known: Instrument, labels: own.Labels) -> Mapping[str, str]:
    return {**known.always, **{known.attributes[name]: fit(value) for name, value in labels if value}}


def _exemplar(found: own.Exemplar) -> Exemplar:
    return Exemplar({}, found.value, int(found.at * 1e9), int(found.span_id, 16), int(found.trace_id, 16))
