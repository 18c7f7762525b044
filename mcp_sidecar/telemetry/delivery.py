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


class Delivery(Generic[Item]):
    """A bounded queue and the thread that empties it. When it is full, the newest item is dropped and counted.

    Every item that was offered is at last delivered or dropped. `send` returns whether the collector took the batch,
    and bounds its own wait; what it raises counts as a refusal.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[Sequence[Item]], bool],
        *,
        most: int = MOST_WAITING,
        batch: int = _BATCH,
        delay: float = _DELAY_SECONDS,
    ) -> None:
        self._send = send
        self._most = most
        self._batch = batch
        self._delay = delay
        # One writer each, the event loop and the thread: what both add to is lost now and then.
        self._overflowed = 0
        self._refused = 0
        self.offered = 0
        self.delivered = 0
        self._waiting: deque[Item] = deque()
        self._wake = threading.Event()
        self._until = 0.0
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=f"otlp {name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Items that no collector has taken and none will."""
        return self._overflowed + self._refused

    def offer(self, item: Item) -> None:
        """Take one item; never waits."""
        self.offered += 1
        if self._closing or len(self._waiting) >= self._most:
            self._overflowed += 1
            return
        self._waiting.append(item)
        if len(self._waiting) >= self._batch:
            self._wake.set()

    def close(self, seconds: float) -> threading.Thread:
        """Deliver what is left within so many seconds, give up the rest; the thread that does it, to be joined."""
        self._until = time.monotonic() + seconds
        self._closing = True
        self._wake.set()
        return self._thread

    def _work(self) -> None:
        while not self._closing:
            self._wake.wait(self._delay)
            self._wake.clear()
            self._empty()
        self._empty()

    def _empty(self) -> None:
        """Send what waits, batch by batch; after a refusal when closing, nothing more is tried."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            if self._taken(batch):
                self.delivered += len(batch)
            else:
                self._refused += len(batch)
                if not self._closing:
                    return  # the next try comes after the delay
            if self._closing and time.monotonic() >= self._until:
                break
        if self._closing:
            self._refused += len(self._waiting)
            self._waiting.clear()

    def _taken(self, batch: Sequence[Item]) -> bool:
        try:
            return self._send(batch)
        except Exception:  # noqa: BLE001  # a thread's boundary: whatever the exporter's trouble is, the items are lost
            return False
