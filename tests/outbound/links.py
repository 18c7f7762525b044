"""Links to a server with everything they need around them, and what tests say over them; knows no test."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from mcp_sidecar.call import Call
from mcp_sidecar.directory import Endpoint
from mcp_sidecar.outbound.credentials import Credential, token
from mcp_sidecar.outbound.http_legacy import HttpCarrier
from mcp_sidecar.outbound.http_modern import ModernLink
from mcp_sidecar.outbound.legacy import LegacyConversation
from mcp_sidecar.outbound.link import Link, refusal
from mcp_sidecar.protocol.eras import LATEST_LEGACY, LATEST_MODERN, Era
from mcp_sidecar.protocol.handshake import ServerProfile, modern_meta
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.watched import WatchedFile
from mcp_sidecar.wire.http_client import HttpClient, Origin
from mcp_sidecar.wire.limits import ClientLimits

SECONDS = 10.0
"""Nothing here takes longer on a machine that works."""

NOBODY = Credential()


def showing(secret: str) -> Credential:
    """The credential of a token, from a file that is not there any more."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(secret.encode())
        file.flush()
        return Credential(secret, WatchedFile(file.name, token, lambda _: None))


@cache
def endpoint_of(url: str, upstream: str = "up") -> Endpoint:
    """The endpoint behind an http URL; the same object for the same URL."""
    parts = urlsplit(url)
    return Endpoint(upstream, "http", parts.hostname or "", parts.port or 80, parts.netloc, parts.path)


def client_of(url: str) -> HttpClient:
    endpoint = endpoint_of(url)
    return HttpClient(Origin(endpoint.host, endpoint.port, endpoint.authority.encode()), ClientLimits())


def client_in(link: Any) -> HttpClient:
    """The client that a link to an HTTP server sends with."""
    client: HttpClient = getattr(link, "_carrier", link)._client
    return client


class Clients:
    """Counts the clients it hands out."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.made: list[HttpClient] = []

    def __call__(self) -> HttpClient:
        self.made.append(client_of(self._url))
        return self.made[-1]


class Heard:
    """A sink that keeps what it is told and refuses what it is asked."""

    def __init__(self, on_notify: Callable[[], None] = lambda: None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self._on_notify = on_notify

    async def notify(self, method: str, message: bytes) -> None:
        self.messages.append(json.loads(message))
        self._on_notify()

    async def ask(self, request: Request) -> Response:
        self.asked.append(request.method)
        return refusal(request)

    def of(self, method: str) -> list[dict[str, Any]]:
        """The params of the notifications with this method."""
        return [message.get("params", {}) for message in self.messages if message["method"] == method]


@asynccontextmanager
async def family() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that lets the one exception of its block or of its tasks out as it is."""
    try:
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


@asynccontextmanager
async def modern(url: str, credential: Credential = NOBODY) -> AsyncIterator[ModernLink]:
    link = ModernLink(endpoint_of(url), credential, client_of(url), ServerProfile(LATEST_MODERN))
    try:
        async with asyncio.timeout(SECONDS):
            yield link
    finally:
        await link.close()


@asynccontextmanager
async def legacy(
    url: str, credential: Credential = NOBODY, *, version: str = LATEST_LEGACY, capabilities: bytes = b"{}"
) -> AsyncIterator[LegacyConversation]:
    async with family() as tasks:
        carrier = HttpCarrier(endpoint_of(url), credential, client_of(url))
        link = LegacyConversation("up", carrier, tasks, version=version, capabilities=capabilities)
        try:
            yield link
        finally:
            await link.close()


def link_of(era: str, url: str) -> Any:
    """A context with a link of this era."""
    return modern(url) if era == "modern" else legacy(url)


def a_call() -> Call:
    return Call(rpc="test", request_id="r-1")


def tool(link: Link, name: str, arguments: dict[str, Any] | None = None, **meta: Any) -> Request:
    """A `tools/call` in the shape of the link's era; `meta` goes into `_meta`."""
    ours = {} if link.era is Era.LEGACY else modern_meta()
    ours |= {key: json.dumps(value).encode() for key, value in meta.items()}
    params = {"name": json.dumps(name).encode(), "arguments": json.dumps(arguments or {}).encode()}
    return Request("tools/call", b'"mine"', params, ours)


def listing(link: Link) -> Request:
    return Request("tools/list", b'"mine"', meta={} if link.era is Era.LEGACY else modern_meta())


async def ask(
    link: Link, name: str, arguments: dict[str, Any] | None = None, *, call: Call | None = None, **meta: Any
) -> str:
    """The text a tool answers with."""
    return text_of(await link.exchange(tool(link, name, arguments, **meta), call or a_call(), Heard()))


def text_of(response: Response) -> str:
    """The text in a tool's result."""
    assert response.result is not None, response.error
    text: str = json.loads(response.result)["content"][0]["text"]
    return text
