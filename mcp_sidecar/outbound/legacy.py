"""A link to a server of the 2025 era: one conversation, whatever carries it. Knows no wire and no client.

Its requests come in the legacy shape. A session that the server forgot is begun anew, once, under the call that
noticed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from mcp_sidecar.call import NO_TRACE, Call, Trace
from mcp_sidecar.errors import Execution, InvalidCall, SidecarError, UpstreamProtocolError, UpstreamUnavailable
from mcp_sidecar.outbound.carrier import Carrier
from mcp_sidecar.outbound.flights import Flights
from mcp_sidecar.outbound.hearing import Hearing
from mcp_sidecar.outbound.legacy_refusals import SessionLost, not_given, refused_handshake
from mcp_sidecar.outbound.link import Ignore, Sink
from mcp_sidecar.outbound.measures import UNMEASURED, Measures
from mcp_sidecar.outbound.questions import Questions, may_be_asked, reply_of_nobody
from mcp_sidecar.protocol import traced
from mcp_sidecar.protocol.eras import LATEST_LEGACY, Era
from mcp_sidecar.protocol.handshake import CLIENT_INFO, ServerProfile, initialize_request, initialized
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.protocol.session import Session

_PROGRESS = "notifications/progress"
_COURTESY_SECONDS = 1.0  # for messages nobody waits for: cancellations, answers of ours, what clients tell
_PAUSES = (0.05, 0.2, 0.5)  # before the answer to a question is sent again, to a server that cannot have got it


class LegacyConversation:
    """One session, used by many calls at once; implements `link.LegacyLink`.

    `capabilities` and `info` (JSON text) are what the session says of the client.
    """

    era = Era.LEGACY
    stateful = True

    def __init__(
        self,
        upstream: str,
        carrier: Carrier,
        tasks: asyncio.TaskGroup,
        *,
        version: str = LATEST_LEGACY,
        capabilities: bytes = b"{}",
        info: bytes = CLIENT_INFO,
        measures: Measures = UNMEASURED,
    ) -> None:
        self._upstream = upstream
        self._carrier = carrier
        self._tasks = tasks
        self._flights: Flights[None] = Flights(tasks)
        self._offer = version
        self._capabilities = capabilities
        self._info = info
        self._profile = ServerProfile(version)
        self._measures = measures
        self._session: Session | None = None
        self._since = 0.0  # when it began (monotonic)
        self._begun: Session | None = None  # by a handshake that has not ended well (yet): the server may keep it
        self._hearing = Hearing(self, tasks)
        self._asked: list[Questions] = []
        """The calls in flight whose client can be asked, where questions may come on a stream of the session's own."""
        self._askable = carrier.has_own_stream and may_be_asked(capabilities)
        self.transport = carrier.transport
        carrier.stray = self._stray

    @property
    def profile(self) -> ServerProfile:
        return self._profile

    @property
    def session(self) -> str:
        """See `LegacyLink.session`."""
        return "" if self._session is None else self._session.shown

    async def open(self) -> None:
        """`initialize`, then `notifications/initialized`; callers at the same time share one handshake."""
        await self._flights.join("initialize", self._initialize)

    async def exchange(self, request: Request, call: Call, sink: Sink) -> Response:
        """See `Link.exchange`."""
        return await self._exchange(request, call, sink)

    async def _exchange(self, request: Request, call: Call, sink: Sink | None = None) -> Response:
        """`sink` is None for requests of our own, which no client waits for."""
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
            raise SessionLost(f"the MCP server {self._upstream!r} keeps losing its session")
        return self._session

    def _forget(self, session: Session) -> None:
        if self._session is session:
            self._stand(None)
            self._hearing.lose()  # the next session knows nothing of what was subscribed to on this one

    def _stand(self, session: Session | None) -> None:
        """This is the session from now on; the one there was is over."""
        now = time.monotonic()
        if self._session is not None:
            self._measures.lasted(now - self._since)
        self._session, self._since = session, now

    async def _initialize(self) -> None:
        call = Call(rpc="handshake", request_id="handshake")
        seconds = self._carrier.handshake_seconds
        try:
            async with asyncio.timeout(seconds):
                self._stand(await self._handshake(call))
        except InvalidCall as error:
            raise UpstreamProtocolError(
                f"the MCP server {self._upstream!r} broke the protocol: its answer to initialize cannot be used",
                metadata={"server": self._upstream},
            ) from error
        except SessionLost as error:  # nothing was sent in it yet
            message = f"the MCP server {self._upstream!r} forgot its session before it had begun"
            raise UpstreamUnavailable(message, metadata={"server": self._upstream}) from error
        except TimeoutError as error:
            message = f"the MCP server {self._upstream!r} did not finish initialize in {seconds:g} s"
            raise UpstreamUnavailable(message, metadata={"server": self._upstream}) from error
        except SidecarError as error:
            error.execution = Execution.NONE  # the call that needs the session has not begun
            raise

    async def _handshake(self, call: Call) -> Session:
        if self._begun is not None:
            await self._carrier.end(self._begun)
        session = self._begun = Session(self._offer)
        request_id, request = session.register(initialize_request(self._offer, self._capabilities, self._info))
        # A server that asks before there is a session has to do without the answer if need be.
        questions = Questions(self._tasks, session, Ignore(), self._answer, self._mention)
        receive = partial(self._receive, session, request_id, questions)
        answer = await self._carrier.begin(session, request_id, request.encode(request_id), call, receive)
        if answer.error is not None:
            raise refused_handshake(self._upstream, answer)
        self._profile = initialized(answer.result or b"")
        session.version = self._profile.version
        await self._carrier.tell(session, Request("notifications/initialized").encode(b""), call)
        self._begun = None
        return session

    async def _attempt(self, session: Session, request: Request, call: Call, sink: Sink | None = None) -> Response:
        request_id, request = session.register(request)
        questions = self._questions(session, sink or Ignore())
        if sink is not None and self._askable:
            await self._hearing.attend()
            questions.watch()  # by what comes on the session's own stream, which is not read here
            self._asked.append(questions)
        receive = partial(self._receive, session, request_id, questions)
        answered = False
        try:
            message = request.encode(request_id)
            answer = await self._carrier.request(session, request_id, message, call, receive, ours=sink is None)
            answered = True
            return answer
        except asyncio.CancelledError:
            if (failure := questions.cut_off()) is not None:
                raise failure from failure.__cause__
            raise
        finally:
            if questions in self._asked:
                self._asked.remove(questions)
            questions.end()
            session.release(request_id)
            if not answered and call.execution is Execution.UNKNOWN:
                self._cancel(session, request_id)

    def _questions(self, session: Session, sink: Sink) -> Questions:
        return Questions(self._tasks, session, sink, self._answer, self._give)

    async def _receive(self, session: Session, request_id: bytes, questions: Questions, message: Request) -> None:
        """What came on the way to an answer: to the caller, or to whoever listens to the session."""
        if message.id:
            questions.watch()
            questions.put(message)
            return
        if message.method == _PROGRESS:
            restored = session.restore(message)
            if restored is None or message.params["progressToken"] != request_id:
                return  # of no request in flight, or of another caller's
            message = restored
        elif message.method != "notifications/message":
            self._hearing.deliver(message)  # what no request caused may come on any stream; it belongs to the listeners
            return
        await questions.sink.notify(message.method, message.encode(b""))

    def _stray(self, session: Session, message: Request) -> None:
        """What names no call. A question can only be that of the only call in flight (servers before SEP-2260)."""
        if message.id and len(self._asked) == 1:
            self._asked[0].put(message)
        elif message.id:
            self._answer(session, message, reply_of_nobody(message))
        else:
            self._hearing.deliver(message)

    async def listen(self, sink: Sink, begun: Callable[[], Awaitable[None]]) -> None:
        """See `LegacyLink.listen`. Servers put each message on one stream only, so all listeners share it."""
        await self._current()
        await self._hearing.listen(sink, begun)

    async def hear(self, opened: Callable[[], None]) -> None:
        """See `hearing.Source`."""
        session = await self._current()
        try:
            await self._carrier.hear(session, opened)
        except SessionLost:
            self._forget(session)
            raise

    async def subscribe(self, uri: bytes, call: Call) -> bytes | None:
        """See `LegacyLink.subscribe`. The first of several subscribers asks, and all who come before its answer."""
        session = await self._current()
        if not session.subscribers[uri]:
            try:
                answer = await self._exchange(Request("resources/subscribe", params={"uri": uri}), call)
            except BaseException:
                self._take_back(uri)  # it may have been heard all the same
                raise
            if answer.error is not None:
                return answer.error
            session = self._session or session  # it may have been begun anew
        session.subscribers[uri] += 1
        return None

    def unsubscribe(self, uri: bytes) -> None:
        """See `LegacyLink.unsubscribe`. The last of several subscribers tells the server, which nobody waits for."""
        session = self._session
        if session is None or not session.subscribers[uri]:
            return
        session.subscribers[uri] -= 1
        self._take_back(uri)

    def _take_back(self, uri: bytes) -> None:
        session = self._session
        if session is not None and not session.subscribers[uri]:
            request_id, request = session.register(Request("resources/unsubscribe", params={"uri": uri}))
            self._courtesy(session, request.encode(request_id), "unsubscribe")

    async def want_logs(self, level: str, call: Call) -> None:
        """See `LegacyLink.want_logs`."""
        session = await self._current()
        if not session.wants_level(level):
            return
        before, session.log_level = session.log_level, level
        request = Request("logging/setLevel", params={"level": b'"%b"' % level.encode()})
        try:
            await self._exchange(request, Call(rpc="logs", request_id=call.request_id, trace=call.trace))
        except BaseException as error:
            session.log_level = before
            if isinstance(error, SidecarError):
                error.execution = Execution.NONE  # the call that wants the logs has not begun
            raise

    async def tell(self, notification: Request) -> None:
        """See `LegacyLink.tell`."""
        session = self._session
        said = session.reported(notification) if session and notification.method == _PROGRESS else notification
        if session is not None and said is not None:
            told, _ = traced.read(notification)
            await self._try_to_tell(session, said.encode(b""), told)

    async def check(self) -> None:
        """`ping` on the session that stands; a link without one has nothing to check."""
        session = self._session
        if session is None:
            raise SessionLost(f"the MCP server {self._upstream!r} lost its session")
        try:
            await self._attempt(session, Request("ping"), Call(rpc="monitor", request_id="monitor"))
        except SessionLost:
            self._forget(session)
            raise

    def close_idle(self, unused_for: float) -> None:
        self._carrier.close_idle(unused_for)

    async def close(self) -> None:
        """End the session, then the wire."""
        session = self._session
        self._stand(None)
        self._hearing.lose()
        await self._carrier.close(session or self._begun)

    def _cancel(self, session: Session, request_id: bytes) -> None:
        """Nobody waits for this request any more: a disconnect alone does not say so in this era."""
        params = {"requestId": request_id, "reason": b'"the caller went away"'}
        self._courtesy(session, Request("notifications/cancelled", params=params).encode(b""), "cancel")

    def _answer(self, session: Session, asked: Request, answer: Response) -> None:
        self._courtesy(session, answer.encode(asked.id), "answer")

    async def _mention(self, session: Session, asked: Request, answer: Response) -> None:
        await self._try_to_tell(session, answer.encode(asked.id))

    async def _give(self, session: Session, asked: Request, answer: Response) -> None:
        """Send the answer to a question that the server waits for; for as long as the exchange lasts.

        Once more only where the server cannot have got it. Raises `UpstreamLost`, or `CredentialsRefused`.
        """
        message = answer.encode(asked.id)
        for pause in (*_PAUSES, None):
            call = Call(rpc="answer", request_id="answer")
            try:
                await self._carrier.tell(session, message, call)
            except SidecarError as error:
                not_sent = type(error) is UpstreamUnavailable and call.execution is Execution.NONE
                if call.execution is Execution.DONE:
                    return
                if pause is None or not not_sent:
                    raise not_given(self._upstream, asked.method, error) from error
                await asyncio.sleep(pause)
            else:
                return

    def _courtesy(self, session: Session, message: bytes, what: str) -> None:
        self._tasks.create_task(self._try_to_tell(session, message), name=f"{what} {self._upstream}")

    async def _try_to_tell(self, session: Session, message: bytes, context: Trace = NO_TRACE) -> None:
        call = Call(rpc="courtesy", request_id="courtesy", trace=context)
        try:
            async with asyncio.timeout(_COURTESY_SECONDS):
                await self._carrier.tell(session, message, call)
        except (SidecarError, TimeoutError):
            pass  # the path is broken, which the exchange itself has reported or will
