"""Starts processes on chosen CPUs and ends them; knows nothing of what they do."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.results import MeasurementFailed

REPOSITORY = Path(__file__).parent.parent
START_LIMIT = 20.0  # seconds until a process has to listen
POLL = 0.0005  # seconds


@dataclass(frozen=True, slots=True)
class Placement:
    """The CPUs of the process being measured, and those of everything that measures it; empty means any."""

    measured: frozenset[int]
    around: frozenset[int]
    note: str

    @classmethod
    def choose(cls) -> Placement:
        """Moves this process off the CPU it keeps for the measured ones, if there are two to choose from."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            return cls(frozenset(), frozenset(), "not pinned: only one CPU, so load and proxy take it from each other")
        measured, around = frozenset(allowed[:1]), frozenset(allowed[1:2])
        try:
            os.sched_setaffinity(0, around)
        except OSError as error:
            return cls(frozenset(), frozenset(), f"not pinned: {error.strerror}")
        note = f"sidecar and peers on CPU {allowed[0]}, upstream and load on CPU {allowed[1]}"
        return cls(measured, around, note)


class Stage:
    """A folder and the processes that run in it; leaving the block ends them and removes it."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.folder = Path()
        self._temporary = tempfile.TemporaryDirectory(prefix="bench-")
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.folder = Path(self._temporary.__enter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            self.end(process)
        self._temporary.__exit__(kind, error, trace)

    def log(self, name: str) -> Path:
        """Where standard output and error of the process `name` go."""
        return self.folder / f"{name}.log"

    def start(self, name: str, command: Sequence[str], *, measured: bool = True) -> subprocess.Popen[bytes]:
        """Starts a process, on the measured CPU or next to the load. Raises MeasurementFailed if it cannot run."""
        with self.log(name).open("wb") as log:
            # The child inherits our CPUs: moving it after its start would leave out the threads it already has.
            self._move(self.placement.measured if measured else self.placement.around)
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=REPOSITORY
                )
            except OSError as error:
                raise MeasurementFailed(f"{command[0]}: {error.strerror}") from error
            finally:
                self._move(self.placement.around)
        self._processes.append(process)
        return process

    @staticmethod
    def _move(cpus: frozenset[int]) -> None:
        if cpus:
            os.sched_setaffinity(0, cpus)

    def wait_until_listening(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        """Returns when the port accepts a connection. Raises MeasurementFailed if the process ends first."""
        limit = time.monotonic() + START_LIMIT
        while not accepts(port):
            self.check(name, process, limit)
            time.sleep(POLL)

    def check(self, name: str, process: subprocess.Popen[bytes], limit: float) -> None:
        """Raises MeasurementFailed, with the end of its output, if the process has ended or `limit` has passed."""
        if process.poll() is None and time.monotonic() < limit:
            return
        state = "does not listen" if process.returncode is None else f"ended with {process.returncode}"
        tail = self.log(name).read_text(errors="replace").strip().splitlines()[-5:]
        raise MeasurementFailed("\n  ".join([f"{name} {state}", *tail]))

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> None:
        """Kills, because nothing here has a state worth the seconds of a graceful end."""
        process.kill()
        process.wait()


def wait_for_exit(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the process ends in time. By pidfd: `Popen.wait(timeout)` polls in steps of up to 50 ms."""
    descriptor = os.pidfd_open(process.pid)
    try:
        ended, _, _ = select.select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)
    return bool(ended) and process.wait() is not None


def accepts(port: int) -> bool:
    """Whether somebody accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
