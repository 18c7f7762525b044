"""How rows look in a pipe and on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal

from mcp_sidecar.cli.tables import table
from tests.support.terminal import PATIENCE, started_on
from tests.support.toy_sidecar import toy_sidecar

LONG = "A tool that has a great deal to say about itself, and says it. " * 3


def test_columns_are_aligned_and_nothing_is_cut_in_a_pipe():
    assert table(("A", "B"), [("one", LONG), ("seventeen", "x")]).splitlines() == [
        "A          B",
        f"one        {LONG.rstrip()}",
        "seventeen  x",
    ]


def test_what_a_server_says_cannot_steer_the_terminal():
    shown = table(("A",), [("\x1b[2Jred\r\nlines\x07",)])
    assert shown.splitlines() == ["A", " [2Jred  lines"]


async def test_on_a_terminal_the_last_column_is_cut_to_its_width():
    async with toy_sidecar() as (_, address):
        lines = (await _on_a_terminal("tools", "demo", "--address", address, columns=40)).splitlines()
        assert max(map(len, lines)) <= 40
        assert lines[3] == "countdown  Counts down to lift-off and …"


async def test_status_watch_on_a_terminal_draws_the_tables_anew_for_every_change():
    async with toy_sidecar() as (toy, address):
        drawn = await _on_a_terminal(
            "status", "--watch", "--address", address, columns=200, until=lambda text: _change(toy, text)
        )
        assert drawn.count("\x1b[2J\x1b[H") >= 3
        assert "c-77" in drawn.rpartition("\x1b[2J")[2]
        assert "Ctrl-C ends" in drawn


def _change(toy, text: str) -> bool:
    if text.count("Ctrl-C ends") == 1 and toy.connection.id == "c-1":
        toy.connection.id = "c-77"
        toy.changes.put_nowait(toy.connection)
    return text.count("c-77") >= 1 and text.rstrip().endswith("Ctrl-C ends")


async def _on_a_terminal(*words: str, columns: int, until=None) -> str:
    """All that the command writes to a terminal; once `until` is satisfied it gets Ctrl-C."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = await started_on(theirs, *words, environ={"COLUMNS": str(columns)})
    os.close(theirs)
    text = ""
    try:
        async with asyncio.timeout(PATIENCE):
            while process.returncode is None:
                text += _read(ours)
                if until is not None and until(text):
                    process.send_signal(signal.SIGINT)
                    until = None
                await asyncio.sleep(0.005)
            return (text + _read(ours)).replace("\r\n", "\n")
    finally:
        os.close(ours)


def _read(terminal: int) -> str:
    with contextlib.suppress(OSError):  # nothing there yet, or nobody on the other side any more
        return os.read(terminal, 65536).decode()
    return ""
