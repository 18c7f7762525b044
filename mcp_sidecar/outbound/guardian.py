"""Sees to it that no child outlives the sidecar, also when that is killed; knows not what the children are.

A process cannot clean up after its own SIGKILL. So one small process watches over all children, and what keeps it from
acting is a pipe that closes when the sidecar is gone, however that came about. It starts with the first child.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from mcp_sidecar.outbound import guardian_program
from mcp_sidecar.outbound.flights import Flights

_END_SECONDS = 1.0
_PROGRAM = Path(guardian_program.__file__)


class Guardian:
    """The process groups that must not outlive this process."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._flights: Flights[None] = Flights(tasks)
        self._watched: set[int] = set()
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
        for group in self._watched:
            self._tell("+", group)

    def watch(self, group: int) -> None:
        self._watched.add(group)
        self._tell("+", group)

    def forget(self, group: int) -> None:
        if group in self._watched:
            self._watched.discard(group)
            self._tell("-", group)

    def _tell(self, sign: str, group: int) -> None:
        if self._pipe is None:
            return
        try:
            os.write(self._pipe, f"{sign}{group}\n".encode())  # far less than a pipe holds: it does not block
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
