"""How rows look in a pipe and on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import termios

import pytest

from mcp_sidecar.cli.tables import table
from tests.inbound.waiting import eventually
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


@pytest.mark.covers("B-333")
async def test_status_watch_on_a_terminal_draws_the_tables_anew_in_place():
    async with toy_sidecar() as (toy, address):
        drawn = await _on_a_terminal(
            "status", "--watch", "--address", address, columns=200, until=lambda text: _change(toy, text)
        )
        assert drawn.count("\x1b[2J") == 1
        assert drawn.count("\x1b[H") >= 3
        assert "c-77" in drawn.rpartition("\x1b[H")[2]
        assert "Ctrl-C ends" in drawn


@pytest.mark.covers("B-439")
async def test_on_a_narrow_terminal_the_state_and_the_last_error_stay_and_the_url_goes():
    async with toy_sidecar() as (toy, address):
        toy.connection.last_error = "it broke"
        lines = (await _on_a_terminal("status", "--address", address, columns=60)).splitlines()
        assert max(map(len, lines)) <= 60
        servers, connections = lines[:3], lines[4:]
        for words in ("SERVER", "STATE", "LAST ERROR"):
            assert words in servers[0]
            assert words in connections[0]
        assert "URL" not in servers[0]
        assert servers[2].split()[:2] == ["down", "down"]
        assert servers[2].endswith("refused")
        assert "IN FLIGHT" in connections[0]
        assert connections[1].endswith("it broke")


@pytest.mark.covers("B-333")
async def test_watching_on_a_terminal_fits_its_size_and_follows_it():
    async with toy_sidecar() as (_, address):
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 60))

        def resize(text: str) -> bool:
            if text.endswith("\x1b[J"):
                termios.tcsetwinsize(ours, (4, 30))
            return "more lines" in text and text.endswith("\x1b[J")

        words = ("status", "--watch", "--address", address)
        drawn = await _on_a_terminal(*words, until=resize, terminal=(ours, theirs))
        wide, *_, small = [_lines(frame) for frame in drawn.split("\x1b[H")[2:]]
        assert 45 < max(map(len, wide)) <= 60
        assert len(small) == 4
        assert 10 < max(map(len, small)) <= 30


@pytest.mark.covers("B-334")
async def test_watching_on_a_terminal_says_that_the_sidecar_is_gone_and_goes_on_when_it_is_back():
    async with contextlib.AsyncExitStack() as first, contextlib.AsyncExitStack() as second:
        _, address = await first.enter_async_context(toy_sidecar())
        steps = iter((first.aclose, lambda: second.enter_async_context(toy_sidecar(address))))
        drawn = ""

        def back(text: str) -> bool:
            nonlocal drawn
            drawn = text
            return "gone since" in text and "Ctrl-C ends" in text.rpartition("\x1b[H")[2]

        async def replace() -> None:
            await eventually(lambda: "Ctrl-C ends" in drawn, PATIENCE)
            await next(steps)()
            await eventually(lambda: "gone since" in drawn, PATIENCE)
            await next(steps)()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(replace())
            drawn = await _on_a_terminal("status", "--watch", "--address", address, columns=150, until=back)
        assert drawn.endswith("\x1b[?25h\n")


def _lines(frame: str) -> list[str]:
    return frame.partition("\x1b[J")[0].replace("\x1b[K", "").split("\n")


def _change(toy, text: str) -> bool:
    if text.count("Ctrl-C ends") == 1:
        toy.connection.id = "c-77"
    return "c-77" in text and text.endswith("\x1b[J")


async def _on_a_terminal(*words: str, columns: int = 0, until=None, terminal=None) -> str:
    """All that the command writes to a terminal; once `until` is satisfied it gets Ctrl-C, which ends it well."""
    ours, theirs = terminal or pty.openpty()
    os.set_blocking(ours, False)
    size = {"COLUMNS": str(columns or ""), "LINES": ""}  # empty: as the terminal says
    process = await started_on(theirs, *words, environ=size)
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
            assert process.returncode == 0
            return (text + _read(ours)).replace("\r\n", "\n")
    finally:
        os.close(ours)


def _read(terminal: int) -> str:
    with contextlib.suppress(OSError):  # nothing there yet, or nobody on the other side any more
        return os.read(terminal, 65536).decode()
    return ""
