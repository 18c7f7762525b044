"""The fake server's 2025 side: initialize, sessions, streams by GET, requests in both directions."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass

from tests.support import fake_violations as rules
from tests.support.fake_exchange import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Exchange,
    Refusal,
    Tasks,
)
from tests.support.fake_ledger import Ledger, Message, Received
from tests.support.fake_methods import SERVER_INFO, Catalogue, Method
from tests.support.fake_sessions import Session
from tests.support.fake_wire import Wire

RESOURCE_NOT_FOUND = -32002


@dataclass(frozen=True, slots=True)
class LegacyWays:
    """How this server uses the freedom the 2025 revisions leave. `retry_ms` goes into priming events."""

    stream: bool
    sessions: bool = True
    get_stream: bool = True
    priming: bool = False
    retry_ms: int = 10
    versions: tuple[str, ...] = rules.LEGACY


class LegacyEra:
    """Answers requests of clients that begin with `initialize`."""

    def __init__(self, ledger: Ledger, catalogue: Catalogue, gates: dict[str, asyncio.Event], ways: LegacyWays) -> None:
        self.ledger = ledger
        self.ways = ways
        self.sessions: dict[str, Session] = {}
        if not ways.sessions:
            # A server without sessions serves anybody, with or without `initialize` (measured with mcp 1.x).
            self.sessions[""] = Session("", "", {})
        self._gates = gates
        self._catalogue = catalogue
        self._methods: dict[str, Method] = {
            **catalogue.methods,
            "ping": self._ping,
            "logging/setLevel": self._set_level,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
        }

    async def serve(self, wire: Wire, received: Received, tasks: Tasks) -> None:
        session = self.session_of(received)
        self._judge(received, session)
        known = received.headers.get("mcp-session-id")
        if received.method not in ("GET", "POST", "DELETE"):
            wire.respond(405, headers=[("allow", "GET, POST, DELETE")])
        elif known is not None and session is None:
            self._refuse(wire, 404, "Session not found")
        elif received.method == "GET":
            await self._get(wire, received, session)
        elif received.method == "DELETE":
            self._delete(wire, session)
        else:
            await self._post(wire, received, session, tasks)

    def session_of(self, received: Received) -> Session | None:
        return self.sessions.get(received.headers.get("mcp-session-id", ""))

    def _judge(self, received: Received, session: Session | None) -> None:
        # A dual-era client finds out that this is a legacy server by asking it the modern way: no fault of its.
        if received.rpc == "server/discover" and received.headers.get("mcp-protocol-version") == rules.MODERN:
            return
        if session is None and "mcp-session-id" in received.headers:
            return
        version = session.version if session else ""
        initialized = session is not None and session.initialized
        for violation in rules.of_legacy(received, version, initialized=initialized, has_session=self.ways.sessions):
            self.ledger.note(violation)

    def _refuse(self, wire: Wire, status: int, text: str, code: int = INVALID_REQUEST) -> None:
        # mcp 1.x answers requests it cannot place with this id, and not with null.
        error = {"code": code, "message": text}
        wire.respond_json(status, {"jsonrpc": "2.0", "id": "server-error", "error": error})

    async def _post(self, wire: Wire, received: Received, session: Session | None, tasks: Tasks) -> None:
        version = received.headers.get("mcp-protocol-version")
        if rules.accepts(received) != (True, True):
            self._refuse(wire, 406, "Not Acceptable: Client must accept both application/json and text/event-stream")
        elif received.fault:
            self._refuse(wire, 400, "Parse error", -32700)
        elif not isinstance(received.message, dict) or received.message.get("jsonrpc") != "2.0":
            self._refuse(wire, 400, "Validation error", INVALID_PARAMS)
        elif received.rpc == "initialize":
            await self.exchange(wire, received, self._open(received), self._initialize, tasks)
        elif session is None:
            self._refuse(wire, 400, "Bad Request: Missing session ID")
        elif version is not None and version not in rules.LEGACY:
            supported = ", ".join(self.ways.versions)
            self._refuse(
                wire, 400, f"Bad Request: Unsupported protocol version: {version}. Supported versions: {supported}"
            )
        elif received.rpc and received.id is not None:
            await self.exchange(wire, received, session, self._methods.get(received.rpc, self._unknown), tasks)
        else:
            self._take(received, session)
            wire.respond(202)

    def _open(self, received: Received) -> Session:
        asked = received.params.get("protocolVersion", "")
        version = asked if asked in self.ways.versions else self.ways.versions[-1]
        if not self.ways.sessions:
            self.sessions[""].version = version
            return self.sessions[""]
        session = Session(uuid.uuid4().hex, version, received.params.get("capabilities", {}))
        self.sessions[session.id] = session
        self.ledger.changed()
        return session

    def _take(self, received: Received, session: Session) -> None:
        """A notification or an answer of the client."""
        if received.rpc == "notifications/initialized":
            session.initialized = True
        elif received.rpc == "notifications/cancelled":
            # Late cancellations are not faults: the answer may have been on its way.
            session.cancel(received.params.get("requestId"))
        elif not received.rpc:
            self.ledger.answers.append(received.message)
            if not session.answered(received.message):
                self.ledger.note(f"an answer to a request that is not open: {received.id!r}")
        self.ledger.changed()

    async def exchange(self, wire: Wire, received: Received, session: Session, method: Method, tasks: Tasks) -> None:
        """Serve one request with `method`, also after its connection is lost: a disconnect is no cancellation."""
        resumable = self.ways.priming and session.version >= "2025-11-25"
        channel = session.channel(resumable=resumable, retry_ms=self.ways.retry_ms)
        exchange = Exchange(received, channel, self.ledger, self._gates, session)
        if not session.began(exchange) and session.id:
            self.ledger.note(f"request id {received.id!r} is used again in the same session")
        run = self._run(exchange, session, method)
        exchange.task = tasks.spawn(run, f"fake {received.rpc} {received.id}")
        await channel.carry(wire, stream=self.ways.stream, headers=self._session_header(session))

    def _session_header(self, session: Session) -> list[tuple[str, str]]:
        return [("mcp-session-id", session.id)] if session.id else []

    async def _run(self, exchange: Exchange, session: Session, method: Method) -> None:
        answer: Message | None = None
        try:
            answer = {"result": await method(exchange)}
        except Refusal as refusal:
            answer = {"error": refusal.error}
        except (KeyError, TypeError, ValueError) as error:
            answer = {"error": {"code": INTERNAL_ERROR, "message": repr(error)}}
        finally:
            session.ended(exchange)
            final = None if answer is None else {"jsonrpc": "2.0", "id": exchange.request.id, **answer}
            exchange.channel.finish(final)

    async def _get(self, wire: Wire, received: Received, session: Session | None) -> None:
        last = received.headers.get("last-event-id", "")
        if session is None:
            self._refuse(wire, 400, "Bad Request: Missing session ID")
        elif not rules.accepts(received)[1]:
            self._refuse(wire, 406, "Not Acceptable: Client must accept text/event-stream")
        elif last:
            await self._resume(wire, last, session)
        elif not self.ways.get_stream:
            wire.respond(405, headers=[("allow", "POST, DELETE")])
        elif session.standalone.carrier is not None:
            self._refuse(wire, 409, "Conflict: Only one SSE stream is allowed per session")
        else:
            carrying = session.standalone.carry(
                wire, stream=True, headers=self._session_header(session), after=len(session.standalone.messages)
            )
            wire.watch(self.ledger.changed)
            asyncio.get_running_loop().call_soon(self.ledger.changed)
            await carrying

    async def _resume(self, wire: Wire, last: str, session: Session) -> None:
        name, _, number = last.rpartition("-")
        channel = session.channels.get(name)
        if channel is None or not number.isdecimal():
            self.ledger.note(f"Last-Event-ID {last!r} was never given")
            self._refuse(wire, 400, "no such event")
            return
        # Real servers (mcp 1.x) do not end a resumed stream after the answer: the client has to know when it is done.
        headers = self._session_header(session)
        await channel.carry(wire, stream=True, headers=headers, after=int(number), lingers=True)

    def _delete(self, wire: Wire, session: Session | None) -> None:
        if session is None:
            self._refuse(wire, 400, "Bad Request: Missing session ID")
            return
        self.forget(session)
        wire.respond(200)

    def forget(self, session: Session) -> None:
        del self.sessions[session.id]
        session.standalone.finish()
        self.ledger.changed()

    async def _initialize(self, exchange: Exchange) -> Message:
        session = exchange.session
        assert isinstance(session, Session)
        negotiated: Message = {"protocolVersion": session.version, "capabilities": self._catalogue.capabilities}
        return {**negotiated, "serverInfo": SERVER_INFO, "instructions": self._catalogue.instructions}

    async def _unknown(self, exchange: Exchange) -> Message:
        raise Refusal(METHOD_NOT_FOUND, "Method not found", exchange.request.rpc)

    async def _ping(self, _: Exchange) -> Message:
        return {}

    async def _set_level(self, exchange: Exchange) -> Message:
        assert exchange.session is not None
        exchange.session.log_level = exchange.request.params["level"]
        return {}

    async def _subscribe(self, exchange: Exchange) -> Message:
        assert isinstance(exchange.session, Session)
        uri = exchange.request.params["uri"]
        if uri.startswith("refused:"):
            raise Refusal(RESOURCE_NOT_FOUND, "Resource not found", {"uri": uri})
        exchange.session.subscriptions.add(uri)
        return {}

    async def _unsubscribe(self, exchange: Exchange) -> Message:
        assert isinstance(exchange.session, Session)
        exchange.session.subscriptions.discard(exchange.request.params["uri"])
        return {}

    def push(self, method: str, params: Message) -> int:
        """Send a notification on the GET stream of every session that has one open; how many those are."""
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        reached = [session for session in self.listening() if self._wants(session, method, params)]
        for session in reached:
            session.standalone.push(message)
        return len(reached)

    def listening(self) -> list[Session]:
        return [session for session in self.sessions.values() if session.standalone.carrier is not None]

    def _wants(self, session: Session, method: str, params: Message) -> bool:
        uri = str(params.get("uri"))  # that of something within a resource will do, however it is spelt
        return method != "notifications/resources/updated" or uri.startswith(tuple(session.subscriptions))
