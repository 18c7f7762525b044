"""Deltas add up to what was counted, whatever became of an export; sums are sums."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.sdk.metrics.export import AggregationTemporality as Temporality
from opentelemetry.sdk.metrics.export import Histogram, MetricsData, Sum
from opentelemetry.sdk.resources import Resource

from mcp_sidecar.inbound.metrics import Metrics, Operation
from mcp_sidecar.telemetry.metrics import Measured, Points
from tests.inbound.waiting import eventually
from tests.support.otlp import Collector, Mode, attributes
from tests.telemetry.exporting import Exporting, exporting

DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CALLED = Operation("/a.B/C", "tools/call", "up", "OK", "done", "echo")
READ, COUNTED, TIMED = "process.cpu.time", "mcp_sidecar.calls", "mcp.server.operation.duration"


def measured(*seconds: float) -> Metrics:
    metrics = Metrics()
    metrics.gauge("process_cpu_seconds_total", lambda: 7.0)
    for one in seconds:
        metrics.record(CALLED, one)
    return metrics


def sent(points: Points, metrics: Metrics) -> dict[str, Any]:
    """What a collector that takes everything is sent, by name."""
    taken = Measured.now(metrics.snapshot())
    found = named(points.of(taken))
    points.passed(taken)
    return found


def named(data: MetricsData) -> dict[str, Any]:
    return {one.name: one.data for one in data.resource_metrics[0].scope_metrics[0].metrics}


@pytest.mark.covers("B-356")
@pytest.mark.parametrize(
    ("preference", "delta"),
    [("cumulative", set()), ("delta", {READ, COUNTED, TIMED}), ("lowmemory", {COUNTED, TIMED})],
)
def test_a_preference_says_which_instruments_are_deltas(preference: str, delta: set[str]):
    found = sent(Points(Resource({}), preference), measured(0.5))
    sums = {name: data for name, data in found.items() if isinstance(data, Sum | Histogram)}
    found_delta = {name for name, data in sums.items() if data.aggregation_temporality is Temporality.DELTA}
    assert found_delta & {READ, COUNTED, TIMED} == delta
    assert {READ, COUNTED, TIMED} <= sums.keys()


@pytest.mark.covers("B-356")
def test_a_delta_is_what_came_since_the_last_one_and_begins_where_that_ended():
    metrics, points = measured(0.5, 20.0), Points(Resource({}), "delta")
    first = sent(points, metrics)
    metrics.record(CALLED, 0.5)
    second = sent(points, metrics)
    (before,), (after,) = first[TIMED].data_points, second[TIMED].data_points
    assert (before.count, before.sum, after.count, after.sum) == (2, 20.5, 1, 0.5)
    assert sum(after.bucket_counts) == 1
    assert after.start_time_unix_nano == before.time_unix_nano <= after.time_unix_nano
    assert [point.value for point in second[COUNTED].data_points] == [1.0]
    assert READ in first and READ not in second, "what has not changed is left out"


@pytest.mark.covers("B-356")
def test_what_did_not_pass_is_in_the_next_delta():
    metrics, points = measured(0.5), Points(Resource({}), "delta")
    first = sent(points, metrics)
    metrics.record(CALLED, 0.5)
    lost = named(points.of(Measured.now(metrics.snapshot())))
    metrics.record(CALLED, 0.5)
    third = sent(points, metrics)
    assert [data[COUNTED].data_points[0].value for data in (first, lost, third)] == [1.0, 1.0, 2.0]
    assert third[COUNTED].data_points[0].start_time_unix_nano == first[COUNTED].data_points[0].time_unix_nano


@pytest.mark.covers("B-356")
def test_exemplars_of_a_delta_are_its_own():
    metrics, points = Metrics(), Points(Resource({}), "delta")
    metrics.record(CALLED, 0.5, ids=("1" * 32, "2" * 16))
    assert sent(points, metrics)[TIMED].data_points[0].exemplars
    metrics.record(CALLED, 30.0)
    (point,) = sent(points, metrics)[TIMED].data_points
    assert (point.count, list(point.exemplars)) == (1, [])


def total(collector: Collector) -> float:
    """The deltas of a counter that have arrived, added up."""
    return sum(point.as_double for metric in deltas(collector) for point in metric.sum.data_points)


def deltas(collector: Collector) -> list[Metric]:
    requests = [one for one in collector.requests if isinstance(one, ExportMetricsServiceRequest)]
    metrics = [found for one in requests for found in one.resource_metrics[0].scope_metrics[0].metrics]
    return [one for one in metrics if one.name == "mcp_sidecar.retries"]


@contextlib.asynccontextmanager
async def running(collector: Collector, way: str, **settings: Any) -> AsyncIterator[Exporting]:
    async with exporting(collector, way, temporality="delta", interval=0.02, **settings) as sidecar:
        task = asyncio.create_task(sidecar.export.run())
        try:
            yield sidecar
        finally:
            task.cancel()


async def answered(sidecar: Exporting, collector: Collector, mode: Mode, number: int) -> None:
    """The collector answers like this once at least after something was counted."""
    collector.mode = mode
    asked = collector.asked
    sidecar.count(number)
    await collector.until(lambda found: found.asked > asked + 1)


@pytest.mark.covers("B-356")
@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_exports_that_a_collector_has_refused_lose_and_double_nothing(way: str):
    async with Collector() as collector, running(collector, way) as sidecar:
        sidecar.count(5)
        await collector.until(lambda found: total(found) == 5)
        for mode, number in (("UNAVAILABLE", 7), ("INVALID_ARGUMENT", 11), ("RESOURCE_EXHAUSTED", 13)):
            await answered(sidecar, collector, mode, number)  # type: ignore[arg-type]
        collector.mode = "ok"
        sidecar.count(17)
        await collector.until(lambda found: total(found) >= 53)
        await sidecar.export.close(3.0)
        assert total(collector) == 53
        points = [metric.sum.data_points[0] for metric in deltas(collector)]
        assert {metric.sum.aggregation_temporality for metric in deltas(collector)} == {DELTA}
        assert all(attributes(point) == {"error.type": "LOST"} for point in points)
        assert all(one.time_unix_nano <= two.start_time_unix_nano for one, two in pairwise(points))


@pytest.mark.covers("B-356")
@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_what_nobody_knows_to_have_arrived_is_not_sent_twice(way: str):
    async with Collector("slow") as collector, running(collector, way, timeout=0.1) as sidecar:
        sidecar.count(5)
        metrics = sidecar.export.deliveries["metrics"]
        # The collector takes it, and says so when nobody listens any more.
        await eventually(lambda: metrics.trouble and metrics.dropped, 5.0)
        for _ in range(3):
            await answered(sidecar, collector, "ok", 3)
        await sidecar.export.close(3.0)
        # Sent again, the first five would be ten.
        assert 0 < total(collector) <= 5 + 9
