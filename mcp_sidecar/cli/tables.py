"""Rows into text for a terminal or a program; knows no command and no gRPC."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence

_GAP = 2
_LEAST = 10
"""A column that is cut keeps at least this width on a narrow terminal."""
_WISHED = 20
"""What the last column has before any other is cut or left out."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str] = ()) -> str:
    """Aligned columns. In a pipe nothing is cut.

    On a terminal those that are `spare` give way first, by being cut and then left out; the last is cut to its width.
    """
    cells = [[plain(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    if room := _terminal_width():
        widths = _fit(widths, room, [head.index(name) for name in spare])
    lines = []
    for row in cells:
        shown = [_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        lines.append((" " * _GAP).join(shown).rstrip())
    return "\n".join(lines)


def _fit(widths: Sequence[int], room: int, spare: Sequence[int]) -> list[int]:
    """The widths with which a line has room; 0 for a column that is left out."""
    fitted = list(widths)

    def excess(last: int) -> int:
        kept = [width for width in fitted[:-1] if width]
        return sum(kept) + _GAP * len(kept) + last - room

    for column in spare:
        over = excess(min(widths[-1], _WISHED))
        if over > 0:
            narrower = fitted[column] - over
            fitted[column] = narrower if narrower >= _LEAST else 0
    fitted[-1] = min(widths[-1], max(_LEAST, -excess(0)))
    return fitted


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def to_json(value: object) -> str:
    """JSON as people can read it and programs can parse it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def plain(text: str) -> str:
    """What a server says, on one line of a terminal: neither line breaks nor escape sequences."""
    return "".join(char if char.isprintable() else " " for char in text)


def _terminal_width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
