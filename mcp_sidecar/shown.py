"""What is shown of words that others chose, and may be kept after their call: short. Knows no log and no span."""

from __future__ import annotations

LONGEST = 128
"""Characters of a name, in what outlives its call by much: log lines, labels, the last calls."""


def cut(text: str, most: int) -> str:
    """At most so many characters, of which the last says that there were more."""
    return text if len(text) <= most else text[: most - 1] + "…"
