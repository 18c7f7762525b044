"""The modern face: one POST, one exchange, answered with JSON or with a stream. Knows no upstream."""

from __future__ import annotations

from mcp_sidecar.call import Call
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.errors import InvalidCall, SidecarError, UnsupportedVersion
from mcp_sidecar.inbound.http import agreement
from mcp_sidecar.inbound.http.guard import EVENTS, JSON, Refused
from mcp_sidecar.inbound.http.silence import Silence
from mcp_sidecar.inbound.status import HTTP_STATUS, status_of
from mcp_sidecar.outbound.link import Ignore
from mcp_sidecar.protocol import jsonrpc, sse
from mcp_sidecar.protocol.jsonrpc import Response
from mcp_sidecar.wire.http_server import Reply, Request

TEXT = (b"content-type", b"text/plain; charset=utf-8")
_JSON_HEADERS = ((b"content-type", JSON),)
_DONE = (b"mcp-sidecar-execution", b"done")
_STREAM_HEADERS = (
    (b"content-type", EVENTS),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class Answer(Ignore):
    """The answer to one POST: JSON as long as nothing but the response has come, a stream from then on.

    Statuses matter to clients, so a stream is begun by the first notification, or after 15 s of silence to show that
    somebody is there.
    """

    def __init__(self, reply: Reply, call: Call, silence: Silence) -> None:
        self._reply = reply
        self._silence = silence
        self._request_id = (b"x-request-id", call.request_id.encode())
        self.message_id = b""

    def expect(self, message_id: bytes) -> None:
        """The request can be read: answers carry its id, and silence is filled from here on."""
        self.message_id = message_id
        self._silence.add(self)

    async def notify(self, method: str, message: bytes) -> None:  # noqa: ARG002 - every sink is told the method
        if not self._reply.started:
            self._reply.start(200, (*_STREAM_HEADERS, self._request_id))
        await self._reply.write(sse.encode(message))

    def fill_silence(self) -> None:
        """Begin or continue the stream with a comment."""
        if not self._reply.started:
            self._reply.start(200, (*_STREAM_HEADERS, self._request_id))
        self._reply.offer(sse.KEEP_ALIVE)

    async def finish(self, response: Response) -> None:
        """Send the response of the exchange."""
        self.stop()
        message = response.encode(response.id)
        if self._reply.started:
            await self._end_stream(message)
            return
        self._reply.send(_http_status(response), (*_JSON_HEADERS, self._request_id, _DONE), message)

    def accept(self) -> None:
        """A notification was taken."""
        self.stop()
        self._reply.send(202, (self._request_id,), b"")

    async def fail(self, failure: SidecarError, call: Call) -> None:
        """Send a failure: its own status, or the last event of a stream that has begun."""
        self.stop()
        execution = (b"mcp-sidecar-execution", failure.execution.value.encode())
        if isinstance(failure, Refused):
            headers = [TEXT, *failure.headers, self._request_id, execution]
            self._reply.send(failure.status, headers, f"{failure.message}\n".encode())
            return
        status = status_of(failure)
        error = jsonrpc.encode_error(status.jsonrpc, failure.message, _data(failure, call))
        message_id = self.message_id or (failure.message_id if isinstance(failure, InvalidCall) else b"")
        message = Response(message_id, error=error).encode(message_id)
        if self._reply.started:
            await self._end_stream(message)
            return
        headers = [*_JSON_HEADERS, self._request_id, execution]
        if failure.retry_after is not None:
            headers.append((b"retry-after", b"%d" % max(1, round(failure.retry_after))))
        if status.http == 401:
            headers.append((b"www-authenticate", b'Bearer realm="mcp-sidecar"'))
        self._reply.send(status.http, headers, message)

    async def _end_stream(self, message: bytes) -> None:
        await self._reply.write(sse.encode(message))
        self._reply.end()

    def stop(self) -> None:
        """No more keep-alives."""
        self._silence.discard(self)


def _http_status(response: Response) -> int:
    """200, or what the specification has for the error of a server."""
    if response.error is None:
        return 200
    said = jsonrpc.read_error(response)
    return HTTP_STATUS.get(said[0], 200) if said else 200


def _data(failure: SidecarError, call: Call) -> dict[str, object]:
    if isinstance(failure, UnsupportedVersion):
        return {"supported": list(failure.supported), "requested": failure.requested}
    execution = failure.execution.value
    data: dict[str, object] = {"reason": failure.reason, "execution": execution, "requestId": call.request_id}
    if failure.violations:
        data["violations"] = [{"field": field, "description": what} for field, what in failure.violations]
    return data


class ModernFace:
    """Handles POSTs of 2026-07-28."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def handle(self, call: Call, http_request: Request, server: str, answer: Answer) -> Response | None:
        """The response to a request; None for a notification, of which this revision has none on HTTP."""
        request = jsonrpc.parse_request(http_request.body)
        answer.expect(request.id)
        agreement.check(request, http_request.headers)
        call.mirrored = agreement.mirrored(http_request.headers)
        if not request.id:
            call.method = request.method
            return None
        return await self._engine.run(call, request, server, answer)
