"""Event streams that outlast their connections: ids, what is kept for resumption, who carries them. Knows no message.

Source: MCP 2025-11-25, basic/transports, "Resumability and Redelivery". Event `3-7` is the seventh of stream 3.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import deque

from mcp_sidecar.errors import InvalidCall
from mcp_sidecar.protocol import sse
from mcp_sidecar.wire.faults import Disconnected
from mcp_sidecar.wire.reply import Reply

MOST_EVENTS = 256
MOST_BYTES = 1024 * 1024
_ROOM = 64 * 1024 * 1024
_RETRY_MS = 1000
_EVENT_ID = re.compile(rb"([0-9]{1,15})-([0-9]{1,15})\Z")
_NEWS = 0


class Room:
    """What all logs together may keep, in bytes; who wrote least recently loses everything first."""

    def __init__(self, most: int = _ROOM) -> None:
        self._most = most
        self.used = 0
        self._logs: dict[EventLog, None] = {}

    def taken(self, log: EventLog, size: int) -> None:
        """A log has grown."""
        self.used += size
        self._logs.pop(log, None)
        self._logs[log] = None
        while self.used > self._most:
            next(iter(self._logs)).clear()

    def given(self, log: EventLog, size: int) -> None:
        """A log has shrunk."""
        self.used -= size
        if not log.bytes:
            self._logs.pop(log, None)


class EventLog:
    """The latest events of one session, over all its streams; the oldest go first when there are too many.

    `priming`: streams begin with an event that has nothing but an id.
    """

    __slots__ = ("_events", "_numbers", "_room", "_streams", "bytes", "news", "priming")

    def __init__(self, room: Room, *, priming: bool) -> None:
        self._room = room
        self._events: deque[tuple[int, int, bytes]] = deque()
        self._numbers = itertools.count(_NEWS + 1)
        self.bytes = 0
        self.priming = priming
        self.news = Stream(self, _NEWS)
        """What belongs to no request; it has no end."""
        self._streams = {_NEWS: self.news}

    def open(self) -> Stream:
        """A stream for one POST."""
        stream = Stream(self, next(self._numbers))
        self._streams[stream.number] = stream
        return stream

    def put(self, stream: Stream, chunk: bytes) -> None:
        """Keep the last event of a stream."""
        self._events.append((stream.number, stream.last, chunk))
        self.bytes += len(chunk)
        self._room.taken(self, len(chunk))
        while len(self._events) > MOST_EVENTS or self.bytes > MOST_BYTES:
            self._drop()

    def _drop(self) -> None:
        number, last, chunk = self._events.popleft()
        self.bytes -= len(chunk)
        self._room.given(self, len(chunk))
        stream = self._streams.get(number)
        if stream is not None and stream.finished and stream.last == last:
            del self._streams[number]

    def clear(self) -> None:
        """Keep nothing of what has been."""
        while self._events:
            self._drop()

    def forget(self, stream: Stream) -> None:
        """A stream came to nothing: nobody shall resume it."""
        self._streams.pop(stream.number, None)

    def find(self, event_id: bytes) -> tuple[Stream, int]:
        """The stream of an event and the event's number in it. Raises `InvalidCall`."""
        match = _EVENT_ID.match(event_id)
        stream = None if match is None else self._streams.get(int(match[1]))
        if match is None or stream is None or int(match[2]) > stream.last:
            raise InvalidCall("Last-Event-ID names no event of a stream that is kept here")
        return stream, int(match[2])

    def kept(self, stream: Stream, after: int) -> list[bytes]:
        """What is left of a stream's events after number `after`."""
        return [chunk for number, last, chunk in self._events if number == stream.number and last > after]

    def close(self) -> None:
        """The session is over: end every stream where it is."""
        self.clear()
        for stream in tuple(self._streams.values()):
            stream.release()


class Stream:
    """Events in order, carried by one connection at a time, or by none.

    `last` is the number of the last event, `told` of the last one that a connection was given.
    """

    __slots__ = ("_log", "_released", "_reply", "finished", "last", "number", "told")

    def __init__(self, log: EventLog, number: int) -> None:
        self._log = log
        self.number = number
        self.last = 0
        self.told = 0
        self.finished = False
        self._reply: Reply | None = None
        self._released: asyncio.Future[None] | None = None

    @property
    def carried(self) -> bool:
        return self._reply is not None

    def missed(self, after: int) -> list[bytes]:
        """The events after number `after`. Raises `InvalidCall` when some of them are not kept any more."""
        events = self._log.kept(self, after)
        if len(events) != self.last - after:
            raise InvalidCall("the events after Last-Event-ID are not kept any more")
        return events

    def untold(self) -> list[bytes]:
        """What no connection was given, as far as it is kept."""
        return self._log.kept(self, self.told)

    def carry(self, reply: Reply) -> asyncio.Future[None]:
        """A connection, whose answer has begun, carries the stream from here on; any other one is released.

        What is returned is done when the connection is no longer needed.
        """
        self.release()
        self._reply = reply
        self._released = asyncio.get_running_loop().create_future()
        return self._released

    def prime(self) -> None:
        """Give the client an id to resume after, where its revision has that."""
        if self._log.priming and self._reply is not None:
            self._reply.offer(self._add(sse.priming(self._next_id(), _RETRY_MS)))

    def offer(self, message: bytes) -> None:
        """One message, unless the stream has ended; kept, and given to a connection that takes it at once."""
        if not self.finished:
            chunk = self._add(sse.numbered(self._next_id(), message))
            if self._reply is not None:
                self.told = self.last
                self._reply.offer(chunk)

    async def send(self, message: bytes) -> None:
        """One message; kept, and given to the connection there is. Returns when that takes more."""
        await self.write(self._add(sse.numbered(self._next_id(), message)))

    def _next_id(self) -> bytes:
        return b"%d-%d" % (self.number, self.last + 1)

    def _add(self, chunk: bytes) -> bytes:
        self.last += 1
        self._log.put(self, chunk)
        return chunk

    async def write(self, chunk: bytes) -> None:
        """Events, up to the last one, to the connection there is."""
        reply = self._reply
        if reply is None:
            return
        self.told = self.last
        try:
            await reply.write(chunk)
        except Disconnected:
            self.leave(reply)

    async def finish(self, *messages: bytes) -> None:
        """The last messages; the connection is released."""
        self.finished = True
        for message in messages:
            await self.send(message)
        if not self._log.kept(self, self.last - 1):
            self._log.forget(self)
        self.release()

    def abandon(self) -> None:
        """There will be no more, and nobody shall ask for what there was."""
        self.finished = True
        self._log.forget(self)
        self.release()

    def leave(self, reply: Reply) -> None:
        """A connection is gone."""
        if self._reply is reply:
            self._detach()

    def release(self) -> None:
        """End the answer that carries the stream; the stream itself may go on."""
        reply = self._detach()
        if reply is not None and not reply.ended:
            reply.end()

    def _detach(self) -> Reply | None:
        reply, self._reply = self._reply, None
        released, self._released = self._released, None
        if released is not None and not released.done():
            released.set_result(None)
        return reply

    def fill_silence(self) -> None:
        """Show that somebody is there."""
        if self._reply is not None:
            self._reply.offer(sse.KEEP_ALIVE)
