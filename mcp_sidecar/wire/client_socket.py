"""One socket to an origin and the reply that is arriving on it. Knows no pool policy and no retry."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator
from typing import Protocol, cast

import msgspec

from mcp_sidecar.wire.faults import ConnectionLost, ReplyTooLarge, WireFault
from mcp_sidecar.wire.headers import Headers
from mcp_sidecar.wire.heads import Heads
from mcp_sidecar.wire.limits import ClientLimits
from mcp_sidecar.wire.outbox import Outbox
from mcp_sidecar.wire.reply_parser import ReplyHead, ReplyParser


class Home(Protocol):
    """Where a socket belongs."""

    heads: Heads[ReplyHead]
    """What the heads of this origin's replies mean."""

    def opened(self, sock: ClientSocket) -> None: ...

    def released(self, sock: ClientSocket) -> None:
        """Its exchange is complete and it may carry another."""

    def gone(self, sock: ClientSocket) -> None: ...


class Response(msgspec.Struct, eq=False):
    """A reply whose head is there. Read it with `read` or with `next_chunk`/`chunks`, by one task, then `close` it.

    The body methods raise `ConnectionLost`, `BadReply` and `ReplyTooLarge`. Cancelling one of them drops the socket.
    """

    _socket: ClientSocket
    status: int
    headers: Headers
    _parts: list[bytes]
    body: bytes | None = None
    """The body, if all of it came with the head; the methods give it too."""
    complete: bool = False
    """The socket has no more to do with it."""
    _waiting: int = 0  # bytes in `_parts`, as far as they count towards a limit
    _whole: bool = False  # `read` collects everything
    _fault: WireFault | None = None
    _waiter: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """What is left of the body. Raises `ReplyTooLarge` beyond `ClientLimits.reply_bytes`."""
        self._whole = True
        if self._waiting > self._socket.limits.reply_bytes:
            self._refuse_length()
        if not self.complete and self._fault is None:
            self._socket.resume()
            await self._more()
        if self._fault is not None:
            raise self._fault
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._waiting = 0
        return body

    async def next_chunk(self) -> bytes:
        """The next piece of the body as it came off the wire; empty at the end."""
        while not self._parts:
            if self._fault is not None:
                raise self._fault
            if self.complete:
                return b""
            await self._more()
        part = self._parts.pop(0)
        self._waiting -= len(part)
        if not self.complete and self._waiting * 2 <= self._socket.limits.buffer_bytes:
            self._socket.resume()
        return part

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece."""
        while part := await self.next_chunk():
            yield part

    def close(self) -> None:
        """Done with it: a reply that is not complete takes its socket with it."""
        if not self.complete:
            self._socket.drop()

    # The socket's side.

    def came(self, part: bytes) -> None:
        """A piece of the body."""
        self._parts.append(part)
        self._waiting += len(part)

    def settle(self) -> None:
        """A segment has been taken apart: wake the reader or hold the sender back, as its reading asks for."""
        limits = self._socket.limits
        if not self._whole:
            if self._waiting > limits.buffer_bytes and not self.complete:  # else the socket is somebody else's by now
                self._socket.pause()
            if self._parts:
                self._wake()
        elif self._waiting > limits.reply_bytes:
            self._refuse_length()

    def finish(self) -> None:
        """The body is complete."""
        self.complete = True
        if self._waiter is not None:
            self.settle()
            self._wake()

    def fail(self, fault: WireFault) -> None:
        """There will be no more of the body."""
        if self._fault is None:
            self._fault = fault
            if self._whole:
                self._parts.clear()  # nobody gets them, and they may be large: socket and reply refer to each other
            self._wake()

    def _refuse_length(self) -> None:
        self.fail(ReplyTooLarge("the reply's body is too long"))
        self.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> None:
        """Wait until there is something for the reader. The socket does not survive a cancelled wait."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiter = None


class ClientSocket(asyncio.Protocol):
    """Owns one connection: idle, or busy with exactly one exchange."""

    _transport: asyncio.Transport

    def __init__(self, home: Home, limits: ClientLimits, loop: asyncio.AbstractEventLoop, outbox: Outbox) -> None:
        self._loop = loop
        self._outbox = outbox
        self.limits = limits
        self.idle_since = 0.0
        """When the last exchange ended, in seconds on the event loop's clock."""
        self._home = home
        self._parser = ReplyParser(self, limits)
        self._fresh = False  # a request was sent and nothing of its reply has come
        self._poll = select.poll()
        self._ticketed = False  # TLS, and nothing was asked yet
        self._waiter: asyncio.Future[Response] | None = None
        self._coming: asyncio.Future[Response] | None = None
        self._response: Response | None = None
        self._head: ReplyHead | None = None
        self._ended = False
        self._reusable = False
        self._reading = True
        self._dead = False

    @property
    def usable(self) -> bool:
        """Idle, and nothing has arrived that the event loop has not seen: an idle socket that can be read is closed or
        holds bytes nobody asked for. But after a handshake it may hold a session ticket."""
        if self._dead or self._transport.is_closing():
            return False
        return self._ticketed or not self._poll.poll(0)

    def exchange(self, data: bytes, body: bytes, *, alone: bool) -> asyncio.Future[Response]:
        """Send a request; the result is its reply. Whoever gives up on the result has to `drop` the socket.

        `body` is what `data` does not hold of it: a long one is not worth a copy. `alone`: no other exchange with this
        origin is under way.
        """
        self._fresh = True
        self._ticketed = False
        waiter = self._waiter = self._coming = self._loop.create_future()
        if not body:
            self._outbox.write(self._transport, data, alone=alone)
        else:
            self._transport.write(data)
            self._transport.write(body)
        return waiter

    def is_for(self, coming: asyncio.Future[Response]) -> bool:
        """`coming` is the result of the last `exchange`."""
        return self._coming is coming

    def close(self) -> None:
        """End an idle socket in good order."""
        self._leave()
        self._transport.close()

    def drop(self) -> None:
        """End the socket at once, whatever it is doing."""
        self._leave()
        self._outbox.discard(self._transport)
        self._transport.abort()

    def fail(self, fault: WireFault) -> None:
        """Drop the socket and tell whoever waits for the exchange."""
        self.drop()
        waiter, response = self._waiter, self._response
        self._waiter = self._response = None
        if response is not None:
            response.fail(fault)
        if waiter is not None and not waiter.done():
            waiter.set_exception(fault)

    def pause(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport and are no subclass of it.
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        _set_options(sock, self.limits)
        self._ticketed = transport.get_extra_info("ssl_object") is not None
        self._poll.register(sock.fileno(), select.POLLIN | select.POLLPRI)
        self._home.opened(self)

    def data_received(self, data: bytes) -> None:
        if not self._fresh:
            self._read(data)
            return
        self._fresh = False
        if (known := self._home.heads.recall(data)) is not None:
            head, body = known
            waiter, self._waiter = self._waiter, None
            self._release()
            if waiter is not None and not waiter.done():
                waiter.set_result(Response(self, head.status, head.headers, [body], body, complete=True))
            return
        self._parser.expect()
        self._head = None
        self._read(data)
        if self._head is not None and self._ended and self._reusable and not self._parser.skipped:
            self._home.heads.learn(data, self._head)

    def _read(self, data: bytes) -> None:
        if self._response is None and self._waiter is None:
            # Bytes that nobody asked for.
            self.drop()
            return
        try:
            self._parser.feed(data)
        except WireFault as fault:
            self.fail(fault)
            return
        response, waiter = self._response, self._waiter
        if response is None:
            return
        if waiter is not None:
            # Told only after the whole segment is parsed: what follows a reply in it can still condemn it.
            self._waiter = None
            if not waiter.done():
                waiter.set_result(response)
        if self._ended:
            self._finish(response)
        else:
            response.settle()

    def eof_received(self) -> None:
        response = self._response
        if response is not None and self._waiter is None and self._parser.until_close:
            self._reusable = False
            self._finish(response)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        started = self._response is not None or not (self._fresh or not self._parser.started)
        sent = not self._outbox.holds(self._transport)
        self.fail(ConnectionLost(str(exc or "the server closed the connection"), sent=sent, reply_started=started))
        self._parser.close()

    # The parser's side (`reply_parser.Sink`).

    def head_came(self, head: ReplyHead) -> None:
        self._ended = False
        self._head = head
        self._response = Response(self, head.status, head.headers, [])

    def body_came(self, part: bytes) -> None:
        if self._response is not None:
            self._response.came(part)

    def reply_ended(self, *, reusable: bool) -> None:
        self._ended = True
        self._reusable = reusable

    def _finish(self, response: Response) -> None:
        self._response = None
        if self._reusable:
            self._release()
        else:
            self.drop()
        response.finish()

    def _release(self) -> None:
        # A server that answers before it has read the whole request would read the rest as the next one.
        if self._transport.get_write_buffer_size():
            self.drop()
            return
        if not self._reading:
            self.resume()
        self._coming = None
        self.idle_since = self._loop.time()
        self._home.released(self)

    def _leave(self) -> None:
        if not self._dead:
            self._dead = True
            self._home.gone(self)


def _set_options(sock: socket.socket, limits: ClientLimits) -> None:
    """Find a silent peer within about 20 s (docs/operations.md); what a platform lacks is left out."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {
        "TCP_KEEPIDLE": limits.probe_idle_seconds,
        "TCP_KEEPINTVL": limits.probe_interval_seconds,
        "TCP_KEEPCNT": limits.probe_count,
        "TCP_USER_TIMEOUT": int(limits.unacknowledged_seconds * 1000),
    }
    for name, value in wanted.items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
