"""What the pages need of the HTTP face: to be told who asks, and the chain around what they do. Does neither."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from mcp_sidecar.call import Call
from mcp_sidecar.wire.http_server import TEXT, Reply, Request

Page = Callable[[Request, Reply], Awaitable[None]]
Deed = Callable[[Call, Request, Reply], Awaitable[Any]]
"""What is done for a visitor, as a call; it answers through the reply, and what it raises is answered by the door."""


class Door(Protocol):
    """Every failure is answered at the door, as JSON."""

    async def admit(self, request: Request, reply: Reply, rpc: str) -> Call | None:
        """Who asks to see something; None when the answer was no, and was given."""

    def doing(self, deed: Deed, rpc: str) -> Page:
        """A page that does something, with authentication, a log line and a sample, for pages of the sidecar only."""


JSON = b"content-type: application/json\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
EVENTS = (
    b"content-type: text/event-stream\r\ncache-control: no-store, no-transform\r\n"
    b"x-content-type-options: nosniff\r\nx-accel-buffering: no\r\n"
)


def only(method: bytes, page: Page) -> Page:
    """The page, for requests with this method; GET includes HEAD."""

    async def answer(request: Request, reply: Reply) -> None:
        asked = request.head.method.encode()
        if asked == method or (method, asked) == (b"GET", b"HEAD"):
            await page(request, reply)
        else:
            allowed = [b"GET", b"HEAD"] if method == b"GET" else [method]
            reply.send(405, TEXT + b"allow: %b\r\n" % b", ".join(allowed), b"only %b\n" % b" and ".join(allowed))

    return answer


def event(name: bytes, data: bytes) -> bytes:
    """One server-sent event; JSON that we write has no line ends."""
    return b"event: %b\ndata: %b\n\n" % (name, data)
