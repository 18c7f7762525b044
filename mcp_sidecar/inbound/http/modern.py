"""The modern face: one POST, one exchange, answered with JSON or with a stream. Knows no upstream."""

from __future__ import annotations

from collections.abc import Awaitable

import msgspec

from mcp_sidecar.call import Call
from mcp_sidecar.errors import HttpRefused, InvalidCall, SidecarError
from mcp_sidecar.inbound import agreement
from mcp_sidecar.inbound.http.guard import EVENTS, JSON
from mcp_sidecar.inbound.http.opening import Agreed, Opening
from mcp_sidecar.inbound.http.silence import Silence
from mcp_sidecar.inbound.status import HTTP_STATUS, error_of, status_of
from mcp_sidecar.outbound.link import refusal
from mcp_sidecar.protocol import headers, jsonrpc, sse
from mcp_sidecar.protocol.jsonrpc import Response
from mcp_sidecar.wire.http_server import TEXT, Reply, Request, fields

_REQUEST_ID = b"x-request-id: %b\r\n"  # nothing in one can break a line
JSON_LINES = fields((b"content-type", JSON))
DONE = JSON_LINES + fields((b"mcp-sidecar-execution", b"done"))
_DONE_AS = DONE + _REQUEST_ID
STREAM_LINES = fields(
    (b"content-type", EVENTS),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class Post(msgspec.Struct, eq=False):
    """One POST and the answer to it: JSON as long as nothing but the response has come, a stream from then on.

    Statuses matter to clients, so a stream is begun by the first notification, or after 15 s of silence to show that
    somebody is there.
    """

    request: Request
    opening: Opening
    reply: Reply
    request_id: str
    silence: Silence
    message_id: bytes = b""
    """The id of the request in the body, once that is read."""

    @property
    def lines(self) -> bytes:
        """What every answer says."""
        return _REQUEST_ID % self.request_id.encode()

    async def notify(self, method: str, message: bytes) -> None:  # noqa: ARG002 - every sink is told the method
        if not self.reply.started:
            self.reply.start(200, STREAM_LINES + self.lines)
        await self.reply.write(sse.encode(message))

    def fill_silence(self) -> None:
        """Begin or continue the stream with a comment."""
        if not self.reply.started:
            self.reply.start(200, STREAM_LINES + self.lines)
        self.reply.offer(sse.KEEP_ALIVE)

    async def ask(self, request: jsonrpc.Request) -> Response:
        """Servers of this revision ask in their results."""
        return refusal(request)

    async def end_stream(self, response: Response) -> None:
        """Send the response of the exchange as the last event."""
        self.stop()
        await self.reply.write(sse.encode(response.encode(response.id)))
        self.reply.end()

    def accept(self) -> None:
        """A notification was taken."""
        self.stop()
        self.reply.send(202, self.lines, b"")

    async def fail(self, failure: SidecarError, call: Call) -> None:
        """Send a failure: its own status, or the last event of a stream that has begun."""
        execution = fields((b"mcp-sidecar-execution", failure.execution.value.encode()))
        if isinstance(failure, HttpRefused):
            refuse(self.reply, failure, self.lines + execution)
            return
        response = Response(self.message_id or id_of(failure), error=error_of(failure, call.request_id))
        if self.reply.started:
            await self.end_stream(response)
            return
        lines = JSON_LINES + self.lines + execution + advice(failure)
        self.reply.send(status_of(failure).http, lines, response.encode(response.id))

    def stop(self) -> None:
        """No more keep-alives."""
        self.silence.since.pop(self, None)


def refuse(reply: Reply, failure: HttpRefused, lines: bytes) -> None:
    """Send a refusal of the HTTP around a message, with these field lines besides its own."""
    reply.send(failure.status, TEXT + fields(*failure.headers) + lines, f"{failure.message}\n".encode())


def advice(failure: SidecarError) -> bytes:
    """Field lines that tell the client of a failure what to do about it."""
    lines = b""
    if failure.retry_after is not None:
        lines += fields((b"retry-after", b"%d" % max(1, round(failure.retry_after))))
    if status_of(failure).http == 401:
        lines += fields((b"www-authenticate", b'Bearer realm="mcp-sidecar"'))
    return lines


def id_of(failure: SidecarError) -> bytes:
    return failure.message_id if isinstance(failure, InvalidCall) else b""


def _http_status(response: Response) -> int:
    """200, or what the specification has for the error of a server."""
    if response.error is None:
        return 200
    said = jsonrpc.read_error(response)
    return HTTP_STATUS.get(said[0], 200) if said else 200


def conclude(_call: Call, post: Post, response: Response | None) -> Awaitable[None] | None:
    """Send what an exchange has come to; None is that of a notification."""
    if response is None:
        post.accept()
        return None
    if post.reply.started:
        return post.end_stream(response)
    post.silence.since.pop(post, None)
    status = 200 if response.error is None else _http_status(response)
    post.reply.send(status, _DONE_AS % post.request_id.encode(), response.encode(response.id))
    return None


def read(post: Post, call: Call) -> jsonrpc.Request:
    """The request in the body, which says what the head says; a notification has no id.

    Raises `InvalidCall` and its kin.
    """
    message = jsonrpc.parse_request(post.request.body)
    post.message_id = message.id
    post.silence.add(post)  # it can be answered from here on
    opening = post.opening
    field = headers.NAMED_BY.get(message.method)
    name = None if field is None else message.params.get(field)
    agreed = opening.agreed
    if agreed is None or message.meta is not agreed.meta or message.method != agreed.method or name != agreed.name:
        given = post.request.head.headers
        agreed = Agreed(message.method, message.meta, name, agreement.check(message, given))
        opening.mirrored = agreement.mirrored(given)
        if message.id:  # less is asked of a notification
            opening.agreed = agreed
    call.method = message.method
    call.name = agreed.named
    call.mirrored = opening.mirrored
    return message
