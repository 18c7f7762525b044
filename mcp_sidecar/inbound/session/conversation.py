"""What a message within a session means: a call of the engine, or something the sidecar does itself. Knows no wire."""

from __future__ import annotations

import asyncio

from mcp_sidecar.call import Call
from mcp_sidecar.engine.annotation import annotate
from mcp_sidecar.engine.downgrade import unknown_method
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.errors import Cancelled, InvalidCall, InvalidParams
from mcp_sidecar.inbound.session.greeting import SUBSCRIBE
from mcp_sidecar.inbound.session.news import News
from mcp_sidecar.inbound.session.session import Session
from mcp_sidecar.inbound.session.telling import Telling, goes_on
from mcp_sidecar.outbound.link import Sink
from mcp_sidecar.protocol import eras
from mcp_sidecar.protocol.jsonrpc import Message, Request, Response
from mcp_sidecar.protocol.session import LOG_LEVELS

# Requests of 2026-07-28, which mean nothing in a session.
_MODERN_ONLY = frozenset((eras.DISCOVER, eras.LISTEN))
_SUBSCRIBE, _UNSUBSCRIBE = "resources/subscribe", "resources/unsubscribe"
# What the engine is not asked, and therefore takes no note of.
_OURS = frozenset(("ping", _SUBSCRIBE, _UNSUBSCRIBE))


class Conversation:
    """Does what clients ask for in their sessions."""

    def __init__(self, engine: Engine, tasks: asyncio.TaskGroup) -> None:
        self._engine = engine
        self._tasks = tasks

    async def take(self, call: Call, message: Message, session: Session, sink: Sink) -> Response | None:
        """The response, None for what has none. Raises `SidecarError`s."""
        if isinstance(message, Response) or not message.id:
            self.hear(message, session)
            return None
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # only tasks wait
        with session.calling(message.id, task) as running:
            try:
                return await self._answer(call, message, session, sink)
            except asyncio.CancelledError as error:
                # The task may be that of a connection, which goes on: it is the request alone that was cancelled.
                if not running.cancelled or task.uncancel():
                    raise
                raise Cancelled("the client cancelled the request", execution=call.execution) from error

    def hear(self, message: Message, session: Session) -> None:
        """A client's answer or notification."""
        if isinstance(message, Response):
            session.answer(message)
        elif message.method == "notifications/cancelled":
            session.cancel(message.params.get("requestId", b""))
        elif goes_on(message):
            if session.telling is None:
                session.telling = Telling(session.client, self._engine, self._tasks)
            session.telling.put(message)

    async def _answer(self, call: Call, request: Request, session: Session, sink: Sink) -> Response:
        method = request.method
        if method in _OURS:
            annotate(call, request, self._engine.sampler, self._engine.baggage)
        if method == "ping":
            return Response(request.id, result=b"{}")
        if method == "initialize":
            raise InvalidCall("this session has been initialized; a new one begins without Mcp-Session-Id")
        if method in _MODERN_ONLY:
            return unknown_method(request)
        if method in (_SUBSCRIBE, _UNSUBSCRIBE):
            return await self._subscribe(call, request, session)
        if session.telling is not None:
            await session.telling.passed()
        response = await self._engine.run(call, request, session.server, sink)
        if method == "logging/setLevel" and response.error is None:
            await self._listen_at_level(call, request, session)
        return response

    async def _subscribe(self, call: Call, request: Request, session: Session) -> Response:
        if SUBSCRIBE not in session.offered:
            return unknown_method(request)
        uri = request.text("uri")
        if uri is None:
            what = "must be a string"
            raise InvalidParams(f'"params.uri" {what}', violations=(("params.uri", what),))
        call.name = uri
        news = self.news(session)
        if request.method == _UNSUBSCRIBE:
            await news.unsubscribe(uri, call)
        elif (error := await news.subscribe(uri, call)) is not None:
            return Response(request.id, error=error)
        return Response(request.id, result=b"{}")

    async def _listen_at_level(self, call: Call, request: Request, session: Session) -> None:
        level = request.text("level")
        if level in LOG_LEVELS:
            session.client.log_level = level
            if session.news is not None:
                await session.news.refresh(call)

    def news(self, session: Session) -> News:
        """What listens for a session; made when it is first needed."""
        if session.news is None:
            session.news = News(session, self._engine, self._tasks)
        return session.news
