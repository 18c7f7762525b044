"""Takes what is to be exported to a collector, in a thread of its own, so that a slow one holds up nobody.

Knows neither spans nor OpenTelemetry: an item is anything, and how a batch is sent is handed in.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Pace:
    """How much waits and how long, in what items weigh and in seconds; `seconds` is for one `send`.

    With `latest` each item says all that those before it did, so only the last one waits.
    """

    seconds: float = 3.0
    most: int = 2048
    batch: int = 512
    delay: float = 5.0
    latest: bool = False


class Refused(Exception):
    """The collector did not take a batch. `again`: it never saw it, and may take it later.

    `untaken`: it certainly has nothing of it; otherwise nobody knows.
    """

    def __init__(self, reason: str, *, again: bool = False, untaken: bool = False) -> None:
        super().__init__(reason)
        self.again = again
        self.untaken = untaken


Send = Callable[[Sequence[Item], float], int]
"""Sends a batch within so many seconds; how much of it the collector rejected. Raises `Refused`."""


_USUAL = Pace()


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
        pace: Pace = _USUAL,
    ) -> None:
        self._send = send
        self._weigh = weigh
        self._cut = cut
        self._pace = pace
        self._batch = min(pace.batch, pace.most)
        # One writer each, the event loop and the thread: what both add to is lost now and then.
        self._overflowed = 0
        self._refused = 0
        self._taken_out = 0
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

    @property
    def waiting(self) -> int:
        return self.offered - self._overflowed - self._taken_out

    def offer(self, item: Item) -> None:
        """Take one item; never waits."""
        if self._pace.latest:
            self._forget()
        weight = self._weigh(item)
        full = self.waiting + weight > self._pace.most
        self.offered += weight
        if self._end.is_set() or full:
            self._overflowed += weight
            return
        self._waiting.append(item)
        if self.waiting >= self._batch:
            self._wake.set()

    def _forget(self) -> None:
        """Drop what waits; the thread may be taking it out at this moment."""
        while self._waiting:
            try:
                self._overflowed += self._weigh(self._waiting.popleft())
            except IndexError:
                return

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
            self._wake.wait(self._pace.delay)
            self._wake.clear()
            if not self._emptied():
                self._end.wait(self._pace.delay)  # whatever comes meanwhile: it is not to be asked for each item
        self._emptied()
        self._give_up()

    def _emptied(self) -> bool:
        """Send what waits, batch by batch, up to the first that is not taken."""
        while self._waiting:
            seconds = self._pace.seconds
            if self._end.is_set():
                seconds = min(seconds, self._until - time.monotonic())
            if seconds <= 0:
                return False
            batch, weight = self._next_batch()
            if batch and not self._taken(batch, weight, seconds):
                return False
        return True

    def _next_batch(self) -> tuple[Sequence[Item], int]:
        """Take out what is sent next; an item that is heavier than a batch goes alone."""
        batch: list[Item] = []
        weight = 0
        while self._waiting:
            try:
                item = self._waiting.popleft()
            except IndexError:  # it was dropped meanwhile, for a later one
                break
            one = self._weigh(item)
            if batch and weight + one > self._batch:
                self._waiting.appendleft(item)
                break
            batch.append(item)
            weight += one
        self._taken_out += weight
        return batch, weight

    def _taken(self, batch: Sequence[Item], weight: int, seconds: float) -> bool:
        try:
            rejected = self._send(batch, seconds)
        except Refused as refused:
            self.trouble = str(refused) or "refused"
            if refused.again:
                self._waiting.extendleft(reversed(batch))
                self._taken_out -= weight
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
            weight = self._next_batch()[1]
            self._refused += weight
