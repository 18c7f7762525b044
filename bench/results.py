"""What a measurement yields: samples, verdicts, sections. Knows neither how they are taken nor how they are printed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Cell = str | float | None


class MeasurementFailed(Exception):
    """A figure could not be taken; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a load generator. Latencies and CPU times in microseconds; `foreign` is in CPUs."""

    calls: int
    wrong: int
    rate: float
    p50: float
    p99: float
    cpu: float | None
    foreign: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure next to its target. `figure` is None when there was nothing to compare with."""

    measure: str
    figure: float | None
    relation: Literal["<=", ">="]
    target: float
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without a figure."""
        if self.figure is None:
            return None
        return self.figure <= self.target if self.relation == "<=" else self.figure >= self.target


@dataclass(slots=True)
class Section:
    """One measure: its table, its verdicts, and what has to be known to read them."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wrong: int = 0  # answers that were wrong or missing


def median(samples: Iterable[Sample], pick: Callable[[Sample], float | None]) -> float | None:
    """Median of one quantity, over the samples that have it."""
    values = [value for sample in samples if (value := pick(sample)) is not None]
    return statistics.median(values) if values else None


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios of neighbouring runs: what the machine did meanwhile hits both and cancels out."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
