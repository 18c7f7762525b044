"""One request being served by the fake: its way back to the client, whatever the era; knows no tool."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tests.support.fake_ledger import Ledger, Message, Received
from tests.support.fake_wire import Headers, Wire, event

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"

INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32600, -32601, -32602, -32603
HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION = -32020, -32021, -32022


class Refusal(Exception):
    """A JSON-RPC error to answer with, or one the client answered with."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error: Message = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


class Tasks:
    """The fake's running tasks: all end with its context, and a bug in one of them fails the test that runs."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._live: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        await self._group.__aenter__()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._group.create_task(work, name=name)
        self._live.add(task)
        task.add_done_callback(self._live.discard)
        return task

    async def cancel(self) -> None:
        live = [task for task in self._live if task is not asyncio.current_task()]
        for task in live:
            task.cancel()
        if live:
            await asyncio.wait(live)

    async def close(self) -> None:
        await self.cancel()
        # The test's own exception is not the group's business: it would come out wrapped.
        await self._group.__aexit__(None, None, None)


class Channel:
    """The messages of one response stream, in order, and the connection that carries them at the moment.

    With `name`, events get ids (`name-1`, `name-2`, …), the first one is empty (the priming event of 2025-11-25) and
    the stream can be carried on by another connection from any id on.
    """

    def __init__(self, name: str = "", retry_ms: int | None = None) -> None:
        self.name = name
        self.retry_ms = retry_ms
        self.messages: list[Message | None] = [None] if name else []
        self.finished = False
        self.status = 200
        self.carrier: Wire | None = None
        self._wake = asyncio.Event()

    def push(self, message: Message) -> None:
        self.messages.append(message)
        self._wake.set()

    def finish(self, message: Message | None = None, status: int = 200) -> None:
        """The last message; None where the client is owed no answer (it cancelled)."""
        if message is not None:
            self.messages.append(message)
        self.status = status
        self.finished = True
        self._wake.set()

    def detach(self) -> None:
        """End the response that carries this channel; the channel itself goes on."""
        self.carrier = None
        self._wake.set()

    async def carry(
        self, wire: Wire, *, stream: bool, headers: Headers = (), after: int = 0, lingers: bool = False
    ) -> None:
        """Write from message number `after` to the end, or until `wire` is lost or no longer the carrier.

        Without `stream` a lone final message goes out as plain JSON, and everything else as an event stream.
        With `lingers` the stream stays open after the final message.
        """
        self.carrier = wire
        wire.watch(self._wake.set)
        try:
            if not stream and not self.name:
                while not self.messages and not self.finished and not wire.lost:
                    await self._woken()
                if self.finished and len(self.messages) <= 1:
                    self._respond_plainly(wire, headers)
                    return
            wire.start_events(headers)
            await self._write_events(wire, after, lingers=lingers)
        finally:
            wire.unwatch(self._wake.set)
            if self.carrier is wire:
                self.carrier = None

    def _respond_plainly(self, wire: Wire, headers: Headers) -> None:
        if self.messages:
            wire.respond_json(self.status, self.messages[0], headers)
        else:
            wire.close()

    async def _write_events(self, wire: Wire, after: int, *, lingers: bool) -> None:
        while self.carrier is wire and not wire.lost:
            while after < len(self.messages):
                after += 1
                event_id = f"{self.name}-{after}" if self.name else ""
                wire.chunk(event(self.messages[after - 1], event_id=event_id, retry_ms=self._retry(after)))
            if self.finished and not lingers:
                break
            await self._woken()
        if not wire.lost:
            wire.end_chunks()

    def _retry(self, number: int) -> int | None:
        return self.retry_ms if number == 1 and self.name else None

    async def _woken(self) -> None:
        self._wake.clear()
        await self._wake.wait()


class Peer(Protocol):
    """What an exchange needs of a legacy session: its log level, and a way to ask the client something."""

    log_level: str

    async def ask(self, channel: Channel, method: str, params: Message) -> Message: ...


@dataclass(slots=True, eq=False)
class Exchange:
    """What a tool sees of the request it serves. `session` is None in the modern era."""

    request: Received
    channel: Channel
    ledger: Ledger
    gates: dict[str, asyncio.Event]
    session: Peer | None = None
    task: asyncio.Task[None] | None = None
    ended_by: Literal["closed", "notified"] | None = field(default=None)

    @property
    def modern(self) -> bool:
        return self.session is None

    def notify(self, method: str, params: Message) -> None:
        self.channel.push({"jsonrpc": "2.0", "method": method, "params": params})

    def progress(self, progress: float, total: float, message: str) -> None:
        token = self.request.meta.get("progressToken")
        if token is not None:
            params = {"progressToken": token, "progress": progress, "total": total, "message": message}
            self.notify("notifications/progress", params)

    def log(self, level: str, data: Any) -> None:
        """Say it to a client that asked for this level: by `logging/setLevel` (legacy) or in `_meta` (modern)."""
        wanted = self.session.log_level if self.session else str(self.request.meta.get(LOG_LEVEL, ""))
        if wanted and LEVELS.index(level) >= LEVELS.index(wanted):
            self.notify("notifications/message", {"level": level, "logger": "fake", "data": data})

    async def ask(self, method: str, params: Message) -> Message:
        """Send the client a request on this stream; its result. Raises `Refusal` with the client's error."""
        assert self.session is not None, "the modern era has no requests from server to client"
        return await self.session.ask(self.channel, method, params)

    def cancel(self, how: Literal["closed", "notified"]) -> None:
        if self.task is not None and not self.task.done() and self.ended_by is None:
            self.ended_by = how
            self.ledger.cancel(self.request, how)
            self.task.cancel()

    def gate(self, name: str) -> asyncio.Event:
        return self.gates.setdefault(name, asyncio.Event())
