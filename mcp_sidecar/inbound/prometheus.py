"""Writes a metrics snapshot as Prometheus text (exposition format 0.0.4); knows no HTTP and measures nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate

from mcp_sidecar.inbound.instruments import TABLE
from mcp_sidecar.inbound.metrics import Counter, Gauge, Histogram, Labels, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_KINDS = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def prometheus_text(snapshot: Snapshot) -> bytes:
    """The snapshot in exposition format 0.0.4, UTF-8; families in the order of the snapshot."""
    lines: list[str] = []
    for family in snapshot.families:
        known = TABLE.get(family.name)
        if known is not None:
            lines.append(f"# HELP {family.name} {known.text}")
        # Some counters are kept elsewhere (by the kernel) and only read by us; the table says what they are.
        kind = _KINDS[type(family.series[0])] if known is None else known.kind
        lines.append(f"# TYPE {family.name} {kind}")
        for series in family.series:
            lines.extend(_samples(family.name, series))
    # A label value may hold half of a surrogate pair (JSON allows it); one such name must not take the page down.
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _samples(name: str, series: Counter | Gauge | Histogram) -> Iterator[str]:
    if not isinstance(series, Histogram):
        yield f"{name}{_braces(series.labels)} {_number(series.value)}"
        return
    ends = (*map(_number, series.bounds), "+Inf")
    cumulative = tuple(accumulate(series.counts))
    for end, count in zip(ends, cumulative, strict=True):
        yield f"{name}_bucket{_braces((*series.labels, ('le', end)))} {count}"
    yield f"{name}_sum{_braces(series.labels)} {_number(series.total)}"
    yield f"{name}_count{_braces(series.labels)} {cumulative[-1]}"


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
