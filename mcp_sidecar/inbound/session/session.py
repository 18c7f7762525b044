"""One conversation as tables: who it is with, what is in flight both ways. Knows no wire and no upstream."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, Self

from mcp_sidecar.call import Client
from mcp_sidecar.errors import InvalidCall, Overloaded
from mcp_sidecar.protocol.jsonrpc import Request, Response

if TYPE_CHECKING:
    from mcp_sidecar.inbound.session.news import News
    from mcp_sidecar.inbound.session.telling import Telling

MOST_CALLS = 256


def taken_back(question_id: bytes) -> bytes:
    """Tells a client that nobody waits for its answer to a question any more."""
    params = {"requestId": question_id, "reason": b'"the call has ended"'}
    return Request("notifications/cancelled", params=params).encode(b"")


class Outlet(Protocol):
    """Tells a client."""

    @property
    def carried(self) -> bool:
        """The client listens."""

    async def send(self, message: bytes) -> None:
        """One message, now or when the client listens again."""


class Running:
    """A request in flight, as a context: in it, the client can cancel the request."""

    __slots__ = ("_request_id", "_session", "cancelled", "task")

    def __init__(self, session: Session, request_id: bytes, task: asyncio.Task[object]) -> None:
        self._session = session
        self._request_id = request_id
        self.task = task
        self.cancelled = False
        """The client did it."""

    def cancel(self) -> None:
        """Nobody wants the answer any more; said twice, it is the same."""
        if not self.cancelled:
            self.cancelled = True
            self.task.cancel()

    def __enter__(self) -> Self:
        calls = self._session.calls
        if self._request_id in calls:
            raise InvalidCall("a request with this id is in flight", violations=(("id", "is in use"),))
        if len(calls) >= MOST_CALLS:
            raise Overloaded(f"{MOST_CALLS} requests of this session are in flight, the most allowed")
        calls[self._request_id] = self
        return self

    def __exit__(self, *_: object) -> None:
        del self._session.calls[self._request_id]
        self._session.ended()


class Session(ABC):
    """One conversation with `client`, about the upstream `server` (empty for all).

    `offered` is what the server tells of by itself, see `greeting.Welcome.news`.
    """

    __slots__ = ("_asked", "_questions", "_quiet", "calls", "client", "news", "offered", "server", "telling")

    def __init__(self, client: Client, server: str, offered: tuple[str, ...]) -> None:
        self.client = client
        self.server = server
        self.offered = offered
        self.calls: dict[bytes, Running] = {}
        """Requests in flight by id, as JSON text."""
        self.news: News | None = None
        self.telling: Telling | None = None
        self._questions: dict[bytes, asyncio.Future[Response]] = {}
        self._asked = 0
        self._quiet: asyncio.Event | None = None  # while somebody waits for it

    @property
    @abstractmethod
    def outlet(self) -> Outlet:
        """Where the client is told what belongs to no request of its."""

    def calling(self, request_id: bytes, task: asyncio.Task[object]) -> Running:
        """A request is in flight in `task`. Raises `InvalidCall` for an id that is in use, and `Overloaded`."""
        return Running(self, request_id, task)

    def ended(self) -> None:
        """A request has ended."""
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
        """The conversation is over: its calls are cancelled, nothing is listened to."""
        for running in tuple(self.calls.values()):
            running.cancel()
        if self.news is not None:
            self.news.stop()
        if self.telling is not None:
            self.telling.stop()
