"""Tests of `mcp_sidecar.inbound.metrics`, `prometheus` and `process`."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.inbound.instruments import CALLS, CLIENT_SECONDS, OPERATION_SECONDS, RPC_SECONDS, TABLE
from mcp_sidecar.inbound.metrics import OTHER, Histogram, Metrics, Operation
from mcp_sidecar.inbound.process import watch_process
from mcp_sidecar.inbound.prometheus import openmetrics_text, prometheus_text

_LABEL = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"'
_LINE = re.compile(rf"[a-zA-Z_:][\w:]*(?:\{{{_LABEL}(?:,{_LABEL})*\}})? (?:NaN|[+-]Inf|-?\d[-+.e\d]*)")


def _series(metrics, name):
    return {s.labels: s for family in metrics.snapshot().families if family.name == name for s in family.series}


def _lines(metrics):
    return prometheus_text(metrics.snapshot()).decode().splitlines()


def test_a_call_lands_in_the_first_bucket_whose_bound_it_does_not_exceed():
    metrics = Metrics()
    for seconds in (0.0, 0.01, 0.010001, 300.0, 301.0):
        metrics.record(Operation("", "tools/call", "weather", "OK", "done"), seconds)
    (histogram,) = _series(metrics, OPERATION_SECONDS).values()
    assert isinstance(histogram, Histogram)
    assert histogram.counts[0] == 2, "a bound belongs to its bucket"
    assert histogram.counts[1] == 1
    assert histogram.counts[-2:] == (1, 1)
    assert sum(histogram.counts) == 5
    assert histogram.total == pytest.approx(601.020001)


def test_what_waits_for_its_bucket_is_bounded_and_loses_nothing():
    metrics = Metrics()
    for number in range(10_000):
        metrics.record(Operation("/a.B/C", "ping", "weather", "OK", "done"), number / 1000, 0.0001)
        metrics.exchanged("ping", "weather", "", "", number / 1000)
    waiting = [timing.waiting for series in metrics._timings.values() for timing in series.values()]
    waiting += [operations.waiting for operations in metrics._operations.values()]
    assert sum(map(len, waiting)) <= 10_000
    for name in (OPERATION_SECONDS, CLIENT_SECONDS, RPC_SECONDS):
        (histogram,) = _series(metrics, name).values()
        assert sum(histogram.counts) == 10_000
        assert histogram.total == pytest.approx(49_995)


def test_an_rpc_is_counted_by_its_name_without_the_leading_slash():
    metrics = Metrics()
    metrics.record(Operation("/mcp_sidecar.v1.MCPEngine/Call", "ping", "weather", "OK", "done"), 0.02)
    assert list(_series(metrics, RPC_SECONDS)) == [(("rpc_method", "mcp_sidecar.v1.MCPEngine/Call"), ("code", "OK"))]


def test_a_call_that_never_named_a_method_is_no_mcp_operation_and_one_without_rpc_is_no_rpc():
    metrics = Metrics()
    metrics.record(Operation("/a.B/C", "", "", "UNAUTHENTICATED", "done"), 0.001)
    assert list(_series(metrics, OPERATION_SECONDS)) == []
    metrics.record(Operation("", "ping", "", "OK", "done"), 0.001)
    assert len(_series(metrics, RPC_SECONDS)) == 1


def test_names_that_are_not_known_share_one_series():
    metrics = Metrics(rpcs={"a.B/C"}, methods={"ping"})
    for rpc, method in (("/a.B/C", "ping"), ("/x.Y/Z", "pong"), ("/nonsense", "")):
        metrics.record(Operation(rpc, method, "s", "OK", "done"), 0.001)
    assert [labels[0][1] for labels in _series(metrics, RPC_SECONDS)] == ["a.B/C", OTHER]
    assert [labels[0][1] for labels in _series(metrics, OPERATION_SECONDS)] == ["ping", OTHER]


def test_a_caller_who_invents_names_cannot_make_an_instrument_grow():
    metrics = Metrics()
    for number in range(5000):
        metrics.record(Operation(f"/x.Y/{number}", f"method{number}", "s", "OK", "done"), 0.001)
        metrics.count("mcp_sidecar_things_total", what=str(number))
    for name in (OPERATION_SECONDS, RPC_SECONDS, "mcp_sidecar_things_total"):
        series = _series(metrics, name)
        assert len(series) == 2000
        overflow = next(s for labels, s in series.items() if {value for _, value in labels} == {OTHER})
        total = sum(overflow.counts) if isinstance(overflow, Histogram) else overflow.value
        assert total == 5000 - 1999
    assert len(metrics._operations) <= 2000
    assert len(metrics._shortcuts) <= 2000


def test_names_that_nobody_knows_do_not_take_the_fast_path_from_those_that_matter():
    metrics = Metrics(rpcs={"a.B/C"})
    for number in range(3000):
        metrics.record(Operation(f"/x.Y/{number}", "", "", "UNIMPLEMENTED", "done"), 0.001)
    metrics.record(Operation("/a.B/C", "", "", "OK", "done"), 0.001)
    assert list(metrics._operations) == [Operation("/a.B/C", "", "", "OK", "done")]


def test_counting_does_not_depend_on_the_order_of_the_labels():
    metrics = Metrics()
    metrics.count(CALLS, code="OK", execution="done")
    metrics.count(CALLS, execution="done", code="OK")
    metrics.count(CALLS, 3, code="OK", execution="none")
    values = {labels: counter.value for labels, counter in _series(metrics, CALLS).items()}
    assert values == {(("code", "OK"), ("execution", "done")): 2, (("code", "OK"), ("execution", "none")): 3}


def test_a_snapshot_does_not_change_with_what_is_recorded_later():
    metrics = Metrics()
    metrics.record(Operation("/a.B/C", "ping", "s", "OK", "done"), 0.001)
    before = metrics.snapshot()
    text = prometheus_text(before)
    metrics.record(Operation("/a.B/C", "ping", "s", "OK", "done"), 0.001)
    assert prometheus_text(before) == text != prometheus_text(metrics.snapshot())
    with pytest.raises(FrozenInstanceError):
        before.families[0].name = "x"  # type: ignore[misc]


def test_the_page_shows_a_histogram_cumulatively_with_its_sum_and_count():
    metrics = Metrics()
    for seconds in (0.001, 0.03, 0.03, 1000.0):
        metrics.record(Operation("", "ping", "s", "OK", "done"), seconds)
    lines = _lines(metrics)
    labels = 'method="ping",server="s",code="OK"'
    assert f"# TYPE {OPERATION_SECONDS} histogram" in lines
    assert f'{OPERATION_SECONDS}_bucket{{{labels},le="0.01"}} 1' in lines
    assert f'{OPERATION_SECONDS}_bucket{{{labels},le="0.05"}} 3' in lines
    assert f'{OPERATION_SECONDS}_bucket{{{labels},le="300"}} 3' in lines
    assert f'{OPERATION_SECONDS}_bucket{{{labels},le="+Inf"}} 4' in lines
    assert f"{OPERATION_SECONDS}_count{{{labels}}} 4" in lines
    assert f"{OPERATION_SECONDS}_sum{{{labels}}} 1000.061" in lines


def test_a_gauge_is_read_when_the_snapshot_is_taken():
    metrics = Metrics()
    open_calls: list[int] = []
    metrics.gauge("mcp_sidecar_inflight", lambda: len(open_calls))
    assert "mcp_sidecar_inflight 0" in _lines(metrics)
    open_calls.append(1)
    assert "mcp_sidecar_inflight 1" in _lines(metrics)
    assert "# TYPE mcp_sidecar_inflight gauge" in _lines(metrics)


def test_the_process_gauges_tell_of_this_process():
    metrics = Metrics()
    watch_process(metrics)
    values = {line.split()[0]: float(line.split()[1]) for line in _lines(metrics) if not line.startswith("#")}
    assert values["process_resident_memory_bytes"] > 5e6
    assert values["process_open_fds"] >= 3
    assert values["process_cpu_seconds_total"] > 0
    assert "# TYPE process_cpu_seconds_total counter" in _lines(metrics)


def test_numbers_that_are_none_are_spelt_as_prometheus_reads_them():
    metrics = Metrics()
    for name, value in (("a", math.nan), ("b", math.inf), ("c", -math.inf), ("d", 1e300), ("e", 0.1)):
        metrics.gauge(name, functools.partial(float, value))
    lines = [line for line in _lines(metrics) if not line.startswith("#")]
    assert lines == ["a NaN", "b +Inf", "c -Inf", "d 1e+300", "e 0.1"]


@given(st.text(), st.text())
def test_no_label_value_can_break_the_page(method, server):
    metrics = Metrics()
    metrics.record(Operation("/a.B/C", method, server, "OK", "done"), 0.001)
    page = prometheus_text(metrics.snapshot()).decode("utf-8")
    assert page.endswith("\n")
    for line in page[:-1].split("\n"):
        assert line.startswith("# ") or _LINE.fullmatch(line), line


@given(st.characters(categories=["Cs"]))
def test_half_of_a_surrogate_pair_does_not_take_the_page_down(half):
    metrics = Metrics()
    metrics.record(Operation("", half, "s", "OK", "done"), 0.001)
    assert b'method="?"' in prometheus_text(metrics.snapshot())


@pytest.mark.covers("B-313")
def test_a_bucket_names_the_last_traced_call_that_fell_into_it_where_openmetrics_is_spoken():
    metrics = Metrics()
    ping = Operation("", "ping", "s", "OK", "done")
    for number, seconds in ((1, 0.015), (2, 0.016), (3, 0.3)):
        metrics.record(ping, seconds, None, (f"{number:032x}", f"{number:016x}"))
    metrics.record(ping, 0.017)
    page = openmetrics_text(metrics.snapshot()).decode()
    marked = re.findall(r'le="([\d.]+)"} \d+ # {trace_id="(\w+)",span_id="(\w+)"} ([\d.]+) [\d.]+$', page, re.MULTILINE)
    assert marked == [("0.02", f"{2:032x}", f"{2:016x}", "0.016"), ("0.5", f"{3:032x}", f"{3:016x}", "0.3")]
    assert page.endswith("\n# EOF\n")
    assert "# TYPE mcp_sidecar_calls counter" in page and "mcp_sidecar_calls_total{" in page
    assert " # {" not in prometheus_text(metrics.snapshot()).decode()


@pytest.mark.covers("B-304")
def test_a_tool_has_a_label_once_its_server_answered_for_it_and_clients_choose_no_names():
    metrics = Metrics()
    for tool, fault in (("known", ""), ("broken", "tool_error"), ("made up", "-32602"), ("known", "-32602")):
        metrics.record(Operation("", "tools/call", "s", "OK", "done", tool, fault), 0.01)
    for number in range(600):
        metrics.record(Operation("", "tools/call", "s", "OK", "done", f"failing{number}", "tool_error"), 0.01)
    tools = {dict(labels)["tool"] for labels in _series(metrics, OPERATION_SECONDS)}
    assert {"known", "broken", OTHER} <= tools and "made up" not in tools
    assert len(tools) <= 101
    errors = {(dict(labels)["tool"], dict(labels).get("error", "")) for labels in _series(metrics, OPERATION_SECONDS)}
    assert ("known", "") in errors and ("broken", "tool_error") in errors


def test_what_a_server_calls_the_callers_fault_is_no_error_on_any_face():
    metrics = Metrics()
    for rpc, code in (("/a.B/CallTool", "INVALID_ARGUMENT"), ("", "OK")):
        metrics.record(Operation(rpc, "tools/call", "s", code, "done", "t", "-32602"), 0.01)
    assert [dict(labels).get("error") for labels in _series(metrics, OPERATION_SECONDS)] == [None, None]


@pytest.mark.covers("B-304")
def test_an_exchange_is_timed_by_method_tool_and_what_went_wrong():
    metrics = Metrics(methods={"tools/call"})
    metrics.exchanged("tools/call", "s", "echo", "", 0.01)
    metrics.exchanged("tools/call", "s", "echo", "UPSTREAM_LOST", 0.01)
    metrics.exchanged("tools/call", "s", "echo", "-32099", 0.01)
    metrics.exchanged("made/up", "s", "", "", 0.01)
    errors = {(dict(labels)["method"], dict(labels).get("error", "")) for labels in _series(metrics, CLIENT_SECONDS)}
    expected = {("tools/call", ""), ("tools/call", "UPSTREAM_LOST"), ("tools/call", OTHER), (OTHER, "")}
    assert errors == expected


def test_every_instrument_has_a_name_of_its_own_and_a_sentence():
    assert len({row.otlp for row in TABLE.values()}) == len(TABLE)
    for name, row in TABLE.items():
        assert row.text.endswith("."), name
        assert (row.kind == "histogram") == bool(row.bounds), name
        assert (row.kind == "counter") == name.endswith("_total"), name
