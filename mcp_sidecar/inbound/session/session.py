"""One conversation as tables: who it is with, what is in flight both ways. Knows no wire and no upstream."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from mcp_sidecar.call import Client
from mcp_sidecar.errors import InvalidCall, Overloaded
from mcp_sidecar.protocol.jsonrpc import Response

if TYPE_CHECKING:
    from mcp_sidecar.inbound.session.news import News

MOST_CALLS = 256


class Outlet(Protocol):
    """Tells a client."""

    @property
    def carried(self) -> bool:
        """The client listens."""

    async def send(self, message: bytes) -> None:
        """One message, now or when the client listens again."""


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


class Session(ABC):
    """One conversation with `client`, about the upstream `server` (empty for all).

    `offered` is what the server tells of by itself, see `greeting.Welcome.news`.
    """

    __slots__ = ("_asked", "_questions", "_quiet", "calls", "client", "news", "offered", "server")

    def __init__(self, client: Client, server: str, offered: tuple[str, ...]) -> None:
        self.client = client
        self.server = server
        self.offered = offered
        self.calls: dict[bytes, Running] = {}
        """Requests in flight by id, as JSON text."""
        self.news: News | None = None
        self._questions: dict[bytes, asyncio.Future[Response]] = {}
        self._asked = 0
        self._quiet: asyncio.Event | None = None  # while somebody waits for it

    @property
    @abstractmethod
    def outlet(self) -> Outlet:
        """Where the client is told what belongs to no request of its."""

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
        """The conversation is over: its calls are cancelled, nothing is listened to."""
        for running in tuple(self.calls.values()):
            running.cancel()
        if self.news is not None:
            self.news.stop()
