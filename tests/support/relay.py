"""Passes bytes between clients and one port, and can cut all connections; knows no protocol."""

from __future__ import annotations

import asyncio
from typing import Self


class Relay:
    """`async with Relay(port) as relay:`, then connect to `relay.port`."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.accepted = 0
        self.carried = 0
        """Bytes, both ways."""
        self._target = target
        self._open: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(lambda: _End(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Every connection is lost, on both sides."""
        for transport in tuple(self._open):
            transport.abort()


class _End(asyncio.Protocol):
    """One of the two ends of a connection; what arrives at one leaves at the other."""

    transport: asyncio.Transport

    def __init__(self, relay: Relay, other: _End | None = None) -> None:
        self._relay = relay
        self._other = other
        self._waiting = bytearray()
        self._dialing: asyncio.Task[object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self._relay._open.add(self.transport)
        if self._other is None:
            self._relay.accepted += 1
            self._dialing = asyncio.get_running_loop().create_task(self._dial())
        else:
            self._other.joined(self)

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _End(self._relay, self), "127.0.0.1", self._relay._target)
        except OSError:
            self.transport.abort()

    def joined(self, other: _End) -> None:
        self._other = other
        other.transport.write(bytes(self._waiting))
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        self._relay.carried += len(data)
        if self._other is None:
            self._waiting += data
        else:
            self._other.transport.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._relay._open.discard(self.transport)
        if self._other is not None and not self._other.transport.is_closing():
            self._other.transport.close()
