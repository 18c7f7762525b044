"""An HTTP/1.1 client of one origin: keep-alive sockets, one request at a time on each. Knows no retry and no MCP.

It follows no redirect, keeps no cookie, undoes no encoding and reads no proxy from the environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp_sidecar.wire.client_socket import ClientSocket, Response
from mcp_sidecar.wire.faults import BadReply, ConnectFailed, ConnectionLost, ReplyTooLarge
from mcp_sidecar.wire.headers import Headers
from mcp_sidecar.wire.heads import Heads
from mcp_sidecar.wire.limits import ClientLimits
from mcp_sidecar.wire.outbox import Outbox
from mcp_sidecar.wire.reply_parser import ReplyHead

if TYPE_CHECKING:
    import ssl

__all__ = [
    "BadReply",
    "ConnectFailed",
    "ConnectionLost",
    "Headers",
    "HttpClient",
    "Origin",
    "ReplyTooLarge",
    "Response",
]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go. `host` is dialled, `name` or else `host` verified with TLS; `authority` is the Host field."""

    host: str
    port: int
    authority: bytes
    tls: Callable[[], ssl.SSLContext] | None = None
    """Gives the context for the next handshake. Raises `OSError` when there is none."""
    name: str = ""
    """What its certificate is to say; empty is `host`."""


# Below this size one write of head and body together is cheaper than two.
_JOIN_BYTES = 64 * 1024


class HttpClient:
    """The sockets to one origin. It opens a socket when none is idle: how many may be busy is its owner's to bound."""

    def __init__(self, origin: Origin, limits: ClientLimits) -> None:
        self._origin = origin
        self._limits = limits
        self._host_line = b" HTTP/1.1\r\nhost: %b\r\n" % origin.authority
        self._open: set[ClientSocket] = set()
        self._idle: list[ClientSocket] = []  # the longest idle first
        self.heads: Heads[ReplyHead] = Heads()
        self._outbox = Outbox(asyncio.get_running_loop())
        self._closed = False

    @property
    def open_sockets(self) -> int:
        return len(self._open)

    @property
    def busy_sockets(self) -> int:
        return len(self._open) - len(self._idle)

    async def request(self, method: bytes, target: bytes, headers: bytes, body: bytes) -> Response:
        """Send a request and return its reply once the head is there; close the reply when done with it.

        `target` and `headers` (`b"name: value\\r\\n…"`, without Host and Content-Length) go out as they are: the caller
        vouches that no value in them holds a line break. No HEAD, no CONNECT. Raises `ConnectFailed`, `ConnectionLost`,
        `BadReply`, `ReplyTooLarge`. There is no timeout but for the connect; when cancelled, the socket is dropped.
        """
        coming = self.begin(method, target, headers, body)
        if coming is None:
            self._idle.append(await self._connect())
            coming = self.begin(method, target, headers, body)
            if coming is None:
                raise ConnectFailed("the server closed the connection at once")
        try:
            return await coming
        except asyncio.CancelledError:
            self.give_up(coming)
            raise

    def begin(self, method: bytes, target: bytes, headers: bytes, body: bytes) -> asyncio.Future[Response] | None:
        """As `request`, if a socket is idle: the reply that is to come, or None. Nothing has happened then.

        Whoever is cancelled while waiting for it has to `give_up`.
        """
        while self._idle:
            # The one used last, so that the others can grow old and be closed.
            sock = self._idle.pop()
            if sock.usable:
                host, length = self._host_line, len(body)
                joined, apart = (body, b"") if length < _JOIN_BYTES else (b"", body)
                if length or method == b"POST":
                    data = b"%b %b%b%bcontent-length: %d\r\n\r\n%b" % (method, target, host, headers, length, joined)
                else:
                    data = b"%b %b%b%b\r\n" % (method, target, host, headers)
                return sock.exchange(data, apart, alone=len(self._open) - len(self._idle) <= 1)
            sock.drop()
        return None

    def give_up(self, coming: asyncio.Future[Response]) -> None:
        """Nobody waits for this reply any more: its socket is dropped."""
        if coming.done() and not coming.cancelled():
            # The reply came in the same moment: complete, it has released the socket, which may serve another.
            if coming.exception() is None:
                coming.result().close()
            return
        for sock in [sock for sock in self._open if sock.is_for(coming)]:
            sock.drop()

    def close_idle(self, unused_for: float) -> int:
        """Close the sockets idle for `unused_for` seconds or longer; returns how many."""
        limit = asyncio.get_running_loop().time() - unused_for
        old = [sock for sock in self._idle if sock.idle_since <= limit]
        for sock in old:
            sock.close()
        return len(old)

    def close(self) -> None:
        """Close every socket; exchanges in progress end with `ConnectionLost`, later ones with `ConnectFailed`."""
        self._closed = True
        for sock in tuple(self._idle):
            sock.close()
        for sock in tuple(self._open):
            sock.fail(ConnectionLost("the client was closed", sent=True, reply_started=False))

    async def _connect(self) -> ClientSocket:
        origin, limits = self._origin, self._limits
        if self._closed:
            raise ConnectFailed("the client is closed")
        loop = asyncio.get_running_loop()
        where = f"{origin.host}:{origin.port}"
        name = (origin.name or origin.host) if origin.tls else None
        sock = ClientSocket(self, limits, loop, self._outbox)
        connected = False
        try:
            async with asyncio.timeout(limits.connect_seconds + (limits.tls_seconds if origin.tls else 0.0)):
                await loop.create_connection(
                    lambda: sock,
                    origin.host,
                    origin.port,
                    ssl=origin.tls() if origin.tls else None,
                    server_hostname=name,
                )
            connected = True
        except TimeoutError as error:
            raise ConnectFailed(f"no connection to {where} in time") from error
        except OSError as error:  # ssl.SSLError is one
            raise ConnectFailed(f"no connection to {where}: {error}") from error
        finally:
            # Cancelled in the turn in which it was connected: uvloop tells the protocol nothing of its end then.
            if sock in self._open and not connected:
                sock.drop()
        if not sock.usable:
            sock.drop()
            raise ConnectFailed(f"{where} closed the connection at once")
        return sock

    # The sockets' side (`client_socket.Home`).

    def opened(self, sock: ClientSocket) -> None:
        self._open.add(sock)
        if self._closed:
            sock.drop()

    def released(self, sock: ClientSocket) -> None:
        if self._closed:
            sock.close()
            return
        self._idle.append(sock)

    def gone(self, sock: ClientSocket) -> None:
        self._open.discard(sock)
        if sock in self._idle:
            self._idle.remove(sock)
