"""Runs the command line as a shell would, in a process of its own; knows no command."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

PATIENCE = 20.0
_PROGRAM = (sys.executable, "-c", "import sys; from mcp_sidecar.cli import main; sys.exit(main())")


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind."""

    code: int | None
    out: str
    err: str


async def started(
    *words: str, environ: Mapping[str, str] | None = None, reads: bool = False
) -> asyncio.subprocess.Process:
    """The command as a running process with pipes, for stdin only when it `reads`; the caller ends it."""
    pipe = asyncio.subprocess.PIPE
    stdin = pipe if reads else asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *_PROGRAM, *words, stdin=stdin, stdout=pipe, stderr=pipe, env=_environ(environ)
    )


async def started_on(
    terminal: int, *words: str, environ: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    """The same with a terminal (the file descriptor of its end) for input and output."""
    return await asyncio.create_subprocess_exec(
        *_PROGRAM, *words, stdin=terminal, stdout=terminal, stderr=terminal, env=_environ(environ)
    )


def _environ(more: Mapping[str, str] | None) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MCP_SIDECAR_")}
    return {**inherited, "NO_COLOR": "1", **(more or {})}


async def typed(*words: str, stdin: str = "", environ: Mapping[str, str] | None = None) -> Ended:
    """Run the command to its end. No output ever holds a traceback."""
    process = await started(*words, environ=environ, reads=bool(stdin))
    return await ended(process, stdin)


async def ended(process: asyncio.subprocess.Process, stdin: str = "") -> Ended:
    """What a started command leaves behind when it ends by itself."""
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(stdin.encode() if process.stdin else None)
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"did not end; stdout {out!r}, stderr {err!r}") from None
    assert b"Traceback" not in out + err, err.decode()
    return Ended(process.returncode, out.decode(), err.decode())
