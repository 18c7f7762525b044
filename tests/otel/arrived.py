"""What a collector's file exporters wrote, read from its OTLP JSON by hand; knows no sidecar and no protobuf."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.otel.collector import SIGNALS, Json

SERVER, CLIENT = 2, 3
_ERROR = 2
_NO_VALUE = 1


@dataclass(frozen=True, slots=True)
class Span:
    """One span; ids are hexadecimal, as OTLP JSON has them."""

    trace: str
    span: str
    parent: str
    kind: int
    name: str
    error: bool
    attributes: Json


@dataclass(frozen=True, slots=True)
class Record:
    """One log record."""

    trace: str
    span: str
    severity: str
    attributes: Json


class Arrived:
    """Everything in these files of a folder when this was made. A line that is not complete yet is left out."""

    def __init__(self, folder: Path, *files: str) -> None:
        lines = [line for name in files or SIGNALS for line in _lines(folder / f"{name}.json")]
        parts = [(kind, one) for line in lines for kind, resources in line.items() for one in resources]
        self.resources = [attributes(one["resource"]) for _, one in parts]
        """What those who sent say of themselves, once for each batch."""
        self.spans = [_span(item) for item in _items(parts, "resourceSpans", "scopeSpans", "spans")]
        self.records = [_record(item) for item in _items(parts, "resourceLogs", "scopeLogs", "logRecords")]
        metrics = _items(parts, "resourceMetrics", "scopeMetrics", "metrics")
        self._points = {metric["name"]: points for metric in metrics if (points := _points(metric))}

    def of(self, trace: str) -> list[Span]:
        """The spans of one trace, the outermost first."""
        return sorted((span for span in self.spans if span.trace == trace), key=lambda span: span.kind)

    def counts(self, name: str, *by: str) -> dict[tuple[str, ...], int]:
        """How much a histogram or a counter has counted, by the values of these attributes."""
        found: Counter[tuple[str, ...]] = Counter()
        for point in self.points(name):
            said = attributes(point)
            found[tuple(str(said.get(one, "")) for one in by)] += _number(point)
        return dict(found)

    def points(self, name: str) -> list[Json]:
        """The last of this name: they are cumulative."""
        return self._points.get(name, [])


def _lines(file: Path) -> list[Json]:
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def attributes(of: Json) -> Json:
    """Attributes as a plain dictionary; OTLP JSON writes integers as text."""
    return {one["key"]: _value(one["value"]) for one in of.get("attributes", [])}


def _value(value: Json) -> Any:
    ((kind, found),) = value.items()
    return int(found) if kind == "intValue" else found


def _points(metric: Json) -> list[Json]:
    """Those of a metric that have a value: a scrape that fails says of every series that it has none."""
    data: Json = next((metric[kind] for kind in ("histogram", "sum", "gauge") if kind in metric), {})
    return [point for point in data.get("dataPoints", []) if not point.get("flags", 0) & _NO_VALUE]


def _number(point: Json) -> int:
    if "bucketCounts" in point:
        assert sum(map(int, point["bucketCounts"])) == int(point["count"])
        return int(point["count"])
    return int(point["asDouble"] if "asDouble" in point else point["asInt"])


def _items(parts: list[tuple[str, Json]], kind: str, scopes: str, items: str) -> Iterator[Json]:
    for found, part in parts:
        if found == kind:
            for scope in part[scopes]:
                yield from scope[items]


def _span(item: Json) -> Span:
    failed = item.get("status", {}).get("code", 0) == _ERROR
    parent = item.get("parentSpanId", "")
    return Span(item["traceId"], item["spanId"], parent, item["kind"], item["name"], failed, attributes(item))


def _record(item: Json) -> Record:
    return Record(item.get("traceId", ""), item.get("spanId", ""), item["severityText"], attributes(item))
