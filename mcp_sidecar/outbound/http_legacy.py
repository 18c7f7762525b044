"""Carries legacy conversations over Streamable HTTP: sessions by header, streams that can be resumed.

Knows neither what the messages mean nor who sends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mcp_sidecar.call import Call
from mcp_sidecar.directory import Endpoint
from mcp_sidecar.errors import Execution, SidecarError, UpstreamLost
from mcp_sidecar.outbound import http
from mcp_sidecar.outbound.carrier import Receive, Stray
from mcp_sidecar.outbound.credentials import Credential
from mcp_sidecar.outbound.hearing import NoStream
from mcp_sidecar.outbound.legacy_refusals import SessionLost, is_about_session, may_be_modern, no_handshake
from mcp_sidecar.protocol import batch, jsonrpc, sse
from mcp_sidecar.protocol.eras import Era
from mcp_sidecar.protocol.headers import SESSION
from mcp_sidecar.protocol.session import Session, shown
from mcp_sidecar.wire.http_client import HttpClient, Response

_COURTESY_SECONDS = 1.0  # for the end of a session
_DEFAULT_RETRY = 1.0
_MIN_RETRY = 0.01
_MAX_RESUMES = 1000


class HttpCarrier:
    """One POST for each message; see `Carrier`."""

    transport = "http"
    handshake_seconds = 10.0
    has_own_stream = True
    stray: Stray

    def __init__(self, endpoint: Endpoint, credential: Credential, client: HttpClient) -> None:
        self._endpoint = endpoint
        self._credential = credential
        self._client = client

    async def begin(
        self, session: Session, request_id: bytes, message: bytes, call: Call, receive: Receive
    ) -> jsonrpc.Response:
        headers = self._fixed() + http.call_headers(call)  # no version header: it is what is being negotiated
        response = await http.send(self._client, b"POST", self._endpoint, headers, message, call)
        try:
            if response.status != 200:
                raise await no_handshake(response, self._endpoint, request_id)
            answer = await self._final(response, session, request_id, call, receive)
            # Only the answer to `initialize` names a session that counts: SDKs put fresh ids into refusals too.
            session.id = response.headers.get(SESSION) or b""
            session.shown = shown(session.id)
            return answer
        finally:
            response.close()

    async def request(
        self,
        session: Session,
        request_id: bytes,
        message: bytes,
        call: Call,
        receive: Receive,
        *,
        ours: bool,  # noqa: ARG002  # what comes on the stream of a POST is about that request
    ) -> jsonrpc.Response:
        response = await self._send(session, b"POST", message, call)
        try:
            if (answer := http.usual_answer(response, request_id)) is not None:
                call.execution = Execution.DONE
                return answer
            if response.status != 200:
                return await self._refused(response, session, request_id, call)
            return await self._final(response, session, request_id, call, receive)
        finally:
            response.close()

    async def _refused(self, response: Response, session: Session, request_id: bytes, call: Call) -> jsonrpc.Response:
        if response.status == 404 and session.id:
            raise self._lost_session(call)
        if (refusal := http.not_taken(response, self._endpoint)) is not None:
            call.execution = Execution.NONE
            raise refusal
        error = await http.error_reply(response, self._endpoint, request_id)
        if error is None:
            failure = http.status_error(response, self._endpoint)
            call.execution = failure.execution
            raise failure
        if session.id and response.status == 400 and is_about_session(error):
            raise self._lost_session(call)
        if response.status == 400 and may_be_modern(error):
            call.execution = Execution.NONE
            raise http.EraChanged(self._endpoint.upstream, Era.LEGACY, error)
        call.execution = Execution.DONE
        return error

    def _lost_session(self, call: Call) -> SessionLost:
        call.execution = Execution.NONE
        return SessionLost(f"the MCP server {self._endpoint.upstream!r} lost its session")

    async def _final(
        self, response: Response, session: Session, request_id: bytes, call: Call, receive: Receive
    ) -> jsonrpc.Response:
        """The response, over as many connections as the server needs (2025-11-25, basic/transports, "Polling")."""
        parser = sse.Parser()
        try:
            for resumes in range(_MAX_RESUMES):
                replies = http.replies(response, self._endpoint, parser, batches=_batches(session))
                answer = await self._read(replies, request_id, receive, resumed=resumes > 0)
                if answer is not None:
                    call.execution = Execution.DONE
                    return answer
                if not (parser.last_id.isascii() and parser.last_id.isprintable() and parser.last_id):
                    raise http.lost(self._endpoint, call)
                response.close()
                await asyncio.sleep(_DEFAULT_RETRY if parser.retry is None else max(_MIN_RETRY, parser.retry / 1000))
                response = await self._resume(session, parser, call)
                parser = parser.resumed()
        finally:
            response.close()  # servers keep a resumed stream open after the answer
        raise http.nonsense(self._endpoint, "it ended its stream again and again without an answer")

    async def _read(
        self, replies: http.Reply | http.Replies, request_id: bytes, receive: Receive, *, resumed: bool
    ) -> jsonrpc.Response | None:
        """Pass on what comes until the response; None when the stream ends before it."""
        while (message := await self._next(replies)) is not None:
            if not isinstance(message, jsonrpc.Response):
                await receive(message)
            elif message.id == request_id:
                return message
            elif not resumed:  # some servers replay what belonged to other streams
                raise http.nonsense(self._endpoint, "it answered another request than the one it was sent")
        return None

    async def _next(self, replies: http.Reply | http.Replies) -> jsonrpc.Message | None:
        """The next message; a stream that can be resumed may also just break off."""
        try:
            return await replies.next()
        except UpstreamLost:
            if isinstance(replies, http.Replies) and replies.parser.last_id:
                return None
            raise

    async def _resume(self, session: Session, parser: sse.Parser, call: Call) -> Response:
        last = b"last-event-id: %b\r\n" % parser.last_id.encode()
        # Whether the call ran was settled by its POST: what becomes of this request changes nothing about that.
        resuming = Call(rpc="resume", request_id=call.request_id, trace=call.trace)
        try:
            response = await self._send(session, b"GET", b"", resuming, last)
        except SidecarError as error:
            raise http.lost(self._endpoint, call) from error
        if response.status != 200:
            response.close()
            raise http.lost(self._endpoint, call)
        return response

    async def tell(self, session: Session, message: bytes, call: Call) -> None:
        """202, or whatever a lenient server says instead."""
        response = await self._send(session, b"POST", message, call)
        try:
            if response.status == 404 and session.id:
                raise self._lost_session(call)
            if response.status >= 300:
                raise http.status_error(response, self._endpoint)
            call.execution = Execution.DONE
            await http.body(response, self._endpoint)
        finally:
            response.close()

    async def hear(self, session: Session, opened: Callable[[], None]) -> None:
        """Read the session's GET stream to its end."""
        response = await self._send(session, b"GET", b"", Call(rpc="listen", request_id="listen"))
        try:
            if response.status == 404 and session.id:
                raise SessionLost(f"the MCP server {self._endpoint.upstream!r} lost its session")
            if response.status == 409:
                return  # it has not noticed the end of the stream before this one yet: asked again in a moment
            if response.status in (401, 403, 429) or response.status >= 500:
                raise http.status_error(response, self._endpoint)
            if response.status != 200:
                raise NoStream(f"the MCP server {self._endpoint.upstream!r} offers no stream of its own")
            replies = http.replies(response, self._endpoint, batches=_batches(session))
            opened()
            while (message := await replies.next()) is not None:
                if isinstance(message, jsonrpc.Request):
                    self.stray(session, message)
        finally:
            response.close()

    def close_idle(self, unused_for: float) -> None:
        self._client.close_idle(unused_for)

    async def end(self, session: Session) -> None:
        """DELETE the session, as a courtesy."""
        if not session.id:
            return
        try:
            async with asyncio.timeout(_COURTESY_SECONDS):
                response = await self._send(session, b"DELETE", b"", Call(rpc="close", request_id="close"))
                response.close()
        except (SidecarError, TimeoutError):
            pass  # the server will expire the session by itself

    async def close(self, session: Session | None) -> None:
        """End the session, then drop every socket."""
        try:
            if session is not None:
                await self.end(session)
        finally:
            self._client.close()

    def _fixed(self) -> bytes:
        return http.COMMON_HEADERS + self._credential.header

    async def _send(self, session: Session, method: bytes, body: bytes, call: Call, extra: bytes = b"") -> Response:
        headers = b"%b%bmcp-protocol-version: %b\r\n%b" % (
            self._fixed(),
            http.call_headers(call),
            session.version.encode(),
            extra,
        )
        if session.id:
            headers = b"%b%b: %b\r\n" % (headers, SESSION, session.id)
        return await http.send(self._client, method, self._endpoint, headers, body, call)


def _batches(session: Session) -> bool:
    """The server may send several messages as one."""
    return session.version == batch.VERSION
