"""A link to a 2025-era server over Streamable HTTP: a session, resumable streams, cancelled by notification.

Knows no client; its requests come in the legacy shape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mcp_sidecar.call import Call
from mcp_sidecar.directory import Endpoint
from mcp_sidecar.errors import Execution, InvalidCall, SidecarError, UpstreamLost, UpstreamUnavailable
from mcp_sidecar.outbound import http
from mcp_sidecar.outbound.flights import Flights
from mcp_sidecar.outbound.hearing import Hearing, NoStream
from mcp_sidecar.outbound.legacy_refusals import (
    SessionLost,
    is_about_session,
    may_be_modern,
    no_handshake,
    refused_handshake,
)
from mcp_sidecar.outbound.link import Ignore, Sink
from mcp_sidecar.outbound.questions import Questions, reply
from mcp_sidecar.protocol import jsonrpc, sse
from mcp_sidecar.protocol.eras import LATEST_LEGACY, Era
from mcp_sidecar.protocol.handshake import CLIENT_INFO, ServerProfile, initialize_request, initialized
from mcp_sidecar.protocol.headers import SESSION
from mcp_sidecar.protocol.session import Session
from mcp_sidecar.wire.http_client import HttpClient, Response

_HANDSHAKE_SECONDS = 10.0
_COURTESY_SECONDS = 1.0  # for messages nobody waits for: cancellations, answers, the end of a session
_DEFAULT_RETRY = 1.0
_MIN_RETRY = 0.01
_MAX_RESUMES = 1000


class LegacyLink:
    """One session, used by many calls at once.

    `capabilities` and `info` (JSON text) are what the session says of the client. A session that the server forgot
    is begun anew, once, under the call that noticed.
    """

    era = Era.LEGACY
    stateful = True

    def __init__(
        self,
        endpoint: Endpoint,
        credential: http.Credential,
        client: HttpClient,
        tasks: asyncio.TaskGroup,
        *,
        version: str = LATEST_LEGACY,
        capabilities: bytes = b"{}",
        info: bytes = CLIENT_INFO,
    ) -> None:
        self._endpoint = endpoint
        self._fixed = http.COMMON_HEADERS + credential.header
        self._client = client
        self._tasks = tasks
        self._flights: Flights[None] = Flights(tasks)
        self._offer = version
        self._capabilities = capabilities
        self._info = info
        self._profile = ServerProfile(version)
        self._session: Session | None = None
        self._hearing = Hearing(self, tasks)

    @property
    def profile(self) -> ServerProfile:
        return self._profile

    async def open(self) -> None:
        """`initialize`, then `notifications/initialized`; callers at the same time share one handshake."""
        await self._flights.join("initialize", self._initialize)

    async def exchange(self, request: jsonrpc.Request, call: Call, sink: Sink) -> jsonrpc.Response:
        """See `Link.exchange`."""
        session = await self._current()
        try:
            return await self._attempt(session, request, call, sink)
        except SessionLost:
            # 404 for our own session: the server refused it before it ran (2025-11-25, basic/transports, 7).
            self._forget(session)
            return await self._attempt(await self._current(), request, call, sink)

    async def _current(self) -> Session:
        if self._session is None:
            await self.open()
        if self._session is None:
            raise SessionLost(f"the MCP server {self._endpoint.upstream!r} keeps losing its session")
        return self._session

    def _forget(self, session: Session) -> None:
        if self._session is session:
            self._session = None
            self._hearing.lose()  # the next session knows nothing of what was subscribed to on this one

    async def _initialize(self) -> None:
        call = Call(rpc="handshake", request_id="handshake")
        request = initialize_request(self._offer, self._capabilities, self._info)
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                session, answer = await self._handshake(request, call)
                self._profile = initialized(answer.result or b"")
                session.version = self._profile.version
                await self._post(session, jsonrpc.Request("notifications/initialized").encode(b""), call)
        except InvalidCall as error:
            raise http.nonsense(self._endpoint, "its answer to initialize cannot be used", Execution.NONE) from error
        except TimeoutError as error:
            message = (
                f"the MCP server {self._endpoint.upstream!r} did not finish initialize in {_HANDSHAKE_SECONDS:g} s"
            )
            raise UpstreamUnavailable(message, metadata={"server": self._endpoint.upstream}) from error
        except SidecarError as error:
            error.execution = Execution.NONE  # the call that needs the session has not begun
            raise
        self._session = session

    async def _handshake(self, request: jsonrpc.Request, call: Call) -> tuple[Session, jsonrpc.Response]:
        session = Session(self._offer)
        request_id, request = session.register(request)
        headers = self._fixed + http.call_headers(call)  # no version header: it is what is being negotiated
        response = await http.send(self._client, b"POST", self._endpoint, headers, request.encode(request_id), call)
        try:
            if response.status != 200:
                raise await no_handshake(response, self._endpoint, request_id)
            nobody = Questions(self._tasks, Ignore(), lambda asked, answer: self._answer(session, asked, answer))
            answer = await self._final(response, session, request_id, call, nobody)
            if answer.error is not None:
                raise refused_handshake(self._endpoint, answer)
            # Only the answer to `initialize` names a session that counts: SDKs put fresh ids into refusals too.
            session.id = response.headers.get(SESSION) or b""
            return session, answer
        finally:
            response.close()

    async def _attempt(self, session: Session, request: jsonrpc.Request, call: Call, sink: Sink) -> jsonrpc.Response:
        request_id, request = session.register(request)
        answered = False
        questions = Questions(self._tasks, sink, lambda asked, answer: self._answer(session, asked, answer))
        try:
            response = await self._send(session, b"POST", request.encode(request_id), call)
            try:
                answer = await self._outcome(response, session, request_id, call, questions)
            finally:
                response.close()
            answered = True
            return answer
        finally:
            questions.end()
            session.release(request_id)
            if not answered and call.execution is Execution.UNKNOWN:
                self._cancel(session, request_id)

    async def _outcome(
        self, response: Response, session: Session, request_id: bytes, call: Call, sink: Questions
    ) -> jsonrpc.Response:
        if response.status == 404 and session.id:
            call.execution = Execution.NONE
            raise SessionLost(f"the MCP server {self._endpoint.upstream!r} lost its session")
        if response.status != 200:
            error = await http.error_reply(response, self._endpoint, request_id)
            if error is None:
                failure = http.status_error(response, self._endpoint)
                call.execution = failure.execution
                raise failure
            if session.id and response.status == 400 and is_about_session(error):
                call.execution = Execution.NONE
                raise SessionLost(f"the MCP server {self._endpoint.upstream!r} lost its session")
            if response.status == 400 and may_be_modern(error):
                call.execution = Execution.NONE
                raise http.EraChanged(self._endpoint.upstream, self.era, error)
            call.execution = Execution.DONE
            return error
        return await self._final(response, session, request_id, call, sink)

    async def _final(
        self, response: Response, session: Session, request_id: bytes, call: Call, sink: Questions
    ) -> jsonrpc.Response:
        """The response, over as many connections as the server needs (2025-11-25, basic/transports, "Polling")."""
        parser = sse.Parser()
        try:
            for resumes in range(_MAX_RESUMES):
                replies = http.replies(response, self._endpoint, parser)
                answer = await self._read(replies, session, request_id, sink, resumed=resumes > 0)
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
        self, replies: http.Reply | http.Replies, session: Session, request_id: bytes, sink: Questions, *, resumed: bool
    ) -> jsonrpc.Response | None:
        """Pass on what comes until the response; None when the stream ends before it."""
        while (message := await self._next(replies)) is not None:
            if isinstance(message, jsonrpc.Response):
                if message.id == request_id:
                    return message
                if not resumed:  # some servers replay what belonged to other streams
                    raise http.nonsense(self._endpoint, "it answered another request than the one it was sent")
            elif message.id:
                sink.put(message)
            else:
                await self._notify(session, message, request_id, sink.sink)
        return None

    async def _next(self, replies: http.Reply | http.Replies) -> jsonrpc.Message | None:
        """The next message; a stream that can be resumed may also just break off."""
        try:
            return await replies.next()
        except UpstreamLost:
            if isinstance(replies, http.Replies) and replies.parser.last_id:
                return None
            raise

    async def _notify(self, session: Session, message: jsonrpc.Request, request_id: bytes, sink: Sink) -> None:
        if message.method == "notifications/progress":
            restored = session.restore(message)
            if restored is None or message.params["progressToken"] != request_id:
                return  # of no request in flight, or of another caller's
            message = restored
        elif message.method != "notifications/message":
            self._hearing.deliver(message)  # what no request caused may come on any stream; it belongs to the listeners
            return
        await sink.notify(message.method, message.encode(b""))

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

    async def listen(self, sink: Sink, begun: Callable[[], Awaitable[None]]) -> None:
        """Pass on what the session says by itself, until that is over (then `UpstreamLost`) or nobody wants it.

        Servers put each message on one stream only, so all listeners of a session share it. `begun` is awaited when the
        stream is open.
        """
        await self._current()
        await self._hearing.listen(sink, begun)

    async def hear(self, deliver: Callable[[jsonrpc.Request], None], opened: Callable[[], None]) -> None:
        """Read the session's GET stream to its end. Raises `NoStream` when the server offers none."""
        session = await self._current()
        response = await self._send(session, b"GET", b"", Call(rpc="listen", request_id="listen"))
        try:
            if response.status == 404 and session.id:
                self._forget(session)
                raise SessionLost(f"the MCP server {self._endpoint.upstream!r} lost its session")
            if response.status == 409:
                return  # it has not noticed the end of the stream before this one yet: asked again in a moment
            if response.status in (401, 403, 429) or response.status >= 500:
                raise http.status_error(response, self._endpoint)
            if response.status != 200:
                raise NoStream(f"the MCP server {self._endpoint.upstream!r} offers no stream of its own")
            replies = http.replies(response, self._endpoint)
            opened()
            while (message := await replies.next()) is not None:
                if isinstance(message, jsonrpc.Request) and not message.id:
                    deliver(message)
                elif isinstance(message, jsonrpc.Request):
                    self._answer(session, message, await reply(message, Ignore()))
        finally:
            response.close()

    async def subscribe(self, uri: bytes, call: Call) -> None:
        """Have the server tell of changes to a resource (`uri` is JSON text); the first of several subscribers asks."""
        session = await self._current()
        session.subscribers[uri] += 1
        if session.subscribers[uri] == 1:
            await self.exchange(jsonrpc.Request("resources/subscribe", params={"uri": uri}), call, Ignore())

    def unsubscribe(self, uri: bytes) -> None:
        """The last of several subscribers tells the server, which nobody waits for."""
        session = self._session
        if session is None or not session.subscribers[uri]:
            return
        session.subscribers[uri] -= 1
        if not session.subscribers[uri]:
            request_id, request = session.register(jsonrpc.Request("resources/unsubscribe", params={"uri": uri}))
            self._courtesy(session, request.encode(request_id), "unsubscribe")

    async def want_logs(self, level: str, call: Call) -> None:
        """Have the server log at `level` or below; the session's lowest wish wins."""
        session = await self._current()
        if not session.wants_level(level):
            return
        before, session.log_level = session.log_level, level
        request = jsonrpc.Request("logging/setLevel", params={"level": b'"%b"' % level.encode()})
        try:
            await self.exchange(request, Call(rpc="logs", request_id=call.request_id, trace=call.trace), Ignore())
        except BaseException as error:
            session.log_level = before
            if isinstance(error, SidecarError):
                error.execution = Execution.NONE  # the call that wants the logs has not begun
            raise

    async def check(self) -> None:
        """`ping` on the session that stands; a link without one has nothing to check."""
        session = self._session
        if session is None:
            raise SessionLost(f"the MCP server {self._endpoint.upstream!r} lost its session")
        try:
            await self._attempt(session, jsonrpc.Request("ping"), Call(rpc="monitor", request_id="monitor"), Ignore())
        except SessionLost:
            self._forget(session)
            raise

    def close_idle(self, unused_for: float) -> None:
        self._client.close_idle(unused_for)

    async def close(self) -> None:
        """DELETE the session, as a courtesy, then drop every socket."""
        session, self._session = self._session, None
        self._hearing.lose()
        try:
            if session is not None and session.id:
                async with asyncio.timeout(_COURTESY_SECONDS):
                    response = await self._send(session, b"DELETE", b"", Call(rpc="close", request_id="close"))
                    response.close()
        except (SidecarError, TimeoutError):
            pass  # the server will expire the session by itself
        finally:
            self._client.close()

    def _cancel(self, session: Session, request_id: bytes) -> None:
        """Nobody waits for this request any more: a disconnect alone does not say so in this era."""
        params = {"requestId": request_id, "reason": b'"the caller went away"'}
        self._courtesy(session, jsonrpc.Request("notifications/cancelled", params=params).encode(b""), "cancel")

    def _answer(self, session: Session, asked: jsonrpc.Request, answer: jsonrpc.Response) -> None:
        self._courtesy(session, answer.encode(asked.id), "answer")

    def _courtesy(self, session: Session, message: bytes, what: str) -> None:
        self._tasks.create_task(self._try_post(session, message), name=f"{what} {self._endpoint.upstream}")

    async def _try_post(self, session: Session, message: bytes) -> None:
        try:
            async with asyncio.timeout(_COURTESY_SECONDS):
                await self._post(session, message, Call(rpc="courtesy", request_id="courtesy"))
        except (SidecarError, TimeoutError):
            pass  # the path is broken, which the exchange itself has reported or will

    async def _post(self, session: Session, message: bytes, call: Call) -> None:
        """A notification or an answer: 202, or whatever a lenient server says instead."""
        response = await self._send(session, b"POST", message, call)
        try:
            if response.status >= 300:
                raise http.status_error(response, self._endpoint)
            await http.body(response, self._endpoint)
        finally:
            response.close()

    async def _send(self, session: Session, method: bytes, body: bytes, call: Call, extra: bytes = b"") -> Response:
        headers = b"%b%bmcp-protocol-version: %b\r\n%b" % (
            self._fixed,
            http.call_headers(call),
            session.version.encode(),
            extra,
        )
        if session.id:
            headers = b"%b%b: %b\r\n" % (headers, SESSION, session.id)
        return await http.send(self._client, method, self._endpoint, headers, body, call)
