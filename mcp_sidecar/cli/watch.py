"""Staying with a sidecar that may go away and come back: a screen that refreshes, or lines. Knows no field."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

from mcp_sidecar.cli.tables import plain
from mcp_sidecar.errors import DeadlineExceeded, Unavailable

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


async def lines(
    check: Callable[[], Awaitable[Any]], changes: Callable[[], AsyncIterator[str]], *, as_json: bool
) -> NoReturn:
    """Print a line a change, and one when the sidecar goes and when it comes back, until it is interrupted.

    `check` raises while nobody answers. Raises what the first one raises.
    """
    await check()
    gone = ""
    while True:
        try:
            if gone:
                await check()
                _report("back", "", as_json=as_json)
                gone = ""
            async for line in changes():
                print(line, flush=True)
            why = "it is shutting down"
        except (Unavailable, DeadlineExceeded) as error:
            why = error.message
        if not gone:
            _report("gone", why, as_json=as_json)
            gone = why
        await asyncio.sleep(_EVERY_SECONDS)


def _report(state: str, why: str, *, as_json: bool) -> None:
    if as_json:
        line = json.dumps({"sidecar": state, "error": why}, ensure_ascii=False)
    else:
        line = plain(f"{_clock()} the sidecar is {state}{f': {why}' if why else ''}")
    print(line, flush=True)


def _clock() -> str:
    return f"{datetime.now(UTC).astimezone():%H:%M:%S}"
