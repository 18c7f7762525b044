"""The HTTP face of the 2025 revisions: sessions, streams that can be resumed, answers to questions. Knows no upstream.

A request outlasts its connection: in this era a client that disconnects has cancelled nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine
from typing import Any

from mcp_sidecar.call import Call, certified, new_request_id
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.errors import HeaderMismatch, HttpRefused, InvalidCall, SidecarError
from mcp_sidecar.inbound.chain import Chain, let_through
from mcp_sidecar.inbound.http import batch
from mcp_sidecar.inbound.http.guard import Guard, named_server
from mcp_sidecar.inbound.http.opening import Opening
from mcp_sidecar.inbound.http.post import Post
from mcp_sidecar.inbound.http.sessions import Bond, HttpSession, Sessions
from mcp_sidecar.inbound.http.silence import Silence
from mcp_sidecar.inbound.http.streams import Room
from mcp_sidecar.inbound.session.conversation import Conversation
from mcp_sidecar.inbound.session.greeting import greet
from mcp_sidecar.protocol import eras, headers, jsonrpc
from mcp_sidecar.protocol.batch import is_batch
from mcp_sidecar.protocol.jsonrpc import Message, Request, Response
from mcp_sidecar.settings import HttpSettings
from mcp_sidecar.tasks import Job, end
from mcp_sidecar.wire.faults import Disconnected
from mcp_sidecar.wire.http_server import Head, Headers, Reply, fields
from mcp_sidecar.wire.http_server import Request as HttpRequest

_VERSIONS = frozenset(version.encode() for version in eras.LEGACY_VERSIONS)
_ALLOW = (b"allow", b"GET, POST, DELETE")
# What the log calls requests of this face that are no MCP method; none of MCP begins like this.
_STREAM, _END, _ANSWER, _BATCH = "session/stream", "session/end", "session/answer", "session/batch"
SESSION_METHODS = frozenset((_STREAM, _END, _ANSWER, _BATCH))
_BODILESS = {"GET": _STREAM, "DELETE": _END}
_CLOSING_SECONDS = 0.5
_SWEEPS = 8  # per idle time: a session is ended late by an eighth of it at most


def is_legacy(head: Head) -> bool:
    """The head is one of the 2025 revisions: it names one of them, or none (MCP 2026-07-28, basic/versioning)."""
    named = head.headers.get(headers.PROTOCOL_VERSION)
    if named is None:
        return True
    return named in _VERSIONS and _VERSIONS.issuperset(head.headers.all(headers.PROTOCOL_VERSION))


class LegacyFace:
    """Answers requests of clients that begin with `initialize`. `tasks` is the parent of all the work."""

    def __init__(
        self,
        engine: Engine,
        guard: Guard,
        chain: Chain,
        settings: HttpSettings,
        tasks: asyncio.TaskGroup,
        silence: Silence,
    ) -> None:
        self._engine = engine
        self._guard = guard
        self._tasks = tasks
        self._silence = silence
        self._conversation = Conversation(engine, tasks)
        self._run = chain.around(self._handle, recover, conclude=conclude)
        self._batches = batch.Batches(chain.inside(), self._conversation, tasks)
        self._sessions = Sessions(settings.max_sessions, settings.session_idle)
        self._sweep_seconds = settings.session_idle / _SWEEPS
        self._sweeping: asyncio.TimerHandle | None = None
        self._room = Room()
        self._jobs: set[Job[None]] = set()

    def __call__(self, request: HttpRequest, reply: Reply, opening: Opening) -> Awaitable[object]:
        """Answer one request."""
        call = Call("", opening.request_id or new_request_id(), request.peer, trace=opening.trace)
        call.principal = certified(request.certified)
        call.authorization = opening.authorization
        post = Post(request, opening, reply, call.request_id, self._silence)
        if request.head.method == "GET":
            return self._carry(post, call)
        reply.outlasting = True
        return self._run(post, call)

    async def _carry(self, post: Post, call: Call) -> None:
        """Answer a GET, which ends in good order when its client leaves."""
        job = self._start(self._run(post, call), "2025-era stream")
        try:
            await asyncio.wait({job.task})
        except asyncio.CancelledError:
            post.leave()
            raise
        if not job.task.cancelled():
            job.result()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> Job[None]:
        job = Job(self._tasks, work, name)
        self._jobs.add(job)
        job.task.add_done_callback(lambda _: self._jobs.discard(job))
        return job

    def _handle(self, call: Call, post: Post) -> Awaitable[Response | None]:
        """The response to come, None when the answer is complete or has no body."""
        if post.opening.server is None:
            self._check(post.request.head, post.opening)
        call.method = _BODILESS.get(post.request.head.method, "")
        match post.request.head.method:
            case "POST":
                return self._post(call, post)
            case "GET":
                return self._get(call, post)
        return self._delete(call, post)

    def _check(self, head: Head, opening: Opening) -> None:
        """May this head come in at all? Raises `HttpRefused`, or `InvalidCall` for what has to be unique and is not."""
        self._guard.check_source(head.headers)
        server = named_server(head.path)
        if head.method == "POST":
            self._guard.check_types(head)
        elif head.method == "GET":
            self._guard.check_listener(head)
        elif head.method != "DELETE":
            raise HttpRefused(405, "only GET, POST and DELETE", _ALLOW)
        opening.session = _unique(head.headers, headers.SESSION)
        opening.version = _unique(head.headers, headers.PROTOCOL_VERSION)
        opening.server = server

    async def _delete(self, call: Call, post: Post) -> None:
        self._end(self._session(call, post))
        post.accept(204)

    async def _post(self, call: Call, post: Post) -> Response | None:
        message = _read(call, post)
        if isinstance(message, Request) and _begins(message) and post.opening.session is None:
            return await self._begin(call, post, message)
        session = self._session(call, post)
        try:
            if message is None:
                await self._batches.run(call, post, session)
                return None
            if post.message_id:
                self._silence.add(post)  # it can be answered from here on
            return await self._conversation.take(call, message, session, post)
        finally:
            self._sessions.used(session, time.monotonic())

    async def _begin(self, call: Call, post: Post, request: Request) -> Response:
        bond = Bond(call.principal.subject, post.opening.server or "")
        welcome = await greet(self._engine, call, request, bond.server)
        if isinstance(welcome, Response):
            return welcome
        if post.reply.lost:  # nobody else would ever know its id
            self._engine.forget(welcome.client)
        else:
            session = HttpSession(welcome.client, bond, welcome.news, self._room)
            loser = self._sessions.open(session, time.monotonic())
            if loser is not None:
                self._end(loser)
            self._sweep_later()
            post.lines += fields((headers.SESSION, session.id.encode()))
        return welcome.answer

    def _session(self, call: Call, post: Post) -> HttpSession:
        """The session that the head names. Raises `InvalidCall`, or `UnknownSession`, which is 404."""
        opening = post.opening
        if opening.session is None:
            raise InvalidCall("the header Mcp-Session-Id is missing; a session begins with initialize")
        bond = call.principal.subject, opening.server or ""
        session = self._sessions.find(opening.session, bond, time.monotonic())
        if opening.version is not None and opening.version != session.client.version:
            raise InvalidCall(f"MCP-Protocol-Version has to be {session.client.version} in this session")
        post.session = session
        call.client, call.server = session.client, session.server
        return session

    async def _get(self, call: Call, post: Post) -> None:
        """Carry a stream: the session's own one, or the rest of another."""
        head = post.request.head
        session = self._session(call, post)
        last = head.headers.get(headers.LAST_EVENT)
        if last is not None:
            stream, after = session.log.find(last)
            missed = stream.missed(after)
        else:
            stream = session.log.news
            missed = stream.untold()
            if stream.carried:
                raise HttpRefused(409, "the session has such a stream already")
        if post.reply.lost:
            return  # nobody would tell that the stream is no longer carried
        released = post.open(stream)
        self._silence.add(post)
        try:
            if missed:
                await stream.write(b"".join(missed))
            if stream.finished:
                stream.release()
            elif last is None:
                stream.prime()
            if stream is session.log.news and session.offered:
                await self._conversation.news(session).attend()
            await released
        finally:
            post.stop()
            stream.leave(post.reply)
            post.stream = None  # it is not this request's to end
            self._sessions.used(session, time.monotonic())
            if session.news is not None:
                await session.news.neglect()

    def _end(self, session: HttpSession) -> None:
        """Nothing of a session goes on; its calls are cancelled before its sessions at servers are closed."""
        self._sessions.remove(session)
        session.close()
        if session.calls:
            self._start(self._forget(session), "end a session")
        else:
            self._engine.forget(session.client)

    async def _forget(self, session: HttpSession) -> None:
        try:
            await session.quiet()
        finally:
            self._engine.forget(session.client)

    def _sweep_later(self) -> None:
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(self._sweep_seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        for session in self._sessions.expire(time.monotonic()):
            self._end(session)
        if len(self._sessions):
            self._sweep_later()

    @property
    def sessions(self) -> int:
        """How many there are."""
        return len(self._sessions)

    async def close(self) -> None:
        """End every session; calls that still run are cancelled after a moment."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for session in self._sessions:
            self._sessions.remove(session)
            session.close()
            self._engine.measures.conversed(time.monotonic() - session.client.began)
        if self._jobs:
            await asyncio.wait({job.task for job in self._jobs}, timeout=_CLOSING_SECONDS)
        await end(self._jobs, _CLOSING_SECONDS)


def _begins(request: Request) -> bool:
    return request.method == "initialize" and request.id != b""


def _unique(given: Headers, name: bytes) -> str | None:
    """The value of a header that may be there once. Raises `InvalidCall`."""
    value = given.get(name)
    if value is not None and given.repeated and len(given.all(name)) > 1:
        raise InvalidCall(f"the header {name.decode()} is there twice")
    return None if value is None else value.decode("latin-1")


def _read(call: Call, post: Post) -> Message | None:
    """The one message in the body, None for a batch. Raises `InvalidCall` and its kin."""
    if is_batch(post.request.body):
        call.method = _BATCH
        return None
    message = jsonrpc.parse_of_client(post.request.body)
    call.method = _ANSWER
    if isinstance(message, Request):
        call.method = message.method
        post.message_id = message.id
        if eras.META_VERSION in message.meta:
            raise HeaderMismatch("params._meta names another era than the header MCP-Protocol-Version")
    return message


def conclude(_call: Call, post: Post, response: Response | None) -> Awaitable[None] | None:
    """Send what a request has come to, unless that is done."""
    if response is not None:
        return post.end(response)
    if not post.reply.started:
        post.accept()
    return None


async def recover(call: Call, post: Post, failure: SidecarError, error: BaseException) -> None:
    """Turn whatever came out of a handler into an answer. Nothing but our own words reaches the client."""
    let_through(error)
    try:
        await post.fail(failure, call)
    except Disconnected:
        return
