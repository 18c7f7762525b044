"""The numbers behind a sparkline: slots that move, percentiles of the last calls, and nothing that grows."""

from __future__ import annotations

from mcp_sidecar.admin.latency import SLOT_SECONDS, SLOTS, Latency


def test_calls_of_one_slot_are_counted_together_and_the_newest_slot_is_the_last():
    latency = Latency()
    for milliseconds, failed in (([10.0], 0), ([20.0, 30.0], 1)):
        latency.add(1000.0, milliseconds, failed)
    slots = latency.shown(1000.0)["slots"]
    assert [len(row) for row in slots.values()] == [SLOTS] * 4
    assert {name: row[-1] for name, row in slots.items()} == {
        "calls": 3,
        "failed": 1,
        "mean_ms": 20.0,
        "worst_ms": 30.0,
    }


def test_slots_move_with_the_clock_and_fall_out_after_five_minutes():
    latency = Latency()
    latency.add(1000.0, [5.0])
    later = latency.shown(1000.0 + 2 * SLOT_SECONDS)["slots"]
    assert (later["calls"][-3:], later["mean_ms"][-3:]) == ([1, 0, 0], [5.0, None, None])
    gone = latency.shown(1000.0 + SLOTS * SLOT_SECONDS)
    assert (sum(gone["slots"]["calls"]), gone["calls"]) == (0, 1)


def test_percentiles_are_those_of_the_last_calls():
    latency = Latency()
    assert latency.shown(0.0)["p95_ms"] is None
    for number in range(1000):
        latency.add(number / 100, [float(number)])
    shown = latency.shown(10.0)
    assert 850 < shown["p50_ms"] < 890
    assert 980 < shown["p95_ms"] < 1000


def test_a_call_that_ended_in_an_earlier_slot_is_counted_in_the_last_one():
    latency = Latency()
    latency.add(100.0, [1.0])
    latency.add(99.0, [1.0])
    assert latency.shown(100.0)["slots"]["calls"][-1] == 2
