"""Sees to it that no program outlives its use, nor the sidecar, also when that is killed; knows not what programs are.

A process cannot clean up after its own SIGKILL. So one small process watches over all children, and what keeps it from
acting is a pipe that closes when the sidecar is gone, however that came about. It starts with the first child.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from pathlib import Path

from mcp_sidecar.outbound import guardian_program
from mcp_sidecar.outbound.flights import Flights

_END_SECONDS = 1.0
_VARIABLE = "STARTED_BY_MCP_SIDECAR"
_PROGRAM = Path(guardian_program.__file__)


class Guardian:
    """The programs that must not outlive this process. A program is a process group, and what has left it."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._flights: Flights[None] = Flights(tasks)
        self._watched: dict[int, str] = {}  # the marks, by group
        self._pipe: int | None = None
        self._exit: _Exit | None = None

    async def ready(self) -> None:
        """Start the process, if it does not run. Raises `OSError`."""
        if self._exit is None or self._exit.gone.done():
            await self._flights.join("start", self._start)

    async def _start(self) -> None:
        self._release()
        loop = asyncio.get_running_loop()
        reading, self._pipe = os.pipe()
        try:
            _, self._exit = await loop.subprocess_exec(
                _Exit,
                *(sys.executable, "-IS", str(_PROGRAM)),
                stdin=reading,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
                start_new_session=True,  # a terminal's Ctrl-C is not for it
            )
        finally:
            os.close(reading)
        for group, mark in self._watched.items():
            self._tell(f"+{group} {mark}")

    def mark(self) -> tuple[str, str]:
        """A variable for the environment of a program: what it starts inherits it and is known by it."""
        return _VARIABLE, secrets.token_hex(8)

    def watch(self, group: int, mark: tuple[str, str]) -> None:
        """Watch over a program that was started with this mark."""
        self._watched[group] = "=".join(mark)
        self._tell(f"+{group} {self._watched[group]}")

    def end(self, group: int) -> None:
        """The program has ended: what is left of it is killed, and no longer watched."""
        if self._watched.pop(group, None) is not None:
            self._tell(f"-{group}")

    def _tell(self, line: str) -> None:
        if self._pipe is None:
            return
        try:
            os.write(self._pipe, f"{line}\n".encode())  # far less than a pipe holds: it does not block
        except OSError:
            pass  # it was killed; the next child starts another

    def _release(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            os.close(pipe)

    async def close(self) -> None:
        """Let it go, and with it what it still watches over."""
        self._release()
        if self._exit is not None:
            await asyncio.wait({self._exit.gone}, timeout=_END_SECONDS)


class _Exit(asyncio.SubprocessProtocol):
    """Notices the end of the process."""

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def process_exited(self) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
