"""Staying with a sidecar that may go away and come back: a screen that refreshes, or lines. Knows no field."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import NoReturn

from mcp_sidecar.cli.tables import plain
from mcp_sidecar.errors import DeadlineExceeded, SidecarError, Unavailable

LEAVING = "draining"
_EVERY_SECONDS = 1.0
_PATIENCE_SECONDS = 5.0
_CLEAR, _HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[2J\x1b[H", "\x1b[H", "\x1b[K", "\x1b[J"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


async def screen(read: Callable[[], Awaitable[str]]) -> NoReturn:
    """Show what `read` returns, anew every second and when the terminal changes its size, until it is interrupted.

    Raises what the first reading raises; from then on a sidecar that does not answer is waited for.
    """
    text, gone = await _read(read), ""
    resized = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, resized.set)
    print(_HIDE_CURSOR + _CLEAR, end="")
    try:
        while True:
            _draw(f"{text}\n\n{gone or f'as of {_clock()}, Ctrl-C ends'}")
            resized.clear()
            try:
                async with asyncio.timeout(_EVERY_SECONDS):
                    await resized.wait()
            except TimeoutError:
                pass
            try:
                text, gone = await _read(read), ""
            except (Unavailable, DeadlineExceeded) as why:
                gone = gone or f"gone since {_clock()}, trying again: {plain(why.message)}"
    finally:
        print(_SHOW_CURSOR, flush=True)


async def _read(read: Callable[[], Awaitable[str]]) -> str:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await read()
    except TimeoutError as late:
        raise DeadlineExceeded("the sidecar does not answer") from late


def _draw(text: str) -> None:
    """Write over what was there: clearing first would flicker. What does not fit is counted, nothing wraps."""
    size = shutil.get_terminal_size()
    lines = text.split("\n")
    if len(lines) > size.lines:
        more = len(lines) - size.lines + 2
        lines = [*lines[: size.lines - 2], f"… {more - 1} more lines", lines[-1]]
    shown = [line[: size.columns] + _REST_OF_LINE for line in lines]
    print(_HOME + "\n".join(shown) + _REST_OF_SCREEN, end="", flush=True)


Look = Callable[..., Awaitable[tuple[str, list[str]]]]
"""Takes `anew`; returns the phase and lines."""


async def lines(look: Look, changes: Callable[[], AsyncIterator[str]], *, as_json: bool) -> NoReturn:
    """Print a line a change, and one when the sidecar goes and when it comes back, until it is interrupted.

    `look(anew=…)` returns the phase and lines, and raises while nobody answers. Raises what the first one raises.
    """
    phase, news = await look(anew=True)
    while True:
        _print(news)
        try:
            await _follow(look, changes, phase)
        except (Unavailable, DeadlineExceeded) as error:
            _print([told("gone", error.message, as_json=as_json)])
        phase, news = await _back(look)
        _print([told("back", "", as_json=as_json)])


async def _follow(look: Look, changes: Callable[[], AsyncIterator[str]], phase: str) -> NoReturn:
    """Print what there is to say until nobody answers any more, which is raised; changes end before that in a drain."""
    while True:
        try:
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(_tell(changes), name="changes of connections")
                try:
                    phase, lost = await _look_on(look, phase, telling)
                finally:
                    telling.cancel()
        except ExceptionGroup as failed:  # nobody reads what is printed, mostly
            raise failed.exceptions[0] from None
        if lost is not None:
            raise lost


async def _tell(changes: Callable[[], AsyncIterator[str]]) -> None:
    try:
        async for line in changes():
            _print([line])
    except (Unavailable, DeadlineExceeded):
        pass  # whether it is gone or only leaving, the next look will tell


async def _look_on(look: Look, phase: str, telling: asyncio.Task[None]) -> tuple[str, SidecarError | None]:
    """Look now and then; the phase and why nobody answers any more, or None when `telling` has to begin again."""
    while not telling.done() or phase == LEAVING:
        await asyncio.wait([telling], timeout=_EVERY_SECONDS)
        if telling.done():
            await asyncio.sleep(_EVERY_SECONDS / 4 if phase != LEAVING else _EVERY_SECONDS)
        try:
            phase, news = await look(anew=False)
        except (Unavailable, DeadlineExceeded) as lost:
            return phase, lost
        _print(news)
    return phase, None


async def _back(look: Look) -> tuple[str, list[str]]:
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        try:
            return await look(anew=True)
        except (Unavailable, DeadlineExceeded):
            pass


def told(state: str, why: str, *, as_json: bool) -> str:
    """The line that says what the sidecar as a whole is doing."""
    if as_json:
        return json.dumps({"sidecar": state, "error": why}, ensure_ascii=False)
    return plain(f"{_clock()} the sidecar is {state}{f': {why}' if why else ''}")


def _print(news: list[str]) -> None:
    for line in news:
        print(line, flush=True)


def _clock() -> str:
    return f"{datetime.now(UTC).astimezone():%H:%M:%S}"
