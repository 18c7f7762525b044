"""One legacy conversation as the fake server keeps it; knows no sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from tests.support.fake_exchange import Channel, Exchange, Refusal
from tests.support.fake_ledger import Message

_ASK_SECONDS = 10.0


class Session:
    """What was negotiated, what runs, what the client was asked. `id` is empty where the server keeps no sessions."""

    def __init__(self, session_id: str, version: str, capabilities: Message) -> None:
        self.id = session_id
        self.version = version
        self.capabilities = capabilities
        self.initialized = False
        self.log_level = ""
        self.subscriptions: set[str] = set()
        self.standalone = Channel()
        self.channels: dict[str, Channel] = {}
        self._running: dict[str, Exchange] = {}
        self._used: set[str] = set()
        # Small numbers on purpose: they collide with the client's own ids, as those of real servers do.
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Message]] = {}

    def channel(self, *, resumable: bool, retry_ms: int) -> Channel:
        """A stream for one answer; with event ids when the client can make use of them."""
        if not resumable:
            return Channel()
        name = f"s{len(self.channels) + 1}"
        self.channels[name] = Channel(name, retry_ms)
        return self.channels[name]

    def began(self, exchange: Exchange) -> bool:
        """False when the request id was used before in this session."""
        key = json.dumps(exchange.request.id)
        fresh = key not in self._used
        self._used.add(key)
        self._running[key] = exchange
        return fresh

    def ended(self, exchange: Exchange) -> None:
        self._running.pop(json.dumps(exchange.request.id), None)

    def cancel(self, request_id: Any) -> bool:
        exchange = self._running.get(json.dumps(request_id))
        if exchange is not None:
            exchange.cancel("notified")
        return exchange is not None

    async def ask(self, channel: Channel, method: str, params: Message) -> Message:
        """Send the client a request on `channel`; its result. Raises `Refusal` with its error, or `TimeoutError`."""
        number = next(self._numbers)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        channel.push({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                message = await answer
        finally:
            del self._asked[number]
        if "error" in message:
            error = message["error"]
            raise Refusal(error["code"], error["message"], error.get("data"))
        result: Message = message["result"]
        return result

    def answered(self, message: Message) -> bool:
        """Take the client's answer to a request of ours; false when there is no such request."""
        number = message.get("id")
        waiting = self._asked.get(number) if isinstance(number, int) else None
        if waiting is None or waiting.done():
            return False
        waiting.set_result(message)
        return True
