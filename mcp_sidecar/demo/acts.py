"""The calls of the demonstration, one function each; knows the sidecar's two faces, and what has to come back."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp_sidecar.client import SidecarClient
from mcp_sidecar.demo.catalogue import WELCOME_TEXT, WELCOME_URI
from mcp_sidecar.demo.dialogue import MODERN
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.protocol import sse
from mcp_sidecar.wire.http_client import HttpClient, Response

SERVER = "demo"
_META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}


class Unexpected(Exception):
    """What came back is not what had to come back."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What an act has to work with: two ways to the sidecar, and a voice for what comes in before the answer."""

    grpc: SidecarClient
    http: HttpClient
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Act:
    """One call: its point, over which wire, as it would be written in a program, and how it is done.

    `play` returns the answer as text.
    """

    title: str
    wire: str
    sent: str
    play: Callable[[Scene], Awaitable[str]]


async def list_tools(scene: Scene) -> str:
    """What can be called."""
    names = [tool["name"] for tool in await scene.grpc.list_tools(SERVER)]
    return _expect(", ".join(names), "countdown")


async def add(scene: Scene) -> str:
    """The plainest tool call."""
    return _expect((await scene.grpc.call_tool(SERVER, "add", {"a": 2, "b": 40})).text, "42")


async def countdown(scene: Scene) -> str:
    """Progress before the result."""
    heard = 0

    def hear(notification: dict[str, Any]) -> None:
        nonlocal heard
        heard += 1
        scene.say(_progress(notification))

    result = await scene.grpc.call_tool(SERVER, "countdown", {"from": 3}, on_notification=hear)
    return _expect(result.text if heard else "no progress was heard", "counted down from 3")


async def forecast(scene: Scene) -> str:
    """Structured output."""
    result = await scene.grpc.call_tool(SERVER, "forecast", {"city": "Oslo", "days": 1})
    return _expect(json.dumps(result.structured_content, ensure_ascii=False), '"Oslo"')


async def failing_tool(scene: Scene) -> str:
    """A tool's own failure is an answer, not a broken call."""
    result = await scene.grpc.call_tool(SERVER, "forecast", {"city": "Oslo", "days": 99})
    return _expect(f"is_error={result.is_error}: {result.text}", "is_error=True")


async def unknown_server(scene: Scene) -> str:
    """A call that cannot be delivered says so, and that it did not run."""
    try:
        await scene.grpc.call_tool("wether", "forecast", {"city": "Oslo"})
    except SidecarError as error:
        return _expect(f"{type(error).__name__}: {error.message} (execution: {error.execution.value})", "none)")
    raise Unexpected("a server that does not exist answered")


async def conversation(scene: Scene) -> str:
    """Many requests in flight on one stream; answers come as they are ready."""
    count, answers = 20, 0
    async with scene.grpc.conversation(SERVER) as talk:
        for number in range(count):
            params = {"name": "add", "arguments": {"a": number, "b": number}}
            await talk.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
        while answers < count:
            answer = await talk.receive()
            answers += answer["result"]["content"][0]["text"] == str(2 * answer["id"])
    return f"{answers} answers, each to its own question"


async def http_call(scene: Scene) -> str:
    """What any MCP client does."""
    params = {"name": "echo", "arguments": {"text": "hello over HTTP"}}
    response = await _post(scene, "tools/call", "echo", params)
    return _expect(_result(response.status, await response.read())["content"][0]["text"], "hello over HTTP")


async def http_stream(scene: Scene) -> str:
    """Progress as server-sent events."""
    params = {"name": "countdown", "arguments": {"from": 3}, "_meta": {"progressToken": 1}}
    response = await _post(scene, "tools/call", "countdown", params)
    parser, last = sse.Parser(), b""
    async for chunk in response.chunks():
        for event in parser.feed(chunk):
            last = event.data
            if b"notifications/progress" in last:
                scene.say(_progress(json.loads(last)))
    return _expect(_result(response.status, last)["content"][0]["text"], "counted down from 3")


async def http_resource(scene: Scene) -> str:
    """Not only tools."""
    response = await _post(scene, "resources/read", WELCOME_URI, {"uri": WELCOME_URI})
    return _expect(_result(response.status, await response.read())["contents"][0]["text"], WELCOME_TEXT)


async def connections(scene: Scene) -> str:
    """What the sidecar has open after all that."""
    rows = await scene.grpc.list_connections(SERVER)
    shown = [f"{row.endpoint}, MCP {row.protocol_version}, {row.calls} calls" for row in rows]
    return _expect("; ".join(shown) or "none", "calls")


_ADDRESS = f"POST /servers/{SERVER}/mcp "
ACTS = (
    Act("What can be called?", "gRPC", f'list_tools("{SERVER}")', list_tools),
    Act("The plainest call", "gRPC", f'call_tool("{SERVER}", "add", {{"a": 2, "b": 40}})', add),
    Act(
        "Progress comes before the result",
        "gRPC",
        f'call_tool("{SERVER}", "countdown", {{"from": 3}}, on_notification=print)',
        countdown,
    ),
    Act("Structured output", "gRPC", f'call_tool("{SERVER}", "forecast", {{"city": "Oslo", "days": 1}})', forecast),
    Act(
        "A tool that fails still answers",
        "gRPC",
        f'call_tool("{SERVER}", "forecast", {{"city": "Oslo", "days": 99}})',
        failing_tool,
    ),
    Act(
        "A call that goes nowhere says that it did not run",
        "gRPC",
        'call_tool("wether", "forecast", {"city": "Oslo"})',
        unknown_server,
    ),
    Act(
        "Twenty calls in flight on one stream",
        "gRPC",
        f'conversation("{SERVER}")  20 times tools/call add',
        conversation,
    ),
    Act("Any MCP client can do this", "HTTP", f'{_ADDRESS} tools/call echo {{"text": "hello over HTTP"}}', http_call),
    Act("Progress as server-sent events", "HTTP", f'{_ADDRESS} tools/call countdown {{"from": 3}}', http_stream),
    Act("Not only tools", "HTTP", f"{_ADDRESS} resources/read {WELCOME_URI}", http_resource),
    Act("What the sidecar keeps open for all that", "gRPC", f'list_connections("{SERVER}")', connections),
)


async def _post(scene: Scene, method: str, name: str, params: dict[str, Any]) -> Response:
    meta = {**_META, **params.get("_meta", {})}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}).encode()
    headers = (
        "content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
        f"mcp-protocol-version: {MODERN}\r\nmcp-method: {method}\r\nmcp-name: {name}\r\n"
    )
    return await scene.http.request(b"POST", f"/servers/{SERVER}/mcp".encode(), headers.encode(), body)


def _result(status: int, body: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(body)["result"])
    except (ValueError, KeyError, TypeError) as bad:
        raise Unexpected(f"HTTP {status} {body.decode('utf-8', 'replace')[:200]}") from bad


def _progress(notification: dict[str, Any]) -> str:
    params = notification["params"]
    return f"progress {params['progress']:g}/{params['total']:g}  {params['message']}"


def _expect(answer: str, part: str) -> str:
    if part not in answer:
        raise Unexpected(f"{answer!r} was not to be expected")
    return answer
