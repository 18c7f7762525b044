"""Rows into text for a terminal or a program; knows no command and no gRPC."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence

_GAP = 2
_LEAST = 10
"""The last column keeps at least this width on a narrow terminal."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; on a terminal the last one is cut to its width, in a pipe nothing is cut."""
    cells = [[plain(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    room = _terminal_width() - sum(widths[:-1]) - _GAP * (len(head) - 1)
    if _terminal_width() and widths[-1] > room:
        widths[-1] = max(_LEAST, room)
    lines = []
    for row in cells:
        row[-1] = row[-1] if len(row[-1]) <= widths[-1] else row[-1][: widths[-1] - 1] + "…"
        lines.append((" " * _GAP).join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join(lines)


def to_json(value: object) -> str:
    """JSON as people can read it and programs can parse it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def plain(text: str) -> str:
    """What a server says, on one line of a terminal: neither line breaks nor escape sequences."""
    return "".join(char if char.isprintable() else " " for char in text)


def _terminal_width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
