"""How long the calls to one server took lately, in a few numbers for a sparkline. Knows no call and no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SLOT_SECONDS = 5
SLOTS = 60
SAMPLE = 256
"""Durations that percentiles are taken of."""


@dataclass(slots=True)
class _Slot:
    """The calls of five seconds; times in milliseconds."""

    number: int
    calls: int = 0
    failed: int = 0
    total: float = 0.0
    worst: float = 0.0


class Latency:
    """Counts and times of five minutes in slots of five seconds, and the last durations for percentiles."""

    __slots__ = ("_durations", "_slots", "calls", "failed")

    def __init__(self, sample: int = SAMPLE) -> None:
        self._slots: deque[_Slot] = deque(maxlen=SLOTS)
        self._durations: deque[float] = deque(maxlen=sample)
        self.calls = 0
        self.failed = 0

    def add(self, at: float, milliseconds: Sequence[float], failed: int = 0) -> None:
        """Calls took so long, `failed` of them in vain; the last ended at `at` (seconds on the clock of `shown`)."""
        number = int(at) // SLOT_SECONDS
        slots = self._slots
        if not slots or slots[-1].number < number:
            slots.append(_Slot(number))
        slot = slots[-1]
        slot.calls += len(milliseconds)
        slot.failed += failed
        slot.total += sum(milliseconds)
        slot.worst = max(slot.worst, *milliseconds)
        self.calls += len(milliseconds)
        self.failed += failed
        self._durations.extend(milliseconds)

    def include(self, other: Latency) -> None:
        """Count what another one counted as well."""
        self.calls += other.calls
        self.failed += other.failed
        self._durations.extend(other._durations)  # of its own kind
        slots = {slot.number: slot for slot in self._slots}
        for slot in other._slots:
            found = slots.setdefault(slot.number, _Slot(slot.number))
            found.calls += slot.calls
            found.failed += slot.failed
            found.total += slot.total
            found.worst = max(found.worst, slot.worst)
        self._slots = deque((slots[number] for number in sorted(slots)), maxlen=SLOTS)

    def shown(self, now: float) -> dict[str, Any]:
        """Totals, percentiles of the last calls, and a row a slot from the oldest to the present one.

        A slot without calls has the mean None: nothing is known of it, which is not the same as fast.
        """
        last = int(now) // SLOT_SECONDS
        found = {slot.number: slot for slot in self._slots}
        row = [found.get(number) for number in range(last - SLOTS + 1, last + 1)]
        ordered = sorted(self._durations)
        return {
            "calls": self.calls,
            "failed": self.failed,
            "p50_ms": _percentile(ordered, 0.5),
            "p95_ms": _percentile(ordered, 0.95),
            "slot_seconds": SLOT_SECONDS,
            "slots": {
                "calls": [slot.calls if slot else 0 for slot in row],
                "failed": [slot.failed if slot else 0 for slot in row],
                "mean_ms": [round(slot.total / slot.calls, 2) if slot else None for slot in row],
                "worst_ms": [slot.worst if slot else None for slot in row],
            },
        }


def _percentile(ordered: list[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None
