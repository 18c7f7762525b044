"""The log: one line an event, JSON or text, written by a thread so that a blocked reader blocks no call.

Knows no caller; what must not be logged must not be handed in.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from mcp_sidecar.repeats import Repeats

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_FLUSH_SECONDS = 0.02
_SOON_SECONDS = 0.01
_MAX_BACKLOG = 4 * 1024 * 1024  # bytes that may wait for a slow reader; more is dropped and counted
_MAX_LINE = 8 * 1024
_TOGETHER = 16  # lines that are encoded in one go: mostly shorter than the longest that one may be
_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines

Field = str | int | float | bool | dict[str, str] | list[str]
Later = Callable[[float, Callable[[], None]], object]
"""Runs a function after some seconds."""


class Line(msgspec.Struct):
    """What every line begins with. Lines of many fields are structs below this one, which cost least."""

    time: str
    level: str
    event: str


class Writer:
    """Lines to a file descriptor, in batches, from a thread of its own."""

    def __init__(self, fd: int, later: Later) -> None:
        self._fd = fd
        self._later = later
        self._lines: list[bytes] = []
        self._batches: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        # One writer each, the loop and the thread: what both add to is lost now and then.
        self._taken = 0
        self._written = 0
        self._overflowed = 0
        self._lost = 0
        self._flushing = False
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that nobody took."""
        return self._overflowed + self._lost

    def __call__(self, lines: bytes) -> None:
        """Take a line or some; never waits."""
        if self._taken - self._written > _MAX_BACKLOG:
            self._overflowed += lines.count(b"\n")
            return
        self._taken += len(lines)
        self._lines.append(lines)
        if not self._flushing:
            self._flushing = True
            self._later(_FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand over what is there."""
        self._flushing = False
        if self._lines:
            self._batches.put(b"".join(self._lines))
            self._lines.clear()

    def close(self, seconds: float = 1.0) -> None:
        """Write what is left, for so long at most."""
        self.flush()
        self._batches.put(None)
        self._thread.join(seconds)

    def _write(self) -> None:
        while (batch := self._batches.get()) is not None:
            rest = memoryview(batch)
            while rest:
                try:
                    rest = rest[os.write(self._fd, rest) :]
                except BlockingIOError:
                    time.sleep(_FLUSH_SECONDS)  # somebody made the shared descriptor non-blocking
                except OSError:
                    self._lost += bytes(rest).count(b"\n")  # the reader is gone: the sidecar is more than its log
                    break
            self._written += len(batch)


class Log:
    """Events with fields, from `level` up."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        level: str = "info",
        *,
        text: bool = False,
        dropped: Callable[[], int] = lambda: 0,
        later: Later | None = None,
        repeats: Repeats | None = None,
    ) -> None:
        self._repeats = repeats or Repeats()
        self._write = write
        self._later = later
        self._due: list[Callable[[], None]] = []
        self.dropped = dropped  # how many lines nobody took
        self._threshold = LEVELS[level]
        self._format = _text if text else _json

    def soon(self, work: Callable[[], None]) -> None:
        """Have `work` done within milliseconds or by the next `settle`; at once if nobody could do that."""
        if self._later is None:
            work()
            return
        self._due.append(work)
        if len(self._due) == 1:
            self._later(_SOON_SECONDS, self.settle)

    def settle(self) -> None:
        """Do what is due soon."""
        due, self._due = self._due, []
        for work in due:
            work()

    def wants(self, level: str) -> bool:
        """Lines of this level are written."""
        return LEVELS[level] >= self._threshold

    def event(self, level: str, event: str, fields: dict[str, Field]) -> None:
        """Write one event. Fields come in their order."""
        if self.wants(level):
            self._finish({"time": _stamp(int(time.time() * 1000)), "level": level, "event": event, **fields})

    def write(self, lines: Sequence[Line], ago: Sequence[float]) -> None:
        """Write what is worth it of what happened so many seconds ago; the times of the lines are filled in."""
        now = time.time()
        moment = 0
        for line, seconds in zip(lines, ago, strict=True):
            if moment != (moment := int((now - seconds) * 1000)):
                stamp = _stamp(moment)
            line.time = stamp
        worth = [line for line in lines if LEVELS[line.level] >= self._threshold]
        for first in range(0, len(worth), _TOGETHER):
            some = worth[first : first + _TOGETHER]
            if not (self._format is _json and self._wrote_together(some)):
                for line in some:
                    self._finish(line)

    def _wrote_together(self, lines: list[Line]) -> bool:
        """False, and nothing is written, if one of them may need care."""
        try:
            text = _encode_lines(lines)
        except UnicodeEncodeError:
            return False
        fit = len(text) <= _MAX_LINE
        if fit:
            self._write(text)
        return fit

    def _finish(self, line: Line | dict[str, Field]) -> None:
        written = self._format(line)
        self._write(written + b"\n" if len(written) <= _MAX_LINE else self._shorten(line))

    def _shorten(self, line: Line | dict[str, Field]) -> bytes:
        named = _named(line).items()
        shorter = {key: value[:256] if isinstance(value, str) else value for key, value in named}
        return self._format(shorter)[:_MAX_LINE] + b"\n"

    def debug(self, event: str, **fields: Field) -> None:
        self.event("debug", event, fields)

    def info(self, event: str, **fields: Field) -> None:
        self.event("info", event, fields)

    def warning(self, event: str, **fields: Field) -> None:
        """One event, unless the same was said of the same server too often lately."""
        held_back = self._repeats.admit(event, str(fields.get("server", "")))
        if held_back is not None:
            self.event("warning", event, {**fields, "held_back": held_back} if held_back else fields)

    def error(self, event: str, **fields: Field) -> None:
        self.event("error", event, fields)


def _stamp(moment: int) -> str:
    """Milliseconds since 1970 as people write them."""
    second, thousandth = divmod(moment, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{thousandth:03d}Z"


def _named(line: Line | dict[str, Field]) -> dict[str, Field]:
    return line if isinstance(line, dict) else msgspec.structs.asdict(line)


def _json(line: Line | dict[str, Field]) -> bytes:
    try:
        return _encode(line)
    except UnicodeEncodeError:  # half a surrogate pair, such as in the name of a file
        fit = {key: _fit(value) if isinstance(value, str) else value for key, value in _named(line).items()}
        return _encode(fit)


def _fit(value: str) -> str:
    return value.encode("utf-8", "replace").decode()


def _text(line: Line | dict[str, Field]) -> bytes:
    fields = dict(_named(line))
    at, level, event = (str(fields.pop(key)) for key in ("time", "level", "event"))
    shown = " ".join(f"{key}={_shown(value)}" for key, value in fields.items() if value != "")
    return f"{at[11:23]} {level:<7} {event:<12} {shown}".encode("utf-8", "replace")


def _shown(value: Field) -> str:
    if isinstance(value, str):
        text = value if value.isprintable() else repr(value)[1:-1]  # no line ends, nothing that steers a terminal
        return f'"{text}"' if " " in text else text
    return _encode(value).decode()
