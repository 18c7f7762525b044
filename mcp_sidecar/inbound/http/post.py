"""What a 2025-era client sends in one HTTP request, and the answer: JSON, or a stream that outlasts it. No upstream."""

from __future__ import annotations

import asyncio

from mcp_sidecar.call import Call
from mcp_sidecar.errors import Cancelled, HttpRefused, InvalidCall, InvalidParams, SidecarError, Unauthenticated
from mcp_sidecar.inbound.http.modern import DONE, JSON_LINES, STREAM_LINES, advice, id_of, refuse
from mcp_sidecar.inbound.http.opening import Opening
from mcp_sidecar.inbound.http.sessions import HttpSession
from mcp_sidecar.inbound.http.silence import Silence
from mcp_sidecar.inbound.http.streams import Stream
from mcp_sidecar.inbound.session.session import taken_back
from mcp_sidecar.inbound.status import error_of, status_of
from mcp_sidecar.outbound.link import Ignore
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.eras import INTERNAL_ERROR
from mcp_sidecar.protocol.jsonrpc import Response
from mcp_sidecar.wire.http_server import Reply, Request, fields


class Post(Ignore):
    """One HTTP request of a 2025-era client. A stream is begun by the first notification or question, or by silence.

    A lost connection ends nothing: what is said on a stream that has begun is kept, and can be fetched.
    """

    message_id = b""
    """The id of the request in the body, once that is read."""
    session: HttpSession | None = None
    stream: Stream | None = None

    def __init__(self, request: Request, opening: Opening, reply: Reply, request_id: str, silence: Silence) -> None:
        self.request = request
        self.opening = opening
        self.reply = reply
        self.silence = silence
        self.lines = b"x-request-id: %b\r\n" % request_id.encode()  # nothing in it can break a line
        self._answers: list[bytes] = []
        self._open: set[bytes] = set()  # what the client was asked, by the ids that it knows

    # What comes before the answer.

    async def notify(self, method: str, message: bytes) -> None:  # noqa: ARG002 - every sink is told the method
        if (stream := self._begun()) is not None:
            await stream.send(message)

    async def ask(self, request: jsonrpc.Request) -> Response:
        stream = self._begun()
        if stream is None or self.session is None:
            words = "the client is gone, and cannot come back to what it never heard of"
            return Response(request.id, error=jsonrpc.encode_error(INTERNAL_ERROR, words))
        with self.session.asking() as (question_id, answer):
            self._open.add(question_id)
            try:
                await stream.send(request.encode(question_id))
                return await answer
            except asyncio.CancelledError:
                self._take_back(question_id)
                raise
            finally:
                self._open.discard(question_id)

    def _take_back(self, *questions: bytes) -> None:
        """Nobody waits for their answers: said once, before the last message, which may come sooner than the asker."""
        for question_id in self._open.intersection(questions or self._open):
            self._open.discard(question_id)
            if self.stream is not None:
                self.stream.offer(taken_back(question_id))

    def _begun(self) -> Stream | None:
        """The stream, which is begun if need be; None when there is nobody to give its first id to."""
        if self.stream is None and self.session is not None and not self.reply.lost:
            stream = self.session.log.open()
            self.open(stream)
            stream.prime()
        return self.stream

    def open(self, stream: Stream) -> asyncio.Future[None]:
        """Answer with a stream from here on; see `Stream.carry`."""
        self.stream = stream
        self.reply.start(200, STREAM_LINES + self.lines)
        return stream.carry(self.reply)

    def fill_silence(self) -> None:
        """Begin or continue the stream with a comment."""
        if (stream := self._begun()) is not None:
            stream.fill_silence()

    # The answer.

    async def end(self, response: Response) -> None:
        """Send the response: the last event of a stream that has begun, else JSON.

        A server's error is no error of HTTP in this era: clients take 404, for one, for the end of their session.
        """
        self.stop()
        self._take_back()
        if self.stream is not None:
            await self.stream.finish(response.encode(response.id))
        else:
            self.reply.send(200, DONE + self.lines, response.encode(response.id))

    async def take(self, response: Response) -> None:
        """One response of several: sent if a stream has begun, else kept until `end_batch`."""
        answer = response.encode(response.id)
        if self.stream is not None:
            await self.stream.send(answer)
        else:
            self._answers.append(answer)

    async def end_batch(self) -> None:
        """The last of several responses was taken."""
        self.stop()
        if self.stream is not None:
            await self.stream.finish(*self._answers)
        elif self._answers:
            self.reply.send(200, DONE + self.lines, b"[%b]" % b",".join(self._answers))
        else:
            self.give_up()  # all were cancelled

    def accept(self, status: int = 202) -> None:
        """Taken, and there is nothing to say to it."""
        self.stop()
        self.reply.send(status, self.lines, b"")

    async def fail(self, failure: SidecarError, call: Call) -> None:
        """Send a failure."""
        self.stop()
        if isinstance(failure, Cancelled):
            self.give_up()
            return
        lines = self.lines + fields((b"mcp-sidecar-execution", failure.execution.value.encode()))
        if isinstance(failure, HttpRefused):
            refuse(self.reply, failure, lines)
            return
        self._take_back()
        response = Response(self.message_id or id_of(failure), error=error_of(failure, call.request_id))
        if self.stream is not None:
            await self.stream.finish(response.encode(response.id))
            return
        self.reply.send(self._http_status(failure), JSON_LINES + lines + advice(failure), response.encode(response.id))

    def _http_status(self, failure: SidecarError) -> int:
        """SDKs of this era end the whole session on any status of failure: a call that failed is no reason for that."""
        ill_formed = isinstance(failure, InvalidCall | Unauthenticated) and not isinstance(failure, InvalidParams)
        return status_of(failure).http if self.session is None or ill_formed else 200

    def give_up(self) -> None:
        """The client cancelled: there is no response, only an end."""
        self.stop()
        if self.stream is not None:
            self.stream.abandon()
        elif not self.reply.started:
            self.reply.start(200, STREAM_LINES + self.lines)
            self.reply.end()

    def leave(self) -> None:
        """The connection is lost."""
        self.stop()
        if self.stream is not None:
            self.stream.leave(self.reply)

    def stop(self) -> None:
        """No more keep-alives."""
        self.silence.since.pop(self, None)
