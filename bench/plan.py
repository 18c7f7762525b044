"""How a run of the benchmark goes; knows nothing of what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.processes import Placement


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often. `sidecar` is a command line without `serve`."""

    sidecar: Sequence[str]
    placement: Placement
    rounds: int
    starts: int
    seconds: float  # of each run that counts
    warm: float  # seconds before it
