"""One stream of messages to a server and one back, shared by many exchanges: who gets which message.

Knows neither an era nor what carries the messages.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from mcp_sidecar.call import Call
from mcp_sidecar.errors import (
    Execution,
    InvalidCall,
    SendQueueFull,
    SidecarError,
    UpstreamLost,
    UpstreamProtocolError,
    UpstreamUnavailable,
)
from mcp_sidecar.protocol.batch import is_batch, split_of_server
from mcp_sidecar.protocol.jsonrpc import Message, Request, Response, parse
from mcp_sidecar.tasks import Job

_MOST_WAITING = 1000  # messages of one exchange that its caller has not taken yet
_MOST_WAITING_BYTES = 16 * 1024 * 1024
_LOG = "notifications/message"


class Wire(Protocol):
    """Carries messages both ways. What fails is a `SidecarError`."""

    async def send(self, message: bytes, call: Call) -> None:
        """Hand a message over; `call.execution` becomes UNKNOWN when bytes may have left."""

    async def receive(self) -> bytes:
        """The next message. Raises `UpstreamLost` or `UpstreamProtocolError` when there can be no more."""

    def close_idle(self, unused_for: float) -> None:
        """Close what only carries messages now and then and was not used for so many seconds."""

    async def close(self) -> None:
        """End it; takes a second at most. A second time it only waits."""


class Stream:
    """A wire and the exchanges on it, by the ids of their requests.

    `names` tells the id of the request that a notification names, empty when it names none. `stray` gets what belongs
    to no exchange. `shared`: by several clients, so that none may be shown what could be another's. `batches` tells
    whether the server may send several messages as one.
    """

    def __init__(
        self,
        wire: Wire,
        upstream: str,
        tasks: asyncio.TaskGroup,
        names: Callable[[Request], bytes],
        stray: Callable[[Request], None],
        *,
        shared: bool = True,
        batches: Callable[[], bool] = bool,
    ) -> None:
        self._wire = wire
        self._upstream = upstream
        self._names = names
        self._stray = stray
        self._shared = shared
        self._batches = batches
        self._exchanges: dict[bytes, _Mailbox] = {}
        self._clients: dict[bytes, _Mailbox] = {}  # those of them that are a client's
        self.lost: asyncio.Future[SidecarError] = asyncio.get_running_loop().create_future()
        """Why there are no more messages, once that is so."""
        self._reader = Job(tasks, self._read(), f"read {upstream}")

    async def exchange(
        self,
        request_id: bytes,
        message: bytes,
        call: Call,
        receive: Callable[[Request], Awaitable[None]],
        *,
        ours: bool = False,
    ) -> Response:
        """Send a request; its response. What comes before goes to `receive`, in order.

        `ours`: of no client, so that nothing can be about it but what names it.
        """
        with self._joined(request_id, ours=ours) as mailbox:
            await self.send(message, call)
            while isinstance(said := await mailbox.next(), Request):
                await receive(said)
            if isinstance(said, Response):
                call.execution = Execution.DONE
                return said
            raise self._failure(said, call)

    async def send(self, message: bytes, call: Call) -> None:
        """Send what has no answer."""
        if self.lost.done():
            raise self._failure(self.lost.result(), call)
        await self._wire.send(message, call)

    def close_idle(self, unused_for: float) -> None:
        self._wire.close_idle(unused_for)

    async def close(self) -> None:
        """End the wire; exchanges end as lost."""
        self._lose(UpstreamLost(f"the connection to the MCP server {self._upstream!r} was closed"))
        self._reader.cancel()
        await self._wire.close()

    @contextmanager
    def _joined(self, request_id: bytes, *, ours: bool) -> Iterator[_Mailbox]:
        mailbox = self._exchanges[request_id] = _Mailbox()
        if not ours:
            self._clients[request_id] = mailbox
        try:
            yield mailbox
        finally:
            del self._exchanges[request_id]
            self._clients.pop(request_id, None)

    async def _read(self) -> None:
        try:
            while True:
                raw = await self._wire.receive()
                messages = self._parse(raw)
                for message in messages:
                    self._deliver(message, len(raw) // len(messages))
        except SidecarError as error:
            self._lose(error)
            await self._wire.close()
        finally:
            self._lose(UpstreamLost(f"what the MCP server {self._upstream!r} sends is no longer read"))

    def _parse(self, raw: bytes) -> list[Message]:
        try:
            return split_of_server(raw) if is_batch(raw) and self._batches() else [parse(raw)]
        except InvalidCall as error:  # its words may quote the message
            raise UpstreamProtocolError(
                f"the MCP server {self._upstream!r} broke the protocol: its message is not as JSON-RPC has it",
                metadata={"server": self._upstream},
            ) from error

    def _deliver(self, message: Message, size: int) -> None:
        if isinstance(message, Response):
            # None of them: nobody waits for the answer any more. Without an id it is about something unreadable.
            mailbox = self._exchanges.get(message.id) if message.id else self._owner()
        elif not message.id and (named := self._names(message)):
            mailbox = self._exchanges.get(named)
        else:
            mailbox = self._owner() if message.id or message.method == _LOG else None
            if mailbox is None:
                self._stray(message)
        if mailbox is not None:
            mailbox.put(message, size)

    def _owner(self) -> _Mailbox | None:
        """The exchange that a question or a log message is about, which do not say so: the only one, or any where all
        are one client's.
        """
        if self._shared and len(self._clients) != 1:
            return None
        return next(reversed(self._clients.values()), None)

    def _lose(self, error: SidecarError) -> None:
        if self.lost.done():
            return
        self.lost.set_result(error)
        for mailbox in self._exchanges.values():
            mailbox.end(error)

    def _failure(self, error: SidecarError, call: Call) -> SidecarError:
        """What became of the stream, as the failure of one call."""
        facts = {"server": self._upstream}
        if isinstance(error, UpstreamLost) and call.execution is Execution.NONE:
            failure: SidecarError = UpstreamUnavailable(error.message, metadata=facts)
        else:
            failure = type(error)(error.message, execution=call.execution, metadata=facts)
        failure.__cause__ = error
        return failure


class _Mailbox:
    """What has come for one exchange and was not taken yet. The reader never waits for a slow caller: it is dropped."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Message | SidecarError, int]] = deque()
        self._bytes = 0
        self._come = asyncio.Event()
        self._ended = False

    def put(self, message: Message, size: int) -> None:
        full = len(self._waiting) >= _MOST_WAITING or (self._waiting and self._bytes + size > _MOST_WAITING_BYTES)
        if full and isinstance(message, Request):
            self.end(SendQueueFull("the caller does not take what the MCP server sends"))
        else:
            self._add(message, size)

    def end(self, error: SidecarError) -> None:
        """What waits is still delivered."""
        self._add(error, 0)
        self._ended = True

    def _add(self, item: Message | SidecarError, size: int) -> None:
        if self._ended:
            return
        self._waiting.append((item, size))
        self._bytes += size
        self._come.set()

    async def next(self) -> Message | SidecarError:
        while not self._waiting:
            self._come.clear()
            await self._come.wait()
        item, size = self._waiting.popleft()
        self._bytes -= size
        return item
