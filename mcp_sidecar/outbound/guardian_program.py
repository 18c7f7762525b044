"""Kills programs, with all that they started, when its parent is gone: run by `guardian`, in a process of its own.

Standard input says which: `+GROUP MARK` begins the watch over a program, `-GROUP` ends it, and what is left of the
program. The parent's death is the end of input. Of a program are the processes of its group, and those that have its
mark in their environment: it is inherited by all that it starts, also by what leaves the group and becomes a daemon.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Collection

_PATIENCE_SECONDS = 0.5
_MOST_ROUNDS = 50  # of looking for what others started while they were killed
_PAUSE_SECONDS = 0.005


def main() -> None:
    # Whoever ends the sidecar may end its whole process tree: this one has work to do after that.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[int, bytes] = {}
    for line in sys.stdin.buffer:
        group, _, mark = line[1:].strip().partition(b" ")
        if line[:1] == b"+":
            watched[int(group)] = mark
        elif int(group) in watched:
            _kill_strays({int(group): watched.pop(int(group))})
    if watched:
        _end(watched)


def _end(watched: dict[int, bytes]) -> None:
    for group in watched:
        _send(os.killpg, group, signal.SIGTERM)
    for stray in _strays(watched.values()):
        if _group_of(stray) not in watched:  # two SIGTERMs mean "at once" to many a program
            _send(os.kill, stray, signal.SIGTERM)
    time.sleep(_PATIENCE_SECONDS)
    for group in watched:
        _send(os.killpg, group, signal.SIGKILL)
    _kill_strays(watched)


def _kill_strays(watched: dict[int, bytes]) -> None:
    for _ in range(_MOST_ROUNDS):
        strays = _strays(watched.values())
        if not strays:
            return
        for stray in strays:
            _send(os.kill, stray, signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)


def _send(kill: Callable[[int, int], None], whom: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        kill(whom, number)


def _strays(marks: Collection[bytes]) -> list[int]:
    """The processes with one of the marks, zombies excepted, which have no environment any more."""
    marked = set(marks)
    pids = filter(str.isdigit, os.listdir("/proc"))  # noqa: PTH208  # pathlib costs a megabyte
    return [int(pid) for pid in pids if not marked.isdisjoint(_environment(pid))]


def _environment(pid: str) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return file.read().split(b"\0")
    except OSError:  # gone meanwhile, or another user's
        return []


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


if __name__ == "__main__":
    main()
