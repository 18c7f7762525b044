"""Three signals and one collector in any mood: the end comes in time, and nothing is unaccounted for."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.otlp import Collector, Mode
from tests.telemetry.exporting import exporting

CALLS = 30
SECONDS, PATIENCE = 2.0, 5.5
"""For all together, and less than it would take to close three signals one after the other."""


@pytest.mark.covers("B-355")
@pytest.mark.parametrize("mode", ["ok", "slow", "hang", "partial", "UNAVAILABLE", "RESOURCE_EXHAUSTED"])
@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_all_signals_end_side_by_side_and_are_accounted_for(mode: Mode, way: str):
    async with Collector(mode) as collector, exporting(collector, way) as sidecar:
        sidecar.tell(CALLS)
        sidecar.count(CALLS)
        async with asyncio.timeout(PATIENCE):
            await sidecar.export.close(SECONDS)
        await sidecar.conserved()
        found = {signal: (one.delivered, one.dropped) for signal, one in sidecar.export.deliveries.items()}
        if mode in {"ok", "slow"}:
            assert found == {"traces": (CALLS, 0), "logs": (CALLS, 0), "metrics": (1, 0)}
            assert collector.metrics["mcp_sidecar.retries"].sum.data_points[0].as_double == CALLS
        elif mode == "partial":
            assert found == {"traces": (CALLS - 1, 1), "logs": (CALLS - 1, 1), "metrics": (1, 0)}
        else:
            assert found == {"traces": (0, CALLS), "logs": (0, CALLS), "metrics": (0, 1)}
        assert (len(collector.spans), len(collector.records)) == (found["traces"][0], found["logs"][0])


@pytest.mark.covers("B-355")
@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_a_slow_collector_gets_everything_and_holds_up_nobody(way: str):
    async with Collector("slow") as collector, exporting(collector, way) as sidecar:
        sidecar.tell(2000)  # several batches
        assert sidecar.export.deliveries["traces"].dropped == 0
        await collector.until(lambda found: found.spans)
        sidecar.tell(50)
        await sidecar.export.close(5.0)
        assert len(collector.spans) == len(collector.records) == 2050


@pytest.mark.covers("B-355")
@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_a_collector_that_was_away_gets_what_waited(way: str):
    async with Collector("UNAVAILABLE") as collector:
        queue = {"delay": 0.05, "batch": 10}
        async with exporting(collector, way, traces_to=queue, logs_to=queue) as sidecar:
            sidecar.tell(25)
            await collector.until(lambda found: found.asked >= 4)
            collector.mode = "ok"
            await sidecar.export.close(3.0)
            assert len(collector.spans) == len(collector.records) == 25


@pytest.mark.covers("B-355")
async def test_a_full_queue_drops_the_newest_and_counts_them():
    async with Collector("UNAVAILABLE") as collector:
        async with exporting(collector, "grpc", traces_to={"queue": 10, "batch": 5}) as sidecar:
            sidecar.tell(25)
            assert sidecar.export.deliveries["traces"].dropped >= 10
            assert sidecar.export.deliveries["traces"].waiting <= 10
            collector.mode = "ok"
