"""A scripted MCP server on raw sockets: polite in both eras unless told otherwise. Knows nothing of mcp_sidecar.

async with FakeServer(era="modern") as server:
    ...                                            # talk to server.url
    server.next_reply("truncated_json")            # the next tools/call is answered so
    await server.until(lambda s: s.cancelled)
    assert server.violations == []
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Self

from tests.support import fake_violations as rules
from tests.support.fake_exchange import Tasks
from tests.support.fake_ledger import Cancellation, Execution, Ledger, Message, Received
from tests.support.fake_legacy import LegacyEra, LegacyWays
from tests.support.fake_methods import Catalogue, Method
from tests.support.fake_modern import ModernEra
from tests.support.fake_rude import REFUSALS, RUDE, Rudeness, Scene
from tests.support.fake_sessions import Session
from tests.support.fake_wire import Wire

Era = Literal["modern", "legacy", "dual"]
Script = Mapping[str, str | Sequence[str | None]]

HOST = "127.0.0.1"
PATH = "/mcp"


def _known(*names: str | None) -> None:
    for name in names:
        if name is not None and name not in RUDE:
            raise KeyError(f"no such rudeness: {name}; there are {', '.join(RUDE)}")


class FakeServer:
    """An async context manager; listens on a free loopback port, which it keeps over `stop` and `start`.

    era: which revisions it speaks. "dual" chooses by the version header, as the official SDKs do.
    answers: "sse" streams every answer; "json" only those that carry a notification or a request.
    script: rudeness by tool name, JSON-RPC method, HTTP method or "*" (the first that fits); a list is used up one by
        one (None = polite), a name stays. Raises `KeyError` for an unknown rudeness; `fake_rude.RUDE` has them all.
    sessions, get_stream, priming, retry_ms, versions: the freedom of legacy servers, see `LegacyWays`.
    page: cuts tools/list into pages. ttl_ms: caching hint of modern lists. authorization: credentials are expected.
    """

    def __init__(
        self,
        era: Era = "modern",
        answers: Literal["json", "sse"] = "json",
        *,
        script: Script | None = None,
        sessions: bool = True,
        get_stream: bool = True,
        priming: bool = False,
        retry_ms: int = 10,
        versions: tuple[str, ...] = rules.LEGACY,
        page: int | None = None,
        ttl_ms: int = 0,
        authorization: bool = False,
    ) -> None:
        self.era = era
        self.port = 0
        self.catalogue = Catalogue(page)
        self._ledger = Ledger()
        self._gates: dict[str, asyncio.Event] = {}
        stream = answers == "sse"
        ways = LegacyWays(stream, sessions, get_stream, priming, retry_ms, versions)
        self._legacy = LegacyEra(self._ledger, self.catalogue, self._gates, ways)
        self._modern = ModernEra(self._ledger, self.catalogue, self._gates, stream=stream, ttl_ms=ttl_ms)
        self._authorization = authorization
        self._script = {on: [names] if isinstance(names, str) else list(names) for on, names in (script or {}).items()}
        self._lasting = {on for on, names in (script or {}).items() if isinstance(names, str)}
        for names in self._script.values():
            _known(*names)
        self._wires: set[Wire] = set()
        self._tasks = Tasks()
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.open()
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self._tasks.close()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}{PATH}"

    async def start(self) -> None:
        """Listen, on the port used before if there was one."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Wire(self._opened), HOST, self.port, reuse_address=True)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self, *, reset: bool = False) -> None:
        """Die: no listener, connections cut (`reset` = by RST), nothing running, no sessions."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        wires, self._wires = self._wires, set()
        for wire in wires:
            wire.mute()
            if reset:
                wire.reset()
        await self._tasks.cancel()
        for wire in wires:
            wire.transport.abort()
        self.forget_sessions()

    def _opened(self, wire: Wire) -> None:
        self._ledger.connections += 1
        self._wires.add(wire)
        self._tasks.spawn(self._talk(wire), "fake connection")

    async def _talk(self, wire: Wire) -> None:
        try:
            while (http := await wire.request()) is not None:
                wire.answering = True
                await self._answer(wire, self._ledger.receive(http))
                wire.answering = False
                if http.headers.get("connection", "").lower() == "close":
                    break
        finally:
            wire.close()
            self._wires.discard(wire)
            self._ledger.changed()

    async def _answer(self, wire: Wire, received: Received) -> None:
        for violation in rules.of_http(received, authorization_expected=self._authorization):
            self._ledger.note(violation)
        modern = self._is_modern(received)
        name = self._next_rudeness(received)
        if name is not None:
            await self._be_rude(wire, received, name, modern=modern)
        elif received.http.target.partition("?")[0] != PATH:
            wire.respond(404)
        elif not self._origin_is_fine(received):
            wire.respond(403)
        elif modern:
            await self._modern.serve(wire, received, self._tasks)
        else:
            await self._legacy.serve(wire, received, self._tasks)

    def _is_modern(self, received: Received) -> bool:
        if self.era != "dual":
            return self.era == "modern"
        version = received.headers.get("mcp-protocol-version")
        return version is not None and version not in rules.LEGACY

    def _origin_is_fine(self, received: Received) -> bool:
        origin = received.headers.get("origin")
        return origin is None or origin.startswith((f"http://{HOST}", "http://localhost"))

    def _next_rudeness(self, received: Received) -> str | None:
        for on in (received.tool, received.rpc, received.method, "*"):
            names = self._script.get(on)
            if names:
                return names[0] if on in self._lasting else names.pop(0)
        return None

    async def _be_rude(self, wire: Wire, received: Received, name: str, *, modern: bool) -> None:
        rudeness: Rudeness = RUDE[name]
        if received.tool and name not in REFUSALS:
            session = received.headers.get("mcp-session-id", "")
            self._ledger.run(received.tool, received.params.get("arguments", {}), received.id, session)

        async def serve(method: Method) -> None:
            session = self._legacy.session_of(received)
            if modern or session is None:
                await self._modern.exchange(wire, received, method, self._tasks)
            else:
                await self._legacy.exchange(wire, received, session, method, self._tasks)

        await rudeness(Scene(wire, received, self.url, serve))

    # What tests do to it.

    def next_reply(self, rudeness: str, *, on: str = "tools/call", times: int = 1) -> None:
        """Answer the next `times` requests so; `on` as in a script. Raises `KeyError` for an unknown rudeness."""
        _known(rudeness)
        self._script.setdefault(on, []).extend([rudeness] * times)

    def push(self, method: str, params: Message | None = None) -> int:
        """Send a notification to whoever listens (subscription or GET stream); how many streams that reached."""
        return self._modern.push(method, params or {}) + self._legacy.push(method, params or {})

    async def ask(self, method: str, params: Message | None = None) -> Message:
        """Send a request on the GET stream of the first session that has one; the client's result."""
        session = self._legacy.listening()[0]
        return await session.ask(session.standalone, method, params or {})

    def release(self, gate: str) -> None:
        """Let the tools waiting at this gate (`hold`, `reconnect` with `held`) go on, now and later."""
        self._gates.setdefault(gate, asyncio.Event()).set()

    def forget_sessions(self) -> None:
        """Every session's next request gets 404, as after a restart."""
        for session in list(self._legacy.sessions.values()):
            if session.id:
                self._legacy.forget(session)

    def end_subscriptions(self) -> None:
        """End every `subscriptions/listen` with a result, as a server does that shuts down gracefully."""
        self._modern.end_listens()

    def close_idle_sockets(self) -> int:
        """Close the connections that carry no request at the moment; how many those were."""
        idle = [wire for wire in self._wires if not wire.answering]
        for wire in idle:
            wire.close()
        return len(idle)

    async def until(self, fact: Callable[[FakeServer], object], seconds: float = 5.0) -> None:
        """Wait for `fact(server)` to hold. Raises `TimeoutError`, saying what happened instead."""
        try:
            await self._ledger.until(lambda: bool(fact(self)), seconds)
        except TimeoutError:
            raise TimeoutError(f"not within {seconds} s; {self!r}") from None

    def hint(self, ttl_ms: int, scope: str) -> None:
        """The caching hints of modern results from here on."""
        self._modern.ttl_ms, self._modern.scope = ttl_ms, scope

    # What tests read.

    @property
    def requests(self) -> list[Received]:
        return self._ledger.requests

    @property
    def executions(self) -> list[Execution]:
        return self._ledger.executions

    @property
    def cancelled(self) -> list[Cancellation]:
        return self._ledger.cancelled

    @property
    def violations(self) -> list[str]:
        return self._ledger.violations

    @property
    def answers(self) -> list[Message]:
        """What the client answered to requests of the server."""
        return self._ledger.answers

    @property
    def sessions(self) -> dict[str, Session]:
        """Live legacy sessions by id."""
        return self._legacy.sessions

    @property
    def streams(self) -> int:
        """How many GET streams and subscriptions are open."""
        return len(self._legacy.listening()) + len(self._modern.listens)

    @property
    def connections(self) -> int:
        """How many connections were ever accepted."""
        return self._ledger.connections

    @property
    def open_connections(self) -> int:
        return len(self._wires)

    def count(self, rpc: str) -> int:
        """How many requests with this JSON-RPC method came."""
        return sum(1 for received in self.requests if received.rpc == rpc)

    def __repr__(self) -> str:
        seen = [received.rpc or received.method for received in self.requests]
        return f"<FakeServer {self.era} {self.url} requests={seen} violations={self.violations}>"
