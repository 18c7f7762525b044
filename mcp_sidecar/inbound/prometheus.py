"""Writes a metrics snapshot as Prometheus text 0.0.4 or, with exemplars, OpenMetrics 1.0. Knows no HTTP."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import accumulate

from mcp_sidecar.inbound.instruments import TABLE
from mcp_sidecar.inbound.metrics import Counter, Exemplar, Gauge, Histogram, Labels, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"
OPENMETRICS_TYPE = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"

_KINDS = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def prometheus_text(snapshot: Snapshot) -> bytes:
    """The snapshot in exposition format 0.0.4, UTF-8; families in the order of the snapshot."""
    return _text(_lines(snapshot, openmetrics=False))


def openmetrics_text(snapshot: Snapshot) -> bytes:
    """The same in OpenMetrics 1.0, where buckets may name a traced call that fell into them."""
    return _text((*_lines(snapshot, openmetrics=True), "# EOF"))


def _text(lines: Iterable[str]) -> bytes:
    # A label value may hold half of a surrogate pair (JSON allows it); one such name must not take the page down.
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _lines(snapshot: Snapshot, *, openmetrics: bool) -> Iterator[str]:
    for family in snapshot.families:
        known = TABLE.get(family.name)
        # Some counters are kept elsewhere (by the kernel) and only read by us; the table says what they are.
        kind = _KINDS[type(family.series[0])] if known is None else known.kind
        # OpenMetrics names the family of a counter without the ending that its samples have.
        name = family.name.removesuffix("_total") if openmetrics else family.name
        if known is not None:
            yield f"# HELP {name} {known.text}"
        yield f"# TYPE {name} {kind}"
        for series in family.series:
            yield from _samples(family.name, series, exemplars=openmetrics)


def _samples(name: str, series: Counter | Gauge | Histogram, *, exemplars: bool) -> Iterator[str]:
    if not isinstance(series, Histogram):
        yield f"{name}{_braces(series.labels)} {_number(series.value)}"
        return
    ends = (*map(_number, series.bounds), "+Inf")
    cumulative = tuple(accumulate(series.counts))
    traced = dict(series.exemplars) if exemplars else {}
    for bucket, (end, count) in enumerate(zip(ends, cumulative, strict=True)):
        yield f"{name}_bucket{_braces((*series.labels, ('le', end)))} {count}{_exemplar(traced.get(bucket))}"
    yield f"{name}_sum{_braces(series.labels)} {_number(series.total)}"
    yield f"{name}_count{_braces(series.labels)} {cumulative[-1]}"


def _exemplar(found: Exemplar | None) -> str:
    if found is None:
        return ""
    ids = _braces((("trace_id", found.trace_id), ("span_id", found.span_id)))
    return f" # {ids} {_number(found.value)} {found.at:.3f}"


def _braces(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels)
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    """A float as Prometheus reads it: `+Inf` and `NaN` in that spelling, whole numbers without a fraction."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))
