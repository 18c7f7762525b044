"""One client's connection: requests in, answered one after the other by one task. Knows no listener and no route."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, cast

from mcp_sidecar.wire.faults import Disconnected
from mcp_sidecar.wire.reply import TEXT, Reply, status_line
from mcp_sidecar.wire.request_parser import Phase, Refused, Request, RequestParser
from mcp_sidecar.wire.service import Service
from mcp_sidecar.wire.tls import subject_of

_BETWEEN: Final = Phase.BETWEEN
_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ServerConnection(asyncio.Protocol):
    """Owns the socket, the order of the answers and the deadlines of one client.

    Its task begins with the first request and ends with the connection: one for each request would cost more than many
    requests do.

    Deadlines are looked at by the listener's sweeps: none is early, and none is more than two ticks late.
    """

    _transport: asyncio.Transport

    def __init__(self, service: Service, peer: str, host: str) -> None:
        self._host = host  # address without the port; empty for a unix socket
        self.lost = False
        self.made = False
        """There is a transport, which will report the end."""
        self._departed = False
        self._service = service
        self._peer = peer
        self._certified = ""  # whom the client's certificate names
        self._parser = RequestParser(service.limits, peer)
        self._task: asyncio.Task[None] | None = None
        self._due: tuple[Request, Reply] | None = None  # what the task has to do next
        self._reply: Reply | None = None  # the answer in progress; from a request's begin to its end
        self._asked: asyncio.Future[None] | None = None  # what the task waits for between two requests
        self.closing = False
        self._ahead = bytearray()  # input that waits for the request in progress
        self._refusal: Refused | None = None
        self._lingering = False
        self._reading = True
        self._full = False  # the transport holds more output than it should
        self._writers: deque[asyncio.Future[None]] = deque()
        # A new connection owes us a head from its first moment.
        self._phase: Phase = _HEAD
        self._since = service.now
        self._body_mark = 0  # body bytes at the begin of the rate window
        self._held = 0  # our part of the service's held bytes
        self._written = 0
        self._taken = -1  # written bytes that had left the transport at the last sweep
        self._taken_since = service.now

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport and are no subclass of it.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._service.limits.send_buffer_bytes)
        self.made = True
        self._certified = subject_of(transport.get_extra_info("peercert"))
        self._service.connections.add(self)
        if self._service.closed or self._departed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._reply is None and not self._full and not self._lingering:
            if self._parser.phase is _BETWEEN and (known := self._service.heads.recall(data)) is not None:
                head, body = known
                if len(body) <= self._service.limits.body_bytes:
                    self._begin(Request(head, body, self._peer))
                    return
            self._take(data)
        elif not self._lingering:
            self._ahead += data
            if self._reading and len(self._ahead) > self._service.limits.ahead_bytes:
                self._reading = False
                self._transport.pause_reading()

    def eof_received(self) -> None:
        # A client that shuts down only its sending side looks the same as one that is gone, and is far rarer.
        if self._reply is not None and not self._reply.ended:
            self._transport.abort()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake_writers()
        if self._reply is None and not self._lingering:
            self._next()

    def _close(self) -> None:
        """End the connection when what was written has left."""
        self._service.outbox.flush(self._transport)
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it ended changes nothing here
        self.lost = True
        self._service.connections.discard(self)
        self.depart()
        self._release_held()
        self._parser.close()
        self._wake_writers()
        task, self._task = self._task, None  # a cancelled task holds its frames, and they hold us
        if task is not None:
            self._service.orphans.add(task)
            task.add_done_callback(self._service.orphans.discard)
            reply = self._reply
            if reply is None or not (reply.ended or reply.outlasting):
                task.cancel()

    # The reply's side (`reply.Outlet`).

    @property
    def unhindered(self) -> bool:
        return not self.lost and not self._full

    def transmit(self, data: bytes) -> None:
        if not self.lost:
            self._written += len(data)
            self._service.outbox.write(self._transport, data, alone=self._service.serving <= 1)

    async def writable(self) -> None:
        while self._full and not self.lost:
            # One future per writer: cancelling one writer may not wake or cancel another.
            waiter = asyncio.get_running_loop().create_future()
            self._writers.append(waiter)
            await waiter
        # A transport that has failed takes writes without ever being full: a writer in a loop would never let the loop
        # tell us that the connection is lost.
        if self.lost or self._transport.is_closing():
            raise Disconnected("the client is gone")

    # The listener's side.

    def drain(self) -> None:
        """Close if nothing is going on; else the answer in progress will be the last."""
        self.closing = True
        if self._reply is None and self._phase is _BETWEEN and not self._ahead and not self._full:
            self._close()

    def depart(self) -> None:
        """Give the place back; again, nothing happens."""
        if not self._departed:
            self._departed = True
            self._service.leave(self._host)

    def abort(self) -> None:
        """Drop the client now; a request in progress is cancelled when the transport has reported its end."""
        if not self.lost:
            self._transport.abort()

    def sweep(self, now: float) -> None:
        """Enforce the deadlines."""
        if self._unread(now):
            self._transport.abort()
        elif self._reply is not None or self._full:
            return
        elif self._lingering:
            if now - self._since > self._service.limits.linger_seconds:
                self._transport.abort()
        elif self._phase is _BETWEEN:
            if now - self._since > self._service.limits.idle_seconds:
                self._close()
        elif self._phase is _HEAD:
            self._sweep_head(now)
        else:
            self._sweep_body(now)

    def _unread(self, now: float) -> bool:
        pending = self._transport.get_write_buffer_size()
        taken = self._written - pending
        if not pending or taken != self._taken:
            self._taken = taken
            self._taken_since = now
        return now - self._taken_since > self._service.limits.unread_seconds

    def _sweep_head(self, now: float) -> None:
        if now - self._since > self._service.limits.header_seconds:
            if self._parser.phase is _HEAD:
                self._refuse(Refused(408, "the head took too long"))
            else:
                self._close()

    def _sweep_body(self, now: float) -> None:
        limits = self._service.limits
        window = now - self._since
        if window <= limits.body_grace_seconds:
            return
        if self._parser.body_bytes - self._body_mark < limits.body_rate * window:
            self._refuse(Refused(408, "the body is too slow"))
        else:
            self._since = now
            self._body_mark = self._parser.body_bytes

    # From input to the next request.

    def _take(self, data: bytes) -> None:
        parser = self._parser
        fresh = parser.phase is _BETWEEN
        try:
            rest = parser.feed(data)
            if rest:
                self._ahead += rest
            elif fresh and parser.phase is _BETWEEN and len(parser.ready) == 1:
                self._service.heads.learn(data, parser.ready[0].head)
        except Refused as refused:
            self._refusal = refused
        if parser.ready:
            self._begin_next()
        elif self._refusal is not None:
            self._refuse(self._refusal)
        else:
            self._await_more()

    def _await_more(self) -> None:
        parser = self._parser
        if parser.awaits_continue:
            parser.awaits_continue = False
            self.transmit(_CONTINUE)
        phase = parser.phase
        if phase is not self._phase and phase is not _BETWEEN:
            self._phase = phase
            self._since = self._service.now
            self._body_mark = 0
        if phase is _BODY:
            self._hold(parser.body_bytes)

    def _hold(self, count: int) -> None:
        service = self._service
        service.held_bytes += count - self._held
        self._held = count
        if service.held_bytes > service.limits.bodies_bytes:
            self._refuse(Refused(503, "too many bodies are on their way in"))

    def _release_held(self) -> None:
        self._service.held_bytes -= self._held
        self._held = 0

    def _begin_next(self) -> None:
        if self._held:
            self._release_held()
        self._begin(self._parser.ready.popleft())

    def _begin(self, request: Request) -> None:
        head = request.head
        if self._certified:
            request.certified = self._certified
        self.closing = not head.persistent or self._service.parting
        reply = self._reply = Reply(self, head.method == "HEAD", head.old)
        self._due = request, reply
        if self._asked is None:
            self._engage()
        elif not self._asked.done():
            self._asked.set_result(None)

    def _engage(self) -> None:
        """Start the task, unless it runs: then it looks for itself what is due."""
        if self._task is not None:
            return
        serving = self._serve()
        try:
            self._task = self._service.tasks.create_task(serving, name="http connection")
        except RuntimeError:
            # The group is ending: nobody would wait for the task.
            serving.close()
            self._transport.abort()

    async def _serve(self) -> None:
        """Answer one request after the other until the connection is lost."""
        service, loop = self._service, asyncio.get_running_loop()
        while not self.lost:
            if self._due is None:
                self._asked = loop.create_future()
                try:
                    await self._asked
                except asyncio.CancelledError:
                    self.abort()  # nobody would answer what comes
                    raise
                self._asked = None
                continue
            (request, reply), self._due = self._due, None
            fault = None
            service.serving += 1
            try:
                await service.handle(request, reply)
            except BaseException as error:  # noqa: BLE001 - the boundary at which a handler's fault becomes an answer
                fault = self._fault(error)
            finally:
                service.serving -= 1
            self._finish(reply, fault)

    def _fault(self, error: BaseException) -> BaseException | None:
        """What the handler is to blame for; raises what ends the task."""
        if isinstance(error, Disconnected):
            return None
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self.abort()
                raise error
        elif not isinstance(error, Exception):
            raise error
        return error  # a cancellation too: nobody cancelled us, the handler let another task's through

    def _finish(self, reply: Reply, fault: BaseException | None) -> None:
        if fault is not None or not reply.ended:
            self._settle(reply, fault)
        self._reply = None
        if self.lost:
            return
        parser = self._parser
        if self.closing:
            self._close()
        elif self._ahead or self._full or self._refusal or parser.ready or parser.phase is not _BETWEEN:
            self._next()
        else:
            self._phase = _BETWEEN
            self._since = self._service.now

    def _settle(self, reply: Reply, fault: BaseException | None) -> None:
        """The handler failed: give the client its end and the fault its hearing."""
        if not reply.ended and not self.lost:
            fault = fault or RuntimeError("the handler returned without a complete answer")
            if reply.started:
                # The missing last chunk is how the client learns that the answer is incomplete.
                self._service.outbox.flush(self._transport)
                self._transport.abort()
            else:
                reply.send(500, b"", b"")
        if fault is not None:
            self._service.on_fault(fault)

    def _next(self) -> None:
        """Go on with what has arrived meanwhile, unless the client has to read first."""
        if self._full:
            return
        self._phase = _BETWEEN
        self._since = self._service.now
        parser = self._parser
        if parser.ready:
            self._begin_next()
        elif self._refusal is not None:
            self._refuse(self._refusal)
        elif self._ahead:
            data = bytes(self._ahead)
            self._ahead.clear()
            self.data_received(data)
        elif parser.phase is not _BETWEEN:
            self._await_more()
        if not self._reading and len(self._ahead) <= self._service.limits.ahead_bytes:
            self._resume_reading()

    def _refuse(self, refused: Refused) -> None:
        """Answer, then throw input away for a while: closing at once could reset the answer on its way."""
        self._lingering = True
        self._since = self._service.now
        self._ahead.clear()
        self._parser.forget()
        self._release_held()
        lines = self._service.on_refusal(self._peer, refused.status, refused.why)
        body = f"{refused.why}\n".encode()
        top = b"%b%b%bcontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transmit(top % (status_line(refused.status), TEXT, lines, len(body)) + body)
        self._service.outbox.flush(self._transport)
        if self._transport.can_write_eof():  # TLS has no half-closed connections
            self._transport.write_eof()
        if not self._reading:
            self._resume_reading()

    def _resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def _wake_writers(self) -> None:
        for waiter in self._writers:
            if not waiter.done():
                waiter.set_result(None)
        self._writers.clear()
