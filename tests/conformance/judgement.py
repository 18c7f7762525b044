"""Compares what the suite found with the failures that are expected; runs nothing.

The files in `expected/` have the suite's own form: lists named `server` and `client` of `scenario` or
`scenario:check-id`. They are judged here, because the suite, given such a file, forgives a client that crashes and
overlooks entries for what it does not run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.conformance.harness import Outcome

EXPECTED = Path(__file__).with_name("expected")
_BAD = frozenset(("FAILURE", "WARNING"))


@dataclass(frozen=True, slots=True)
class Judgement:
    """`unexpected` are lines for people; `stale` are entries that name what passes, or what is not run."""

    scenarios: int
    passed: int
    failed: int
    unexpected: tuple[str, ...]
    stale: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.unexpected and not self.stale

    @property
    def complaint(self) -> str:
        """What is wrong, a line for each."""
        stale = [f"expected to fail, and does not: {entry}" for entry in self.stale]
        return "\n".join(["", *self.unexpected, *stale])


def read_expected(name: str, role: str) -> list[str]:
    """The entries of a file in `expected/`; the empty name stands for no failures at all."""
    if not name:
        return []
    read = yaml.safe_load((EXPECTED / name).read_text())
    entries: list[str] = read.get(role) or []
    return entries


def judge(outcomes: Iterable[Outcome], expected: Iterable[str]) -> Judgement:
    """Every failure and every warning has to be expected, and everything that is expected has to fail."""
    outcomes = list(outcomes)
    entries = set(expected)
    needed: set[str] = set()
    unexpected: list[str] = []
    for outcome in outcomes:
        for check, (status, said) in outcome.checks.items():
            if status not in _BAD:
                continue
            if excuses := entries & {outcome.scenario, f"{outcome.scenario}:{check}"}:
                needed |= excuses
            else:
                unexpected.append(f"{outcome.scenario}:{check}: {said}")
    return Judgement(
        len(outcomes),
        sum(outcome.passed for outcome in outcomes),
        sum(outcome.failed for outcome in outcomes),
        tuple(unexpected),
        tuple(sorted(entries - needed)),
    )
