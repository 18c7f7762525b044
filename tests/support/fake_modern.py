"""The fake server's 2026-07-28 side: one POST, one exchange, no state but the open subscriptions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from tests.support import fake_violations as rules
from tests.support.fake_exchange import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    SUBSCRIPTION,
    UNSUPPORTED_VERSION,
    Channel,
    Exchange,
    Refusal,
    Tasks,
)
from tests.support.fake_ledger import Ledger, Message, Received
from tests.support.fake_methods import SERVER_INFO, Catalogue, Method
from tests.support.fake_tools import TASK, a_task, text
from tests.support.fake_wire import Wire

_STATUS = {-32700: 400, INVALID_REQUEST: 400, INVALID_PARAMS: 400, -32020: 400, -32021: 400, -32022: 400, -32601: 404}
_CACHEABLE = (
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
)
_FILTERS = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}


@dataclass(slots=True, eq=False)
class Listen:
    """An open `subscriptions/listen`: what it wants and the stream it gets it on."""

    id: Any
    wants: Message
    channel: Channel

    def honours(self, method: str, params: Message) -> bool:
        if method == "notifications/resources/updated":
            return params.get("uri") in self.wants.get("resourceSubscriptions", ())
        if method == "notifications/tasks":
            return params.get("taskId") in self.wants.get("taskIds", ())
        return bool(self.wants.get(_FILTERS.get(method, "")))


class ModernEra:
    """Answers requests of modern clients. `stream` commits to an event stream for every answer."""

    def __init__(
        self, ledger: Ledger, catalogue: Catalogue, gates: dict[str, asyncio.Event], *, stream: bool, ttl_ms: int
    ) -> None:
        self.ledger = ledger
        self.stream = stream
        self.ttl_ms = ttl_ms
        self.scope = "private"
        self._catalogue = catalogue
        self.listens: list[Listen] = []
        self._gates = gates
        self._methods: dict[str, Method] = {**catalogue.methods, "server/discover": self._discover}
        self._methods |= dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), self._task)

    async def serve(self, wire: Wire, received: Received, tasks: Tasks) -> None:
        for violation in rules.of_modern(received):
            self.ledger.note(violation)
        if received.method != "POST":
            wire.respond(405, headers=[("allow", "POST")])
        elif rules.accepts(received) != (True, True):
            wire.respond(406)
        elif isinstance(received.message, dict) and "id" not in received.message and not received.fault:
            wire.respond(202)
        elif refusal := self._refusal(received):
            answer = {"jsonrpc": "2.0", "id": received.id, "error": refusal.error}
            wire.respond_json(_STATUS.get(refusal.error["code"], 200), answer)
        elif received.rpc == "subscriptions/listen":
            await self._listen(wire, received)
        else:
            await self.exchange(wire, received, self._methods[received.rpc], tasks)

    def _refusal(self, received: Received) -> Refusal | None:
        """The first rung the request fails on; the order is that of the official Python SDK."""
        if received.fault:
            return Refusal(-32700, "Parse error")
        if not received.rpc:
            return Refusal(INVALID_REQUEST, "Body must be a single JSON-RPC request or notification object")
        if received.rpc == "initialize" and "mcp-protocol-version" not in received.headers:
            return self._unsupported(received.params.get("protocolVersion"))
        if missing := list(rules.of_modern_meta(received)):
            return Refusal(INVALID_PARAMS, "; ".join(missing))
        if wrong := list(rules.of_modern_headers(received)):
            return Refusal(HEADER_MISMATCH, "; ".join(wrong))
        version = received.meta[rules.META_VERSION]
        if version != rules.MODERN:
            return self._unsupported(version)
        if received.rpc not in self._methods and received.rpc != "subscriptions/listen":
            return Refusal(METHOD_NOT_FOUND, "Method not found", received.rpc)
        return None

    def _unsupported(self, requested: Any) -> Refusal:
        data = {"supported": [rules.MODERN], "requested": requested}
        return Refusal(UNSUPPORTED_VERSION, "Unsupported protocol version", data)

    async def exchange(self, wire: Wire, received: Received, method: Method, tasks: Tasks) -> None:
        """Serve one request with `method`; a closed connection cancels it."""
        exchange = Exchange(received, Channel(), self.ledger, self._gates)
        exchange.task = tasks.spawn(self._run(exchange, method), f"fake {received.rpc} {received.id}")

        def cancel() -> None:
            exchange.cancel("closed")

        wire.watch(cancel)
        await exchange.channel.carry(wire, stream=self.stream)
        wire.unwatch(cancel)

    async def _run(self, exchange: Exchange, method: Method) -> None:
        answer: Message | None = None
        status = 200
        try:
            answer = {"result": self._stamped(exchange.request.rpc, await method(exchange))}
        except Refusal as refusal:
            answer = {"error": refusal.error}
            status = _STATUS.get(refusal.error["code"], 200)
        except (KeyError, TypeError, ValueError) as error:
            answer = {"error": {"code": INTERNAL_ERROR, "message": repr(error)}}
        finally:
            final = None if answer is None else {"jsonrpc": "2.0", "id": exchange.request.id, **answer}
            exchange.channel.finish(final, status)

    def _stamped(self, method: str, result: Message) -> Message:
        hints: Message = {"ttlMs": self.ttl_ms, "cacheScope": self.scope} if method in _CACHEABLE else {}
        return {
            "resultType": "complete",
            **hints,
            "_meta": {"io.modelcontextprotocol/serverInfo": SERVER_INFO},
            **result,
        }

    async def _discover(self, _: Exchange) -> Message:
        said = {"capabilities": self._catalogue.capabilities, "instructions": self._catalogue.instructions}
        return {"supportedVersions": [rules.MODERN], **said}

    async def _task(self, exchange: Exchange) -> Message:
        """What becomes of the one task there is (`fake_tools.begin_task`)."""
        if exchange.request.params.get("taskId") != TASK:
            raise Refusal(INVALID_PARAMS, "Task not found")
        if exchange.request.rpc != "tasks/get":
            return {}
        return {**a_task("completed"), "result": text("done")}

    async def _listen(self, wire: Wire, received: Received) -> None:
        wants = received.params.get("notifications", {})
        listen = Listen(received.id, wants, Channel())
        meta = {SUBSCRIPTION: received.id}
        acknowledgement = {"_meta": meta, "notifications": wants}
        listen.channel.push(
            {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": acknowledgement}
        )
        self.listens.append(listen)
        self.ledger.changed()
        try:
            await listen.channel.carry(wire, stream=True)
            if wire.lost:
                self.ledger.cancel(received, "closed")
        finally:
            self.listens.remove(listen)

    def push(self, method: str, params: Message) -> int:
        """Send a notification to every subscription that asked for it; how many those are."""
        reached = [listen for listen in self.listens if listen.honours(method, params)]
        for listen in reached:
            stamped = {**params, "_meta": {**params.get("_meta", {}), SUBSCRIPTION: listen.id}}
            listen.channel.push({"jsonrpc": "2.0", "method": method, "params": stamped})
        return len(reached)

    def end_listens(self) -> None:
        """End every subscription from the server's side, gracefully."""
        for listen in self.listens:
            result = {"resultType": "complete", "_meta": {SUBSCRIPTION: listen.id}}
            listen.channel.finish({"jsonrpc": "2.0", "id": listen.id, "result": result})
