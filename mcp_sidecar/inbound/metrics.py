"""Counts and times what the faces do, in process memory; knows no exporter and asks nobody what a label means."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mcp_sidecar.inbound.instruments import (
    CALLS,
    CLIENT_SECONDS,
    OPERATION_SECONDS,
    OVERHEAD_SECONDS,
    RETRIES,
    RPC_SECONDS,
    SESSION_SECONDS,
    TABLE,
)
from mcp_sidecar.inbound.status import CALLERS_CODES, OK
from mcp_sidecar.protocol import eras
from mcp_sidecar.protocol.outcome import CALLERS_FAULT, TOOL_ERROR

OTHER = "_OTHER"
_CODES = frozenset(map(str, eras.CODES))

# A client chooses some label values (a method name, say): it must not be able to choose how much memory they take.
_MAX_SERIES = 2000
_MAX_TOOLS = 500
_MAX_FAILING_TOOLS = 100
# Measurements that wait for their buckets, of all instruments together.
_MAX_WAITING = 4096

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Counter:
    """One label set of a counter."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Gauge:
    """One label set of a gauge, as it was when the snapshot was taken."""

    labels: Labels
    value: float


class Exemplar(NamedTuple):
    """A traced call that fell into a bucket: its ids (hex), what was measured, and when (Unix seconds)."""

    trace_id: str
    span_id: str
    value: float
    at: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """One label set of a histogram: `counts` has one entry per bound and a last one for what lies above them all.

    `exemplars` are the last traced calls, each with the number of its bucket.
    """

    labels: Labels
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float
    exemplars: tuple[tuple[int, Exemplar], ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """Every series of one instrument; all are of one kind."""

    name: str
    series: tuple[Counter, ...] | tuple[Gauge, ...] | tuple[Histogram, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All instruments at one moment, by name; what exporters read."""

    families: tuple[Family, ...]


class _Tally:
    """A counter's value, shared by all keys that lead to it."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class _Timing:
    """A histogram's buckets and sum, and what was measured since they were counted."""

    __slots__ = ("bounds", "counts", "exemplars", "labels", "total", "waiting")

    def __init__(self, labels: Labels, bounds: tuple[float, ...]) -> None:
        self.labels = labels
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}
        self.waiting: list[float] = []

    def show(self, seconds: float, ids: Ids) -> None:
        """This measurement is of a traced call."""
        self.exemplars[bisect_left(self.bounds, seconds)] = Exemplar(*ids, seconds, time.time())

    def settle(self) -> None:
        """Put into buckets what waits: sorted, each bound is looked for once and not once a measurement."""
        waiting, counts = self.waiting, self.counts
        waiting.sort()
        before = 0
        for bucket, bound in enumerate(self.bounds):
            upto = bisect_right(waiting, bound, before)
            counts[bucket] += upto - before
            before = upto
        counts[-1] += len(waiting) - before
        self.total += sum(waiting)
        waiting.clear()


class _Operations:
    """Calls that are counted alike, and how long those took that were not counted yet."""

    __slots__ = ("tally", "timings", "waiting")

    def __init__(self, tally: _Tally, timings: tuple[_Timing, ...]) -> None:
        self.tally = tally
        self.timings = timings
        self.waiting: list[float] = []

    def settle(self) -> None:
        """Count them, in each histogram they are part of."""
        self.tally.value += len(self.waiting)
        for timing in self.timings:
            timing.waiting += self.waiting
        self.waiting.clear()


Ids = tuple[str, str]
"""Of a trace and of a span in it."""
_Series = dict[Labels, _Timing]


class Operation(NamedTuple):
    """What a call was, as far as its measurements tell.

    `rpc` is `/package.Service/Method`, empty for HTTP; `method` the MCP method, empty when unknown; `code` the status
    name (`OK`, `UNAVAILABLE`, …); `execution` says whether it ran. `fault` is what a server found wrong that answered:
    a JSON-RPC code or `tool_error`.
    """

    rpc: str
    method: str
    server: str
    code: str
    execution: str
    tool: str = ""
    fault: str = ""


class Metrics:
    """The one writer of the process's measurements; every method but `snapshot` is cheap enough for each call.

    `rpcs` and `methods`, when given, are the names worth a series of their own: any other is counted as `_OTHER`. No
    instrument grows over 2,000 label sets; what comes after that is counted under `_OTHER` too.
    """

    def __init__(self, *, rpcs: Container[str] | None = None, methods: Container[str] | None = None) -> None:
        self._rpcs = rpcs
        self._methods = methods
        self._operations: dict[tuple[str, ...], _Operations] = {}
        self._passing: list[_Operations] = []
        self._overheads: list[float] = []
        self._waiting = 0
        self._timings: dict[str, _Series] = {}
        self._exchanges: dict[tuple[str, ...], _Timing] = {}
        self._tools: set[tuple[str, str]] = set()
        self._tallies: dict[str, dict[Labels, _Tally]] = {}
        self._shortcuts: dict[tuple[str, Labels], _Tally] = {}
        self._gauges: dict[str, dict[Labels, Callable[[], float]]] = {}
        self._before: list[Callable[[], None]] = []

    def record(
        self,
        operation: tuple[str, str, str, str, str, str, str],
        seconds: float,
        overhead: float | None = None,
        ids: Ids | None = None,
    ) -> None:
        """One finished call (an `Operation`) and its duration; `overhead` is our part of it, `ids` are of its span."""
        operations = self._operations.get(operation)
        if operations is None:
            operations = self._find(operation)
        operations.waiting.append(seconds)
        if overhead is not None and operation[1]:
            self._overheads.append(overhead)
        if ids is not None:
            self._show(operations, seconds, overhead, ids)
        self._waiting += 1  # as `_keep_bounded`, which would cost a call
        if self._waiting >= _MAX_WAITING:
            self._settle()

    def _keep_bounded(self) -> None:
        """One more waits."""
        self._waiting += 1
        if self._waiting >= _MAX_WAITING:
            self._settle()

    def _show(self, operations: _Operations, seconds: float, overhead: float | None, ids: Ids) -> None:
        for timing in operations.timings:
            timing.show(seconds, ids)
        if overhead is not None:
            self._timing(OVERHEAD_SECONDS, ()).show(overhead, ids)

    def _settle(self) -> None:
        """Every measurement is in its bucket."""
        self._waiting = 0
        for operations in (*self._operations.values(), *self._passing):
            if operations.waiting:
                operations.settle()
        self._passing.clear()
        if self._overheads:
            self._timing(OVERHEAD_SECONDS, ()).waiting += self._overheads
            self._overheads.clear()
        for series in self._timings.values():
            for timing in series.values():
                if timing.waiting:
                    timing.settle()

    def conversed(self, seconds: float) -> None:
        """A session of a 2025-era client is over."""
        self.time(SESSION_SECONDS, seconds)

    def exchanged(self, method: str, server: str, tool: str, error: str, seconds: float) -> None:
        """One exchange with a server; `error` is what went wrong, empty for nothing."""
        timing = self._exchanges.get((method, server, tool, error))
        if timing is None:
            timing = self._find_exchange(method, server, tool, error)
        timing.waiting.append(seconds)
        self._waiting += 1  # as in `record`
        if self._waiting >= _MAX_WAITING:
            self._settle()

    def _find_exchange(self, method: str, server: str, tool: str, error: str) -> _Timing:
        labels = (("method", _known(method, self._methods)), *self._tool(server, tool, error), ("server", server))
        labels = (*labels, ("error", _fault(error))) if error else labels
        timing = self._timing(CLIENT_SECONDS, labels)
        if len(self._exchanges) < _MAX_SERIES and not _is_other(timing):
            self._exchanges[method, server, tool, error] = timing
        return timing

    def retried(self, reason: str) -> None:
        """A call is sent again after a failure."""
        self.count(RETRIES, reason=reason)

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to the counter `name` (as exposed, so ending in `_total`)."""
        tally = self._shortcuts.get((name, tuple(labels.items())))
        if tally is None:
            tally = self._tally(name, labels)
        tally.value += amount

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Add a duration to the histogram `name`; labels in the order that the page shows."""
        self._timing(name, tuple(labels.items())).waiting.append(seconds)
        self._keep_bounded()

    def gauge(self, name: str, read: Callable[[], float], **labels: str) -> None:
        """Have `read` called for the value of `name` at each snapshot; a later call replaces an earlier one."""
        self._gauges.setdefault(name, {})[tuple(sorted(labels.items()))] = read

    def before_snapshot(self, hand_in: Callable[[], None]) -> None:
        """Have `hand_in` called before each snapshot, by those who gather what they measure."""
        self._before.append(hand_in)

    def snapshot(self) -> Snapshot:
        """Everything measured so far; the gauges are read now."""
        for hand_in in self._before:
            hand_in()
        self._settle()
        families = [Family(name, _histograms(series)) for name, series in self._timings.items()]
        for name, tallies in self._tallies.items():
            families.append(Family(name, tuple(Counter(labels, tally.value) for labels, tally in tallies.items())))
        for name, reads in self._gauges.items():
            families.append(Family(name, tuple(Gauge(labels, read()) for labels, read in reads.items())))
        return Snapshot(tuple(family for family in sorted(families, key=lambda f: f.name) if family.series))

    def _find(self, operation: tuple[str, str, str, str, str, str, str]) -> _Operations:
        """What a call counts in. One that never named a method is an RPC, but no MCP operation."""
        rpc, method, server, code, execution, tool, fault = operation
        tally = self._tally(CALLS, {"code": code, "execution": execution})
        timings = []
        labels: Labels
        if method:
            failed = fault or (code if code != OK else "")
            error = "" if failed in CALLERS_FAULT | CALLERS_CODES else _fault(failed)
            labels = (
                ("method", _known(method, self._methods)),
                *self._tool(server, tool, failed),
                ("server", server),
            )
            labels = (*labels, ("code", code), *((("error", error),) if error else ()))
            timings.append(self._timing(OPERATION_SECONDS, labels))
        if rpc:
            labels = (("rpc_method", _known(rpc.removeprefix("/"), self._rpcs)), ("code", code))
            timings.append(self._timing(RPC_SECONDS, labels))
        found = _Operations(tally, tuple(timings))
        # Names that nobody knows are not kept: they would use up the room of those that matter.
        if len(self._operations) < _MAX_SERIES and not any(map(_is_other, timings)):
            self._operations[operation] = found
        else:
            self._passing.append(found)
        return found

    def _tool(self, server: str, tool: str, error: str) -> Labels:
        """A tool has a label of its own once its server has done something under that name.

        Clients choose these names, and only the server knows which are its tools. Many answer for one that they do not
        have as for one that fails, so what only ever failed gets less room.
        """
        if not tool:
            return ()
        named = (server, tool)
        room = _MAX_TOOLS if not error else _MAX_FAILING_TOOLS if error == TOOL_ERROR else 0
        if len(self._tools) < room:
            self._tools.add(named)
        return (("tool", tool if named in self._tools else OTHER),)

    def _timing(self, name: str, labels: Labels) -> _Timing:
        series = self._timings.setdefault(name, {})
        found = series.get(labels)
        if found is None:
            key = _bounded(labels, series)
            found = series.setdefault(key, _Timing(key, TABLE[name].bounds))
        return found

    def _tally(self, name: str, labels: dict[str, str]) -> _Tally:
        tallies = self._tallies.setdefault(name, {})
        wanted = tuple(sorted(labels.items()))
        key = _bounded(wanted, tallies)
        tally = tallies.setdefault(key, _Tally())
        if key == wanted and len(self._shortcuts) < _MAX_SERIES:
            self._shortcuts[name, tuple(labels.items())] = tally
        return tally


def _is_other(timing: _Timing) -> bool:
    return any(value == OTHER for _, value in timing.labels)


def _fault(error: str) -> str:
    """Servers choose the numbers of their errors: only those of the specification get a series."""
    return OTHER if error.startswith("-") and error not in _CODES else error


def _known(name: str, names: Container[str] | None) -> str:
    return name if names is None or name in names else OTHER


def _bounded(labels: Labels, series: Mapping[Labels, object]) -> Labels:
    """`labels`, or those of the overflow series when there is no room for one more beside it."""
    if labels in series or len(series) < _MAX_SERIES - 1:
        return labels
    return tuple((name, OTHER) for name, _value in labels)


def _histograms(series: _Series) -> tuple[Histogram, ...]:
    return tuple(
        Histogram(labels, t.bounds, tuple(t.counts), t.total, tuple(t.exemplars.items()))
        for labels, t in series.items()
    )
