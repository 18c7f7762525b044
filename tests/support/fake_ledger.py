"""What a fake server saw and did, for tests to read and to wait on; decides nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.fake_wire import HttpRequest

Message = dict[str, Any]


class DuplicateKey(ValueError):
    """A JSON object names the same key twice."""


def strict_json(body: bytes) -> Any:
    """Parse JSON, refusing duplicate keys and NaN. Raises `ValueError` (`DuplicateKey` for a repeated key)."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise DuplicateKey(f"duplicate key among {[key for key, _ in pairs]}")
        return found

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(body, object_pairs_hook=unique, parse_constant=refuse)


@dataclass(slots=True, eq=False)
class Received:
    """One HTTP request as it came.

    `headers` are by lower-case name; `message` is the parsed body, None if there is none; `fault` says why the body is
    not proper JSON; `at` is in seconds of the loop's clock.
    """

    http: HttpRequest
    at: float
    message: Any = None
    fault: str = ""

    @property
    def method(self) -> str:
        return self.http.method

    @property
    def headers(self) -> dict[str, str]:
        return self.http.headers

    @property
    def body(self) -> bytes:
        return self.http.body

    @property
    def rpc(self) -> str:
        """The JSON-RPC method, empty for responses and for requests without a body."""
        return str(self.message.get("method", "")) if isinstance(self.message, dict) else ""

    @property
    def params(self) -> Message:
        params = self.message.get("params") if isinstance(self.message, dict) else None
        return params if isinstance(params, dict) else {}

    @property
    def id(self) -> Any:
        return self.message.get("id") if isinstance(self.message, dict) else None

    @property
    def meta(self) -> Message:
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}

    @property
    def tool(self) -> str:
        return str(self.params.get("name", "")) if self.rpc == "tools/call" else ""


@dataclass(slots=True, eq=False)
class Execution:
    """A tool that began to run. `session` is empty in the modern era."""

    tool: str
    arguments: Message
    request_id: Any
    session: str
    at: float
    finished: bool = False


@dataclass(slots=True, frozen=True)
class Cancellation:
    """A running request the client gave up: by closing its stream (modern) or by a notification (legacy)."""

    request_id: Any
    method: str
    tool: str
    how: Literal["closed", "notified"]
    at: float


@dataclass(slots=True, eq=False)
class Ledger:
    """Lists only grow, in the order of events; `changed` wakes whoever waits in `until`."""

    requests: list[Received] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    cancelled: list[Cancellation] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    answers: list[Message] = field(default_factory=list)
    connections: int = 0
    _waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = field(default_factory=list)

    def changed(self) -> None:
        for fact, waiter in tuple(self._waiting):
            if not waiter.done() and fact():
                waiter.set_result(None)

    async def until(self, fact: Callable[[], bool], seconds: float) -> None:
        """Return once `fact()` holds. Raises `TimeoutError` after `seconds`."""
        if fact():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (fact, waiter)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        finally:
            self._waiting.remove(entry)

    def receive(self, http: HttpRequest) -> Received:
        received = Received(http, asyncio.get_running_loop().time())
        if http.body:
            try:
                received.message = strict_json(http.body)
            except DuplicateKey as error:
                received.message = json.loads(http.body)
                received.fault = str(error)
            except (ValueError, RecursionError) as error:
                received.fault = f"body is not JSON: {error}"
        self.requests.append(received)
        self.changed()
        return received

    def note(self, violation: str) -> None:
        self.violations.append(violation)
        self.changed()

    def run(self, tool: str, arguments: Message, request_id: Any, session: str) -> Execution:
        execution = Execution(tool, arguments, request_id, session, asyncio.get_running_loop().time())
        self.executions.append(execution)
        self.changed()
        return execution

    def cancel(self, request: Received, how: Literal["closed", "notified"]) -> None:
        at = asyncio.get_running_loop().time()
        self.cancelled.append(Cancellation(request.id, request.rpc, request.tool, how, at))
        self.changed()
