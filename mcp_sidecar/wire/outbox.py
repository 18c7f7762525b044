"""What one turn of the event loop wants to write, sent together when the turn is over. Knows no message.

A write to a peer that sleeps costs several times what one to a peer that is awake does. Written one by one, between the
work of many calls, each write finds the peer asleep again; written together, one wakes it for all.
"""

from __future__ import annotations

import asyncio

# More than this for one transport leaves at once, so that its flow control notices a reader who does not read.
_MOST = 64 * 1024


class Outbox:
    """Small writes of one event loop, per transport and in order."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[asyncio.Transport, bytes | bytearray] = {}

    def write(self, transport: asyncio.Transport, data: bytes, *, alone: bool) -> None:
        """Send `data` before the loop looks for new events twice; never waits.

        `alone`: nobody else is likely to write in this turn, so that waiting for them would only cost time.
        """
        waiting = self._waiting.get(transport)
        if waiting is None:
            if alone:
                _send(transport, data)
                return
            if not self._waiting:
                self._loop.call_soon(self._flush)
            self._waiting[transport] = waiting = data
        elif isinstance(waiting, bytearray):
            waiting += data
        else:
            self._waiting[transport] = waiting = bytearray(waiting) + data
        if len(waiting) > _MOST:
            self.flush(transport)

    def holds(self, transport: asyncio.Transport) -> bool:
        """Nothing of what was written last has left yet."""
        return transport in self._waiting

    def flush(self, transport: asyncio.Transport) -> None:
        """Send what waits for one transport now, such as before it is closed."""
        waiting = self._waiting.pop(transport, None)
        if waiting is not None:
            _send(transport, waiting)

    def discard(self, transport: asyncio.Transport) -> None:
        """Forget what waits for a transport that is gone."""
        self._waiting.pop(transport, None)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for transport, data in waiting.items():
            if not transport.is_closing():  # as in `_send`
                transport.write(data)


def _send(transport: asyncio.Transport, data: bytes | bytearray) -> None:
    if not transport.is_closing():  # dropped meanwhile; uvloop's transports do not take that lightly
        transport.write(data)
