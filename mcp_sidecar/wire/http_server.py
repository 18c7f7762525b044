"""The HTTP/1.1 listener: sockets, admission of connections, deadlines, drain. Knows no path and no MCP."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mcp_sidecar.wire.faults import Disconnected
from mcp_sidecar.wire.headers import Headers
from mcp_sidecar.wire.limits import ServerLimits
from mcp_sidecar.wire.outbox import Outbox
from mcp_sidecar.wire.reply import TEXT, Reply, fields
from mcp_sidecar.wire.request_parser import Head, Request
from mcp_sidecar.wire.server_connection import ServerConnection
from mcp_sidecar.wire.service import Handle, OnRefusal, Service, unheard
from mcp_sidecar.wire.unix_sockets import clear_unix

__all__ = [
    "TEXT",
    "Disconnected",
    "Handle",
    "Head",
    "Headers",
    "Listener",
    "OnRefusal",
    "Reply",
    "Request",
    "fields",
    "unheard",
]

_BACKLOG: Final = 1024
# Connections taken per turn of the loop, so that a flood of them leaves turns for the others.
_ACCEPTS: Final = 64


class Listener:
    """One set of bound sockets whose requests go to `handle`.

    `tasks` becomes the parent of every task here and has to outlive the listener: leave it only after `close`.
    A fault of the handler is answered with an empty 500 and handed to `on_fault`; a handler is cancelled when its
    client disconnects before the answer is complete. `on_refusal` hears of requests that no handler sees. `clock` gives
    monotonic seconds, by default the event loop's. With `tls`, which gives the context for the next handshake, nothing
    else is spoken, and `on_handshake` is told peer and reason of those that fail.
    """

    def __init__(
        self,
        handle: Handle,
        limits: ServerLimits,
        tasks: asyncio.TaskGroup,
        *,
        on_fault: Callable[[BaseException], None],
        on_refusal: OnRefusal = unheard,
        clock: Callable[[], float] | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        on_handshake: Callable[[str, str], None] = lambda _peer, _why: None,
    ) -> None:
        self._tls = tls
        self._on_handshake = on_handshake
        self._clock = clock or asyncio.get_running_loop().time
        self._limits = limits
        self._tasks = tasks
        self._tick = limits.tick_seconds
        self._service = Service(
            handle, limits, tasks, on_fault, on_refusal, self._clock() + self._tick, Outbox(asyncio.get_running_loop())
        )
        self._service.quiet.set()
        self._sockets: list[socket.socket] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._adopting: set[asyncio.Task[None]] = set()
        self._exhausted: list[socket.socket] = []
        self._unix_path: Path | None = None

    @property
    def connections(self) -> int:
        return len(self._service.connections)

    async def bind(self, host: str, port: int) -> tuple[str, int]:
        """Listen on every address `host` resolves to; returns the first address and the port (0 picks one).

        Raises `OSError` when an address is taken or does not exist here.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        opened: list[socket.socket] = []
        try:
            for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
                # The port picked for the first address is the one wanted for the others.
                chosen = opened[0].getsockname()[1] if opened else port
                opened.append(_listening(family, (address[0], chosen, *address[2:])))
        except OSError:
            for sock in opened:
                sock.close()
            raise
        self._listen(opened)
        bound = opened[0].getsockname()
        return str(bound[0]), int(bound[1])

    def bind_unix(self, path: str, mode: int = 0o660) -> str:
        """Listen on a unix socket with these permissions; a file left by a dead process is replaced.

        Raises `OSError` when somebody listens there or something else than a socket is in the way.
        """
        place = Path(path)
        clear_unix(place)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(path)
            place.chmod(mode)
            sock.setblocking(False)
            sock.listen(_BACKLOG)
        except OSError:
            sock.close()
            raise
        self._unix_path = place
        self._listen([sock])
        return path

    def part(self) -> None:
        """Serve everybody who comes; every answer from here on carries `connection: close`."""
        self._service.parting = True

    def drain(self) -> None:
        """Accept nobody after those who are connected by now, and close idle connections; `part` as well."""
        if self._service.draining:
            return
        self.part()
        self._service.draining = True
        self._stop_accepting()
        for connection in tuple(self._service.connections):
            connection.drain()

    async def close(self) -> None:
        """Drop what is left and return when every task of this listener has ended."""
        self.drain()
        self._service.closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        if self._adopting:
            for task in self._adopting:
                task.cancel()  # else a client that says nothing in its handshake would hold us up
            await asyncio.wait(self._adopting)
        for connection in tuple(self._service.connections):
            connection.abort()
        # Transports report their end in a later turn of the loop.
        await self._service.quiet.wait()
        for task in self._service.orphans:
            # Once only: a second cancellation would cut a handler's cleaning up short.
            if not task.cancelling():
                task.cancel()
        if self._service.orphans:
            await asyncio.wait(self._service.orphans)

    def sweep(self) -> None:
        """Look at every connection's deadlines; called by the listener's own task once per tick."""
        now = self._clock()
        self._service.now = now + self._tick
        for connection in tuple(self._service.connections):
            connection.sweep(now)
        while self._exhausted:
            listening = self._exhausted.pop()
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _listen(self, opened: list[socket.socket]) -> None:
        self._sockets.extend(opened)
        if self._sweeper is None:
            self._sweeper = self._tasks.create_task(self._sweeping(), name="http sweep")
        for listening in opened:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _stop_accepting(self) -> None:
        for listening in self._sockets:
            # Who is in the backlog believes to be connected: closing it would be a reset for a call already sent.
            self._accept(listening)
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        self._sockets.clear()
        self._exhausted.clear()
        if self._unix_path is not None:
            self._unix_path.unlink(missing_ok=True)

    async def _sweeping(self) -> None:
        while True:
            await asyncio.sleep(self._tick)
            self.sweep()

    # Accepting is done here because uvloop's server closes its listening socket when the process is out of descriptors,
    # and because neither it nor asyncio's can turn a client away.

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # Out of descriptors or memory: the clients wait in the backlog until the next sweep.
                asyncio.get_running_loop().remove_reader(listening)
                self._exhausted.append(listening)
                return
            self._admit(sock, address)

    def _admit(self, sock: socket.socket, address: tuple[str, int] | str) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if not self._service.room_for(host):
            sock.close()
            return
        sock.setblocking(False)
        connection = ServerConnection(self._service, _peer(address), host)
        adoption = self._adopt(connection, sock, _peer(address))
        try:
            task = self._tasks.create_task(adoption, name="http accept")
        except RuntimeError:
            # The group is ending: nobody would wait for the task.
            adoption.close()
            sock.close()
            return
        self._service.enter(host)
        self._adopting.add(task)
        task.add_done_callback(functools.partial(self._adopted, connection, sock))

    async def _adopt(self, connection: ServerConnection, sock: socket.socket, peer: str) -> None:
        try:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._connect(connection, sock)
        except ssl.SSLError as error:
            self._on_handshake(peer, _spoken(error))
        except ConnectionAbortedError:
            self._on_handshake(peer, "the handshake took too long")
        except OSError:
            # Whoever reset the connection meanwhile needs no answer.
            pass

    async def _connect(self, connection: ServerConnection, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if self._tls is None:
            await loop.connect_accepted_socket(lambda: connection, sock)
            return
        await loop.connect_accepted_socket(
            lambda: connection,
            sock,
            ssl=self._tls(),
            ssl_handshake_timeout=self._limits.handshake_seconds,
            ssl_shutdown_timeout=self._limits.linger_seconds,
        )

    def _adopted(self, connection: ServerConnection, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._adopting.discard(task)
        if not connection.made:
            # The client is gone already, or the task was cancelled: no transport will report the end.
            sock.close()
            connection.depart()


def _spoken(error: ssl.SSLError) -> str:
    """OpenSSL's reason, in its words but not in its spelling: `peer did not return a certificate`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate does not hold: {error.verify_message}"
    return (error.reason or "the handshake failed").replace("_", " ").lower()


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restart may not wait for the last process's connections; a listener that is alive is still an error.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _peer(address: tuple[str, int] | str) -> str:
    if isinstance(address, str):
        return "unix"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
