"""The HTTP/1.1 listener: sockets, admission of connections, deadlines, drain. Knows no path and no MCP."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mcp_sidecar.wire.faults import Disconnected
from mcp_sidecar.wire.headers import Headers
from mcp_sidecar.wire.limits import ServerLimits
from mcp_sidecar.wire.reply import Reply
from mcp_sidecar.wire.request_parser import Request
from mcp_sidecar.wire.server_connection import Handle, ServerConnection, Service

__all__ = ["Disconnected", "Handle", "Headers", "Listener", "Reply", "Request"]

_BACKLOG: Final = 1024
_OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener:
    """One set of bound sockets whose requests go to `handle`.

    `tasks` becomes the parent of every task here and has to outlive the listener: leave it only after `close`.
    A fault of the handler is answered with an empty 500 and handed to `on_fault`; a handler is cancelled when its
    client disconnects before the answer is complete. `clock` gives monotonic seconds, by default the event loop's.
    """

    def __init__(
        self,
        handle: Handle,
        limits: ServerLimits,
        tasks: asyncio.TaskGroup,
        *,
        on_fault: Callable[[BaseException], None],
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        self._limits = limits
        self._tasks = tasks
        self._tick = limits.tick_seconds
        self._service = Service(handle, limits, tasks, on_fault, self._clock() + self._tick)
        self._service.quiet.set()
        self._sockets: list[socket.socket] = []
        self._own: list[asyncio.Task[None]] = []
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
        _clear_unix(place)
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

    def drain(self) -> None:
        """Accept nobody any more, close idle connections; every later answer carries `connection: close`."""
        if self._service.draining:
            return
        self._service.draining = True
        self._stop_accepting()
        for connection in tuple(self._service.connections):
            connection.drain()

    async def close(self) -> None:
        """Drop what is left and return when every task of this listener has ended."""
        self.drain()
        self._service.closed = True
        for task in self._own:
            task.cancel()
        if self._own:
            await asyncio.wait(self._own)
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

    def _listen(self, opened: list[socket.socket]) -> None:
        self._sockets.extend(opened)
        if not self._own:
            self._own.append(self._tasks.create_task(self._sweeping(), name="http sweep"))
        for sock in opened:
            self._own.append(self._tasks.create_task(self._accepting(sock), name="http accept"))

    def _stop_accepting(self) -> None:
        for task in self._own[1:]:
            task.cancel()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        if self._unix_path is not None:
            self._unix_path.unlink(missing_ok=True)

    async def _sweeping(self) -> None:
        while True:
            await asyncio.sleep(self._tick)
            self.sweep()

    # An accept loop of our own: uvloop's server closes its listening socket when the process is out of descriptors, and
    # neither it nor asyncio's can turn a client away.

    async def _accepting(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except OSError as error:
                # Out of descriptors or memory: the backlog keeps the clients meanwhile.
                await asyncio.sleep(self._tick if error.errno in _OUT_OF_RESOURCES else 0)
                continue
            host = address[0] if isinstance(address, tuple) else ""
            if self._full(host):
                sock.close()
                await asyncio.sleep(0)
            else:
                await self._adopt(sock, host, address)

    def _full(self, host: str) -> bool:
        if len(self._service.connections) >= self._limits.connections:
            return True
        return bool(host) and self._service.per_host[host] >= self._limits.connections_per_peer

    async def _adopt(self, sock: socket.socket, host: str, address: tuple[str, int] | str) -> None:
        if host:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = _peer(address)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: ServerConnection(self._service, peer, host), sock
            )
        except OSError:
            # The client is gone already.
            sock.close()


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


def _clear_unix(place: Path) -> None:
    """Remove the socket of a dead process. Raises `OSError` when the place is not free."""
    if not place.exists():
        return
    if not stat.S_ISSOCK(place.stat().st_mode):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(place))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(place))
        except ConnectionRefusedError:
            place.unlink(missing_ok=True)
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(place))


def _peer(address: tuple[str, int] | str) -> str:
    if isinstance(address, str):
        return "unix"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
