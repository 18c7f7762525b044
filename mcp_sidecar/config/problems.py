"""What is wrong with a configuration and where it stands; knows no rule that a configuration must keep."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 60
"""Characters of somebody's text that a message repeats."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written: a file and a line (counted from 1), a variable or a flag."""

    source: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend; `path` is a key as in `upstreams[0].timeout.call`, empty for the source as a whole."""

    path: str
    message: str
    source: str
    line: int | None = None

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return ": ".join(part for part in (place, self.path, self.message) if part)


class BadConfiguration(Exception):
    """The configuration cannot be used; `problems` holds all of them, those of the file first and by line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line is None, problem.line or 0)))
        super().__init__(format_problems(self.problems))


def format_problems(problems: Iterable[Problem]) -> str:
    """Write one line a problem, as compilers do: `config.yaml:12: pool.idle: …`."""
    return "\n".join(str(problem) for problem in problems)


def quoted(text: str) -> str:
    """Return somebody's text so that it can neither flood nor steer the terminal."""
    return json.dumps(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that was probably meant, or nothing."""
    import difflib  # only needed once something is wrong

    # The comparison is quadratic in the length, and no key of ours is anywhere near this long.
    return next(iter(difflib.get_close_matches(word[:SHOWN], list(known), n=1, cutoff=0.6)), "")
