"""Holds the last good reading of a small file that others replace; knows not what is in it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

SIZE_LIMIT = 256 * 1024
_LOOK_EVERY = 1.0

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """The parsed contents of `path`, looked at again on use, at most once a second.

    `parse` raises `ValueError` with a message that holds nothing of the contents. What cannot be read or parsed leaves
    the last good value in place and is told to `report`, once for each new trouble. `generation` grows with each
    change of the value. The contents themselves are not kept.
    """

    def __init__(
        self,
        path: str,
        parse: Callable[[bytes], T],
        report: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.generation = 0
        self._path = Path(path)
        self._parse = parse
        self._report = report
        self._clock = clock
        self._value: T | None = None
        self._digest = b""
        self._trouble = ""
        # At once, so that trouble is reported when the process starts and not when somebody calls.
        self._look_at = clock()
        self.current()

    def current(self) -> T | None:
        """The last good value; None when there never was one."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            self._look()
        return self._value

    def _look(self) -> None:
        # Reading it anew costs about 30 µs a second and needs no trust in inodes, clocks or the grain of an mtime.
        before, self._digest = self._digest, b""
        try:
            contents = self._read()
            self._digest = hashlib.sha256(contents).digest()
            if self._digest == before:
                return
            self._value = self._parse(contents)
        except OSError as error:
            self._complain(error.strerror or type(error).__name__)
        except ValueError as error:
            self._complain(str(error))
        else:
            self.generation += 1
            self._trouble = ""

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            contents = file.read(SIZE_LIMIT + 1)
        if len(contents) > SIZE_LIMIT:
            raise ValueError(f"it is larger than {SIZE_LIMIT // 1024} KiB")
        return contents

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            kept = "what was read before stays in force" if self._value is not None else "nobody can be let in"
            self._report(f"cannot use {self._path}: {trouble}; {kept}")
