"""Takes what is to be exported to a collector, in a thread of its own, so that a slow one holds up nobody.

Knows neither spans nor OpenTelemetry: an item is anything, and how a batch is sent is handed in.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")

MOST_WAITING = 2048
_BATCH = 512
_DELAY_SECONDS = 5.0


class Refused(Exception):
    """The collector did not take a batch. `again`: it never saw it, and may take it later."""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


Send = Callable[[Sequence[Item], float], int]
"""Sends a batch within so many seconds; how much of it the collector rejected. Raises `Refused`."""


class Delivery(Generic[Item]):
    """A bounded queue and the thread that empties it. When it is full, the newest item is dropped and counted.

    What was offered is at last delivered or dropped, counted by `weigh`. A batch that may be sent again waits in front
    of the others. `cut` ends a `send` that is under way when time is up.
    """

    def __init__(
        self,
        name: str,
        send: Send[Item],
        *,
        weigh: Callable[[Item], int] = lambda _: 1,
        cut: Callable[[], None] = lambda: None,
        seconds: float = 3.0,
        most: int = MOST_WAITING,
        batch: int = _BATCH,
        delay: float = _DELAY_SECONDS,
    ) -> None:
        self._send = send
        self._weigh = weigh
        self._cut = cut
        self._seconds = seconds
        self._most = most
        self._batch = batch
        self._delay = delay
        # One writer each, the event loop and the thread: what both add to is lost now and then.
        self._overflowed = 0
        self._refused = 0
        self.offered = 0
        self.delivered = 0
        self.trouble = ""
        """Why the last batch was not taken; empty when it was."""
        self._waiting: deque[Item] = deque()
        self._wake = threading.Event()
        self._end = threading.Event()
        self._until = 0.0
        self._thread = threading.Thread(target=self._work, name=f"otlp {name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """What no collector has taken and none will."""
        return self._overflowed + self._refused

    def offer(self, item: Item) -> None:
        """Take one item; never waits."""
        weight = self._weigh(item)
        self.offered += weight
        if self._end.is_set() or len(self._waiting) >= self._most:
            self._overflowed += weight
            return
        self._waiting.append(item)
        if len(self._waiting) >= self._batch:
            self._wake.set()

    def close(self, seconds: float) -> None:
        """Deliver what is left within so many seconds, give up the rest. Blocks that long at most, and a moment."""
        self._until = time.monotonic() + seconds
        self._end.set()
        self._wake.set()
        self._thread.join(seconds)
        self._cut()
        self._thread.join(0.2)

    def _work(self) -> None:
        while not self._end.is_set():
            self._wake.wait(self._delay)
            self._wake.clear()
            if not self._emptied():
                self._end.wait(self._delay)  # whatever comes meanwhile: it is not to be asked for each item
        self._emptied()
        self._give_up()

    def _emptied(self) -> bool:
        """Send what waits, batch by batch, up to the first that is not taken."""
        while self._waiting:
            seconds = self._seconds
            if self._end.is_set():
                seconds = min(seconds, self._until - time.monotonic())
            if seconds <= 0:
                return False
            batch = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            if not self._taken(batch, seconds):
                return False
        return True

    def _taken(self, batch: Sequence[Item], seconds: float) -> bool:
        weight = sum(map(self._weigh, batch))
        try:
            rejected = self._send(batch, seconds)
        except Refused as refused:
            self.trouble = str(refused) or "refused"
            if refused.again:
                self._waiting.extendleft(reversed(batch))
            else:
                self._refused += weight
            return False
        except Exception as error:  # noqa: BLE001  # a thread's boundary: whatever the trouble is, the batch is lost
            self.trouble = type(error).__name__
            self._refused += weight
            return False
        self.trouble = f"{rejected} of {weight} rejected" if rejected else ""
        self.delivered += weight - rejected
        self._refused += rejected
        return True

    def _give_up(self) -> None:
        while self._waiting:
            self._refused += self._weigh(self._waiting.popleft())
