"""Conversations with 2025-era clients as a bounded table. Knows no wire and no upstream.

Source: MCP 2025-11-25, basic/transports, "Session Management".
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from mcp_sidecar.call import Client
from mcp_sidecar.errors import InvalidCall, Overloaded, UnknownSession
from mcp_sidecar.inbound.http.streams import EventLog, Room
from mcp_sidecar.protocol.eras import LATEST_LEGACY
from mcp_sidecar.protocol.jsonrpc import Response

if TYPE_CHECKING:
    from mcp_sidecar.inbound.http.news import News

MOST_CALLS = 256
_SECRET_BYTES = 24
_RETRY_SECONDS = 10.0


class Bond(NamedTuple):
    """Whose a session is: the caller, and the upstream that the path names (empty for all)."""

    subject: str
    server: str


class Running:
    """A request in flight."""

    __slots__ = ("cancelled", "task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self.cancelled = False
        """The client did it."""

    def cancel(self) -> None:
        """Nobody wants the answer any more; said twice, it is the same."""
        if not self.cancelled:
            self.cancelled = True
            self.task.cancel()


class Session:
    """One conversation. `id` is a secret; `used` is when it was used last, in seconds on the table's clock."""

    __slots__ = (
        "_asked",
        "_log",
        "_questions",
        "_quiet",
        "_room",
        "bond",
        "calls",
        "client",
        "id",
        "news",
        "offered",
        "used",
    )

    def __init__(self, client: Client, bond: Bond, offered: tuple[str, ...], room: Room) -> None:
        self.id = secrets.token_urlsafe(_SECRET_BYTES)
        self.client = client
        self.bond = bond
        self.offered = offered
        """What the server tells of by itself, see `Welcome.news`."""
        self.used = 0.0
        self.calls: dict[bytes, Running] = {}
        """Requests in flight by id, as JSON text."""
        self.news: News | None = None
        self._room = room
        self._log: EventLog | None = None
        self._questions: dict[bytes, asyncio.Future[Response]] = {}
        self._asked = 0
        self._quiet: asyncio.Event | None = None  # while somebody waits for it

    @property
    def log(self) -> EventLog:
        """What the client was sent as events; made when there is the first one."""
        if self._log is None:
            self._log = EventLog(self._room, priming=self.client.version == LATEST_LEGACY)
        return self._log

    @property
    def busy(self) -> bool:
        """Somebody waits for something of it: it may not be ended for want of use."""
        return bool(self.calls) or (self._log is not None and self._log.news.carried)

    @contextmanager
    def calling(self, request_id: bytes, task: asyncio.Task[object]) -> Iterator[Running]:
        """A request is in flight in `task`. Raises `InvalidCall` for an id that is in use, and `Overloaded`."""
        if request_id in self.calls:
            raise InvalidCall("a request with this id is in flight", violations=(("id", "is in use"),))
        if len(self.calls) >= MOST_CALLS:
            raise Overloaded(f"{MOST_CALLS} requests of this session are in flight, the most allowed")
        running = self.calls[request_id] = Running(task)
        try:
            yield running
        finally:
            del self.calls[request_id]
            if self._quiet is not None and not self.calls:
                self._quiet.set()

    async def quiet(self) -> None:
        """Wait until no request is in flight."""
        if self.calls:
            self._quiet = asyncio.Event()
            await self._quiet.wait()

    def cancel(self, request_id: bytes) -> None:
        """The client no longer wants an answer."""
        running = self.calls.get(request_id)
        if running is not None:
            running.cancel()

    @contextmanager
    def asking(self) -> Iterator[tuple[bytes, asyncio.Future[Response]]]:
        """An id for a question to the client, and the answer to come."""
        self._asked += 1
        question_id = b"%d" % self._asked
        answer = self._questions[question_id] = asyncio.get_running_loop().create_future()
        try:
            yield question_id, answer
        finally:
            del self._questions[question_id]

    def answer(self, response: Response) -> None:
        """The client answers; what nobody asked is dropped."""
        waiting = self._questions.get(response.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(response)

    def close(self) -> None:
        """The conversation is over: its calls are cancelled, its streams end."""
        for running in tuple(self.calls.values()):
            running.cancel()
        if self.news is not None:
            self.news.stop()
        if self._log is not None:
            self._log.close()


class Sessions:
    """All conversations, at most `most`; those not used for `idle` seconds are over. Time comes from outside."""

    def __init__(self, most: int, idle: float) -> None:
        self._most = most
        self._idle = idle
        self._by_id: OrderedDict[str, Session] = OrderedDict()  # the one used longest ago first

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._by_id.values()))

    def open(self, session: Session, now: float) -> Session | None:
        """Enter a conversation; returns the one that had to go for it. Raises `Overloaded` when all are in use."""
        loser = None
        if len(self._by_id) >= self._most:
            loser = next((one for one in self._by_id.values() if not one.busy), None)
            if loser is None:
                words = f"{self._most} sessions are in use, the most allowed (http.max_sessions)"
                raise Overloaded(words, retry_after=_RETRY_SECONDS)
            del self._by_id[loser.id]
        self._by_id[session.id] = session
        session.used = now
        return loser

    def find(self, session_id: str, bond: Bond, now: float) -> Session:
        """The conversation with this id, which is used herewith. Raises `UnknownSession`, also for somebody else's."""
        session = self._by_id.get(session_id)
        if session is None or session.bond != bond or self._is_over(session, now):
            raise UnknownSession("there is no such session; begin a new one with initialize")
        self.touch(session, now)
        return session

    def touch(self, session: Session, now: float) -> None:
        """A conversation is in use."""
        if session.id in self._by_id:
            session.used = now
            self._by_id.move_to_end(session.id)

    def remove(self, session: Session) -> None:
        """A conversation has ended."""
        self._by_id.pop(session.id, None)

    def expire(self, now: float) -> list[Session]:
        """Take out those that are over."""
        over = []
        for session in self._by_id.values():
            if now - session.used < self._idle:
                break  # the others were used later
            if not session.busy:
                over.append(session)
        for session in over:
            del self._by_id[session.id]
        return over

    def _is_over(self, session: Session, now: float) -> bool:
        return not session.busy and now - session.used >= self._idle
