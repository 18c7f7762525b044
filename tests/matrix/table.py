"""The table of the matrix in docs/protocol.md; knows how it looks and where it stands, and runs nothing."""

from __future__ import annotations

import re
from pathlib import Path

from tests.matrix.pairs import CLIENTS, FAULTS, SERVERS, expected, only_alone, waits_for
from tests.matrix.words import CHECKS

PAGE = Path(__file__).resolve().parents[2] / "docs/protocol.md"
_BEGIN = "<!-- matrix: `make test-matrix ARGS=--write` writes what stands here -->\n"
_END = "<!-- end of the matrix -->\n"
_BETWEEN = re.compile(f"(?<={re.escape(_BEGIN)}).*(?={re.escape(_END)})", re.DOTALL)


def written() -> str:
    """What the page has between its marks."""
    found = _BETWEEN.search(PAGE.read_text())
    assert found, f"{PAGE.name} has no place for the matrix"
    return found[0]


def write() -> None:
    PAGE.write_text(_BETWEEN.sub(lambda _: rendered(), PAGE.read_text()))


def rendered() -> str:
    """The table and its notes."""
    notes: list[str] = []
    rows = [["client", "speaks", *(server.title for server in SERVERS.values())], ["---"] * (len(SERVERS) + 2)]
    for name, client in CLIENTS.items():
        rows.append([client.title, client.revision, *(_cell(name, server, notes) for server in SERVERS)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    numbered = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n".join([f"All: {', '.join(CHECKS)}.", "", *lines, "", *numbered, ""])


def _cell(client: str, server: str, notes: list[str]) -> str:
    """What works for a pair, with the numbers of the notes on what does not; `notes` grows by those it lacks."""
    if feature := waits_for(client, server):
        return f"not yet {_number(f'Waits for {feature}.', notes)}"
    lacking: dict[str, list[str]] = {}
    for check, outcome in expected(client, server).items():
        if outcome != "ok":
            reason = FAULTS.get((client, server, check)) or outcome.removeprefix("n/a: ")
            lacking.setdefault(reason, []).append(check)
    numbers = [_number(f"Not {', '.join(checks)}: {reason}.", notes) for reason, checks in lacking.items()]
    shown = ["all but" if numbers else "all", *numbers]
    if checks := only_alone(client, server):
        shown.append(_number(f"Only while no other client of 2026-07-28 has a call open: {', '.join(checks)}.", notes))
    return " ".join(shown)


def _number(note: str, notes: list[str]) -> str:
    if note not in notes:
        notes.append(note)
    return f"[{notes.index(note) + 1}]"
