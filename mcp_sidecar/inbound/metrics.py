"""Counts and times what the faces do, in process memory; knows no exporter and asks nobody what a label means."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

OTHER = "_OTHER"
CALLS = "mcp_sidecar_calls_total"
OPERATION_SECONDS = "mcp_server_operation_duration_seconds"
RPC_SECONDS = "rpc_server_call_duration_seconds"

# Bounds in seconds, as the MCP and RPC semantic conventions of OpenTelemetry fix them.
OPERATION_BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
RPC_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

# A client chooses some label values (a method name, say): it must not be able to choose how much memory they take.
_MAX_SERIES = 2000

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


@dataclass(frozen=True, slots=True)
class Histogram:
    """One label set of a histogram: `counts` has one entry per bound and a last one for what lies above them all."""

    labels: Labels
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


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
    """A histogram's buckets and sum."""

    __slots__ = ("bounds", "counts", "labels", "total")

    def __init__(self, labels: Labels, bounds: tuple[float, ...]) -> None:
        self.labels = labels
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0


_Series = dict[Labels, _Timing]


class Metrics:
    """The one writer of the process's measurements; every method but `snapshot` is cheap enough for each call.

    `rpcs` and `methods`, when given, are the names worth a series of their own: any other is counted as `_OTHER`. No
    instrument grows over 2,000 label sets; what comes after that is counted under `_OTHER` too.
    """

    def __init__(self, *, rpcs: Container[str] | None = None, methods: Container[str] | None = None) -> None:
        self._rpcs = rpcs
        self._methods = methods
        self._instruments: dict[tuple[str, str, str, str, str], tuple[_Tally, tuple[_Timing, ...]]] = {}
        self._operations: _Series = {}
        self._calls: _Series = {}
        self._tallies: dict[str, dict[Labels, _Tally]] = {}
        self._shortcuts: dict[tuple[str, Labels], _Tally] = {}
        self._gauges: dict[str, dict[Labels, Callable[[], float]]] = {}
        self._before: list[Callable[[], None]] = []

    def record(self, rpc: str, method: str, server: str, code: str, execution: str, seconds: float) -> None:
        """One finished call: `rpc` (`/package.Service/Method`; empty for HTTP), the MCP `method` (empty when unknown).

        `code` is the status name (`OK`, `UNAVAILABLE`, …), `execution` says whether it ran, `seconds` its duration.
        """
        instruments = self._instruments.get((rpc, method, server, code, execution))
        if instruments is None:
            instruments = self._find(rpc, method, server, code, execution)
        tally, timings = instruments
        tally.value += 1.0
        for timing in timings:
            timing.counts[bisect_left(timing.bounds, seconds)] += 1
            timing.total += seconds

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to the counter `name` (as exposed, so ending in `_total`)."""
        tally = self._shortcuts.get((name, tuple(labels.items())))
        if tally is None:
            tally = self._tally(name, labels)
        tally.value += amount

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
        timings = ((OPERATION_SECONDS, self._operations), (RPC_SECONDS, self._calls))
        families = [Family(name, _histograms(series)) for name, series in timings]
        for name, tallies in self._tallies.items():
            families.append(Family(name, tuple(Counter(labels, tally.value) for labels, tally in tallies.items())))
        for name, reads in self._gauges.items():
            families.append(Family(name, tuple(Gauge(labels, read()) for labels, read in reads.items())))
        return Snapshot(tuple(family for family in sorted(families, key=lambda f: f.name) if family.series))

    def _find(
        self, rpc: str, method: str, server: str, code: str, execution: str
    ) -> tuple[_Tally, tuple[_Timing, ...]]:
        """What a call counts in. One that never named a method is an RPC, but no MCP operation."""
        tally = self._tally(CALLS, {"code": code, "execution": execution})
        timings = []
        labels: Labels
        if method:
            labels = (("method", _known(method, self._methods)), ("server", server), ("code", code))
            timings.append(_timing(self._operations, labels, OPERATION_BOUNDS))
        if rpc:
            labels = (("rpc_method", _known(rpc.removeprefix("/"), self._rpcs)), ("code", code))
            timings.append(_timing(self._calls, labels, RPC_BOUNDS))
        # Names that nobody knows get no shortcut: they would use up the room of those that matter.
        found = tally, tuple(timings)
        if len(self._instruments) < _MAX_SERIES and not any(OTHER in dict(one.labels).values() for one in timings):
            self._instruments[rpc, method, server, code, execution] = found
        return found

    def _tally(self, name: str, labels: dict[str, str]) -> _Tally:
        tallies = self._tallies.setdefault(name, {})
        wanted = tuple(sorted(labels.items()))
        key = _bounded(wanted, tallies)
        tally = tallies.setdefault(key, _Tally())
        if key == wanted and len(self._shortcuts) < _MAX_SERIES:
            self._shortcuts[name, tuple(labels.items())] = tally
        return tally


def _known(name: str, names: Container[str] | None) -> str:
    return name if names is None or name in names else OTHER


def _timing(series: _Series, labels: Labels, bounds: tuple[float, ...]) -> _Timing:
    key = _bounded(labels, series)
    return series.setdefault(key, _Timing(key, bounds))


def _bounded(labels: Labels, series: Mapping[Labels, object]) -> Labels:
    """`labels`, or those of the overflow series when there is no room for one more beside it."""
    if labels in series or len(series) < _MAX_SERIES - 1:
        return labels
    return tuple((name, OTHER) for name, _value in labels)


def _histograms(series: _Series) -> tuple[Histogram, ...]:
    return tuple(Histogram(labels, t.bounds, tuple(t.counts), t.total) for labels, t in series.items())
