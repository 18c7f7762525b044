"""A server of MCP 2024-11-05 on raw sockets: polite, or as rude as a test wants it. Knows no test."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self

from tests.support.fake_wire import HttpRequest, Wire, event

Message = dict[str, Any]


class SseServer:
    """Answers `initialize`, `ping`, `tools/list` and the tools `echo`, `hold` and `ask` on its GET stream.

    endpoint: the data of the first event, with the number of the stream; None leaves the event out.
    post_status: of every POST but `initialize`.
    get: status and media type of the GET.
    """

    def __init__(
        self,
        endpoint: str | None = "/messages?session={}",
        *,
        post_status: int = 202,
        get: tuple[int, str] = (200, "text/event-stream"),
    ) -> None:
        self.endpoint = endpoint
        self.post_status = post_status
        self.requests: list[HttpRequest] = []
        self.messages: list[Message] = []
        self.streams: list[Wire] = []
        self._by_number: dict[str, Wire] = {}
        self._get = get
        self._wires: set[Wire] = set()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Wire(self._opened), "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for wire in tuple(self._wires):
            wire.transport.abort()
        await self._tasks.__aexit__(None, None, None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/sse"

    def count(self, method: str) -> int:
        return sum(1 for message in self.messages if message.get("method") == method)

    def drop_streams(self) -> None:
        """Break every stream off."""
        for wire in self.streams:
            wire.transport.abort()
        self.streams.clear()

    def say(self, message: Message | bytes, number: str = "") -> None:
        """Send a message, or bytes as they are, on the stream of that number, or else the last that was opened."""
        data = message if isinstance(message, bytes) else event({"jsonrpc": "2.0", **message})
        if self.streams:
            self._by_number.get(number, self.streams[-1]).chunk(data)

    def _opened(self, wire: Wire) -> None:
        self._wires.add(wire)
        self._tasks.create_task(self._talk(wire), name="sse server")

    async def _talk(self, wire: Wire) -> None:
        while (request := await wire.request()) is not None:
            self.requests.append(request)
            if request.method == "GET":
                self._stream(wire)
            elif request.target == "/sse":
                wire.respond(405)
            else:
                self._post(wire, json.loads(request.body), request.target.partition("=")[2])
        wire.close()

    def _stream(self, wire: Wire) -> None:
        status, kind = self._get
        if status != 200 or kind != "text/event-stream":
            wire.respond(status, b"{}", [("content-type", kind)])
            return
        wire.start_events()
        self.streams.append(wire)
        self._by_number[str(len(self._by_number) + 1)] = wire
        if self.endpoint is not None:
            wire.chunk(f"event: endpoint\ndata: {self.endpoint.format(len(self._by_number))}\n\n".encode())

    def _post(self, wire: Wire, message: Message, number: str) -> None:
        self.messages.append(message)
        refused = self.post_status if message.get("method", "").startswith("tools/") else 202
        wire.respond(refused)
        if refused == 202 and "id" in message and "method" in message:
            self._answer(message, number)

    def _answer(self, message: Message, number: str) -> None:
        method, params = message["method"], message.get("params", {})
        result: Message = {}
        if method == "initialize":
            result = {"protocolVersion": "2024-11-05", "capabilities": {"tools": {"listChanged": True}}}
            result["serverInfo"] = {"name": "fake-sse", "version": "1"}
        elif method == "tools/call" and params["name"] == "hold":
            return
        elif method == "tools/call":
            result = {"content": [{"type": "text", "text": params["arguments"].get("text", "")}]}
        elif method == "tools/list":
            result = {"tools": []}
        self.say({"id": message["id"], "result": result}, number)
