"""One line and one sample for each call, made in batches: `inbound.chain.Ledger`."""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from mcp_sidecar.call import Call
from mcp_sidecar.errors import Bug, Draining, Overloaded, UpstreamLost, UpstreamRefused
from mcp_sidecar.inbound.chain import Ledger
from mcp_sidecar.inbound.instruments import CALLS, OVERHEAD_SECONDS, SHED
from mcp_sidecar.inbound.metrics import Counter, Histogram, Metrics
from mcp_sidecar.logs import Log
from tests.inbound.grpc.kinds import samples


class Book:
    """A ledger whose log writes into `lines` when `later` comes."""

    def __init__(self, level: str = "info", **ledger: Any) -> None:
        self.lines: list[dict[str, Any]] = []
        self.later: list[Callable[[], None]] = []
        self.metrics = Metrics()
        self.log = Log(self._write, level, later=lambda _, work: self.later.append(work))
        self.ledger = Ledger(self.log, self.metrics, **ledger)

    def _write(self, line: bytes) -> None:
        self.lines += map(json.loads, line.splitlines())


def a_call(rpc: str = "/a.B/C", **fields: Any) -> Call:
    return Call(rpc, "rid", method="ping", server="up", **fields)


@pytest.mark.covers("B-30")
def test_entries_wait_for_each_other_and_are_made_in_order():
    book = Book()
    for name in ("first", "second", "third"):
        book.ledger.ended(a_call(name=name))
    assert book.lines == []
    assert len(book.later) == 1
    book.later[0]()
    assert [line["name"] for line in book.lines] == ["first", "second", "third"]
    book.ledger.ended(a_call(name="fourth"))
    assert len(book.later) == 2


def test_a_line_tells_the_time_and_the_duration_of_the_call_and_not_of_the_batch():
    book = Book()
    before = time.time()
    book.ledger.ended(a_call(started=time.monotonic() - 0.25))
    time.sleep(0.5)
    book.later[0]()
    (line,) = book.lines
    assert 250 <= line["duration_ms"] < 500
    seconds, _, fraction = line["time"].removesuffix("Z").partition(".")
    told = calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) + int(fraction) / 1000
    assert before - 0.002 <= told <= before + 0.4


def test_whoever_asks_for_the_metrics_gets_what_waits():
    book = Book()
    book.ledger.ended(a_call())
    book.ledger.ended(a_call(), UpstreamLost("gone"))
    assert sorted(samples(book.metrics)[CALLS]) == ["OK", "UNAVAILABLE"]
    assert [line["code"] for line in book.lines] == ["OK", "UNAVAILABLE"]
    for work in book.later:
        work()
    assert len(book.lines) == 2


@pytest.mark.covers("B-425")
def test_the_name_of_a_tool_is_short_in_line_and_labels():
    book = Book()
    book.ledger.ended(Call("/a.B/C", "rid", method="tools/call", server="up", name="n" * 5000))
    families = book.metrics.snapshot().families
    values = {value for family in families for series in family.series for _, value in series.labels}
    assert book.lines[0]["name"] in values
    assert max(map(len, values)) == 128


def test_a_settled_log_owes_no_line():
    book = Book()
    book.ledger.ended(a_call())
    book.log.settle()
    assert len(book.lines) == 1


def test_what_waits_is_bounded():
    book = Book()
    for _ in range(2500):
        book.ledger.ended(a_call())
    assert len(book.lines) == 2000


def test_without_anybody_who_could_come_later_entries_are_made_at_once():
    lines: list[bytes] = []
    ledger = Ledger(Log(lines.append), Metrics())
    ledger.ended(a_call())
    assert len(lines) == 1


@pytest.mark.parametrize(("level", "told"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 0)])
def test_levels_are_kept_and_every_call_is_counted(level: str, told: int):
    book = Book(level, quiet=frozenset(("/health",)))
    book.ledger.ended(a_call("/health"))
    book.ledger.ended(a_call())
    book.ledger.ended(a_call(), UpstreamLost("gone"))
    book.log.settle()
    assert len(book.lines) == told
    assert len(samples(book.metrics)[CALLS]) == 3


def test_the_stack_of_a_bug_is_in_its_line_and_what_a_server_said_is_not():
    book = Book()
    try:
        raise ValueError("the bug")
    except ValueError as error:
        book.ledger.ended(a_call(), Bug("internal error"), error)
    book.ledger.ended(a_call(), UpstreamRefused(-32000, "SECRET words"))
    book.log.settle()
    assert "ValueError: the bug" in book.lines[0]["stack"]
    assert "SECRET" not in json.dumps(book.lines[1])


@pytest.mark.covers("B-304")
def test_calls_that_are_refused_for_want_of_room_are_counted_by_reason():
    book = Book()
    for failure in (Overloaded("full"), Draining("going"), UpstreamLost("gone")):
        book.ledger.ended(a_call(), failure)
    (family,) = (one for one in book.metrics.snapshot().families if one.name == SHED)
    shed = {one.labels: one.value for one in family.series if isinstance(one, Counter)}
    assert shed == {(("reason", "OVERLOADED"),): 1.0, (("reason", "DRAINING"),): 1.0}


@pytest.mark.covers("B-304")
def test_what_a_call_did_not_wait_for_a_server_is_ours():
    book = Book()
    call = a_call(started=time.monotonic() - 0.5, waited=0.4)
    book.ledger.ended(call)
    book.ledger.ended(a_call())
    (family,) = (one for one in book.metrics.snapshot().families if one.name == OVERHEAD_SECONDS)
    (histogram,) = family.series
    assert isinstance(histogram, Histogram)
    assert sum(histogram.counts) == 1, "a call that no server was asked for is not counted"
    assert 0.1 <= histogram.total < 0.4
