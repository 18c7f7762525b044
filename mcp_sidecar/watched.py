"""Holds the last good reading of small files that others replace; knows not what is in them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

SIZE_LIMIT = 256 * 1024
_LOOK_EVERY = 1.0
_READINGS = 5

T = TypeVar("T")
Report = Callable[[str], None]
"""Takes a line for the log."""


class WatchedFiles(Generic[T]):
    """What the contents of `paths` mean together, looked at again on use, at most once a second.

    `parse` raises `ValueError` with a message that holds nothing of the contents. What cannot be read or parsed leaves
    the last good value in place and is told to `report`, once for each new trouble, under `name` and with what it
    means to have no value at all (`otherwise`). `generation` grows with each change of the value. The contents
    themselves are not kept.
    """

    def __init__(
        self,
        paths: tuple[str, ...],
        parse: Callable[[tuple[bytes, ...]], T],
        report: Report,
        clock: Callable[[], float] = time.monotonic,
        *,
        name: str = "",
        otherwise: str = "nobody can be let in",
    ) -> None:
        self.generation = 0
        self.value: T | None = None
        """The last good value as of the last look; None when there never was one. May be read by any thread."""
        self._paths = tuple(map(Path, paths))
        self._parse = parse
        self._report = report
        self._clock = clock
        self.name = name or " and ".join(paths)
        self.trouble = ""
        """What was wrong at the last look; empty when nothing was."""
        self._otherwise = otherwise
        self._digest = b""
        # At once, so that trouble is reported when the process starts and not when somebody calls.
        self._look_at = clock()
        self.current()

    def current(self) -> T | None:
        """The last good value; None when there never was one."""
        if self._clock() >= self._look_at:
            self.look()
        return self.value

    def look(self) -> None:
        """Read the files now."""
        self._look_at = self._clock() + _LOOK_EVERY
        # Reading them anew costs about 30 µs a second and needs no trust in inodes, clocks or the grain of an mtime.
        before, self._digest = self._digest, b""
        try:
            contents = self._read()
            self._digest = _digest(contents)
            if self._digest == before:
                return
            self.value = self._parse(contents)
        except OSError as error:
            self._complain(error.strerror or type(error).__name__)
        except ValueError as error:
            self._complain(str(error))
        else:
            self.generation += 1
            self.trouble = ""

    def _read(self) -> tuple[bytes, ...]:
        """Contents that were there together: read until nothing changes between two readings."""
        contents = tuple(map(_read, self._paths))
        if len(contents) == 1:
            return contents
        for _ in range(_READINGS):
            before, contents = contents, tuple(map(_read, self._paths))
            if contents == before:
                return contents
        raise ValueError("the files change all the time")

    def _complain(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            kept = "what was read before stays in force" if self.value is not None else self._otherwise
            self._report(f"cannot use {self.name}: {trouble}; {kept}")


class WatchedFile(WatchedFiles[T]):
    """As `WatchedFiles`, for one file."""

    def __init__(
        self,
        path: str,
        parse: Callable[[bytes], T],
        report: Report,
        clock: Callable[[], float] = time.monotonic,
        *,
        name: str = "",
        otherwise: str = "nobody can be let in",
    ) -> None:
        super().__init__((path,), lambda contents: parse(contents[0]), report, clock, name=name, otherwise=otherwise)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        contents = file.read(SIZE_LIMIT + 1)
    if len(contents) > SIZE_LIMIT:
        raise ValueError(f"it is larger than {SIZE_LIMIT // 1024} KiB")
    return contents


def _digest(contents: tuple[bytes, ...]) -> bytes:
    whole = hashlib.sha256()
    for part in contents:
        whole.update(hashlib.sha256(part).digest())
    return whole.digest()
