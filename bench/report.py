"""Prints sections as tables or JSON and describes the machine; knows nothing of how figures are taken."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from bench.peers import PROXIES, version
from bench.plan import Plan
from bench.results import Cell, Section, Verdict

PACKAGES = ("mcp-sidecar", "grpcio", "protobuf", "uvloop", "httptools", "msgspec")


def machine() -> dict[str, str]:
    """What the figures depend on: processor, kernel and versions."""
    return {
        "cpu": _cpu_model(),
        "cpus": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{package: _package(package) for package in PACKAGES},
        **{proxy: version(proxy) for proxy in PROXIES},
    }


def as_json(plan: Plan, sections: Sequence[Section], failures: Sequence[str]) -> str:
    """The whole report as one JSON document."""
    document = {
        "machine": machine(),
        "placement": plan.placement.note,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "sections": [_section_object(section) for section in sections],
        "failures": list(failures),
    }
    return json.dumps(document, indent=2)


def as_table(plan: Plan, sections: Sequence[Section], failures: Sequence[str]) -> str:
    """The whole report for reading: the tables, then every target with its figure."""
    lines = [
        ", ".join(f"{name} {value}" for name, value in machine().items()),
        f"{plan.placement.note}; medians of {plan.rounds} interleaved rounds of {plan.seconds:g} s",
    ]
    lines += tables(sections)
    lines += [f"FAILED {failure}" for failure in failures]
    return "\n".join(lines)


def tables(sections: Sequence[Section]) -> list[str]:
    """The lines of every section's table, then of every target with its figure."""
    lines: list[str] = []
    for section in sections:
        lines += ["", section.title, *_table(section.columns, section.rows)]
        lines += [f"  note: {note}" for note in section.notes]
    verdicts = [verdict for section in sections for verdict in section.verdicts]
    if verdicts:
        lines += ["", "Targets", *_table(("", "figure", "target", ""), [_verdict_row(verdict) for verdict in verdicts])]
    return lines


def _verdict_row(verdict: Verdict) -> tuple[Cell, ...]:
    figure = "-" if verdict.figure is None else f"{verdict.figure:.2f} {verdict.unit}".rstrip()
    target = f"{verdict.relation} {verdict.target:g} {verdict.unit}".rstrip()
    return verdict.measure, figure, target, {True: "ok", False: "MISSED", None: "not measured"}[verdict.met]


def _section_object(section: Section) -> dict[str, object]:
    columns = ("name", *section.columns[1:])
    return {
        "title": section.title,
        "rows": [dict(zip(columns, row, strict=True)) for row in section.rows],
        "verdicts": [{**asdict(verdict), "met": verdict.met} for verdict in section.verdicts],
        "notes": section.notes,
        "wrong": section.wrong,
    }


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[str]:
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return ["  " + _line(row, widths).rstrip() for row in cells]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        text.rjust(width) if i else text.ljust(width) for i, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *rest])


def _cell(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"
    return str(value)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
