"""What a program says besides its messages, as lines of our log: bounded in length and number. Knows no process."""

from __future__ import annotations

import time
from collections.abc import Callable

from mcp_sidecar.logs import Log
from mcp_sidecar.protocol.lines import Lines

_LONGEST = 2048  # bytes of a line that are logged
_MOST = 100  # lines a second


class Chatter:
    """The words of one server. `event` names where they were said: `stderr`, or `stdout` for what is no message."""

    def __init__(self, log: Log, server: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._server = server
        self._clock = clock
        self._since = float("-inf")
        self._said = 0
        self._dropped = 0

    def lines(self) -> Lines:
        """What cuts the words of one program into lines fit for the log."""
        return Lines(_LONGEST)

    def say(self, event: str, line: bytes) -> None:
        """Log one line, or count it when there are too many."""
        if not line:
            return
        now = self._clock()
        if now - self._since >= 1.0:
            self._since, self._said = now, 0
            self.settle(event)
        self._said += 1
        if self._said > _MOST:
            self._dropped += 1
        else:
            self._log.info(event, server=self._server, text=line[:_LONGEST].decode(errors="replace"))

    def settle(self, event: str) -> None:
        """Tell how much was not told."""
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._log.warning(event, server=self._server, dropped=dropped)
