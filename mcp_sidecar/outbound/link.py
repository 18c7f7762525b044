"""The interface of a link, our way to one endpoint of an MCP server; knows no client and no wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from mcp_sidecar.call import Call
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.eras import METHOD_NOT_FOUND, Era
from mcp_sidecar.protocol.handshake import ServerProfile


class Sink(Protocol):
    """Where the events of an exchange go before its response. Slow sinks slow the exchange down, never fill memory."""

    async def notify(self, method: str, message: bytes) -> None:
        """A notification that belongs to the exchange, as a whole message."""

    async def ask(self, request: jsonrpc.Request) -> jsonrpc.Response:
        """A request of the server to the client; what is returned is the client's answer."""


class Ignore:
    """A sink for callers that want the response only."""

    async def notify(self, method: str, message: bytes) -> None:
        """Drop it."""

    async def ask(self, request: jsonrpc.Request) -> jsonrpc.Response:
        """Refuse: the sidecar declares no client capability that would allow a server to ask."""
        return refusal(request)


def refusal(request: jsonrpc.Request) -> jsonrpc.Response:
    """The answer to a server's request that nobody here can fulfil."""
    error = jsonrpc.encode_error(METHOD_NOT_FOUND, f"{request.method} is not supported by this client")
    return jsonrpc.Response(request.id, error=error)


class Link(Protocol):
    """One MCP conversation with one endpoint, for one credential.

    Every method raises `SidecarError`s only. Cancelling `exchange` cancels the request upstream, in the way of the
    link's era.
    """

    era: Era
    transport: str  # `http`, `sse`, `stdio` or `grpc`
    stateful: bool  # there is something between two exchanges that can be lost: a session, a process

    @property
    def profile(self) -> ServerProfile:
        """What the server said of itself when the link was opened."""

    async def open(self) -> None:
        """Do what must precede the first exchange."""

    async def exchange(self, request: jsonrpc.Request, call: Call, sink: Sink) -> jsonrpc.Response:
        """Send one request (ids and tokens are replaced by ours) and wait for its end.

        `call.execution` follows: NONE until bytes may have left, UNKNOWN from then, DONE once the server answered.
        """

    async def check(self) -> None:
        """Raise unless the conversation still stands; never begins a new one."""

    def close_idle(self, unused_for: float) -> None:
        """Close sockets that were not used for so many seconds."""

    async def close(self) -> None:
        """End the conversation; exchanges on it end as lost. Takes a second at most."""


class LegacyLink(Link, Protocol):
    """What links of the legacy era offer besides: there, these are not requests like all others."""

    @property
    def session(self) -> str:
        """What traces call the session that stands; empty for none, and for one that has no id."""

    async def listen(self, sink: Sink, begun: Callable[[], Awaitable[None]]) -> None:
        """Pass on what the session says by itself, until that is over (then `UpstreamLost`) or nobody wants it.

        `begun` is awaited once nothing more can be missed.
        """

    async def subscribe(self, uri: bytes, call: Call) -> bytes | None:
        """Have the server tell of changes to a resource (`uri` is JSON text) until `unsubscribe`.

        Returns the server's error, as JSON text, when it refuses: then there is nothing to unsubscribe from.
        """

    def unsubscribe(self, uri: bytes) -> None:
        """One subscriber less; never waits."""

    async def want_logs(self, level: str, call: Call) -> None:
        """Have the server log at `level` or below; the session's lowest wish wins."""

    async def tell(self, notification: jsonrpc.Request) -> None:
        """Pass on what the session's client tells, if the session stands; takes a second at most and never fails.

        Progress is passed on when it is about an open question of the server, with the server's own token.
        """
