"""A link without a server: it opens, breaks and closes when told. Knows no pool."""

from __future__ import annotations

import asyncio

from mcp_sidecar.call import Call
from mcp_sidecar.directory import Endpoint
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.outbound.connection import Key
from mcp_sidecar.outbound.link import Sink
from mcp_sidecar.protocol.eras import Era
from mcp_sidecar.protocol.handshake import ServerProfile
from mcp_sidecar.protocol.jsonrpc import Request, Response


class FakeLink:
    """Opens at once unless `held`; then `finish` opens it, or fails it with an error."""

    def __init__(self, key: Key, *, held: bool = False, stateful: bool = True, transport: str = "http") -> None:
        self.key = key
        self.era = Era.LEGACY if stateful else Era.MODERN
        self.transport = transport
        self.stateful = stateful
        self.profile = ServerProfile("2025-11-25")
        self.opened = self.closed = self.checked = 0
        self.idle_limits: list[float] = []
        self.error: SidecarError | None = None
        """What opening fails with."""
        self.broken: SidecarError | None = None
        """What checking fails with."""
        self._go = asyncio.Event()
        if not held:
            self._go.set()

    def finish(self, error: SidecarError | None = None) -> None:
        self.error = error
        self._go.set()

    @property
    def opening(self) -> bool:
        return not self._go.is_set()

    async def open(self) -> None:
        self.opened += 1
        await self._go.wait()
        if self.error is not None:
            raise self.error

    async def exchange(self, request: Request, call: Call, sink: Sink) -> Response:
        return Response(request.id, result=b"{}")

    async def check(self) -> None:
        self.checked += 1
        if self.broken is not None:
            raise self.broken

    def close_idle(self, unused_for: float) -> None:
        self.idle_limits.append(unused_for)

    async def close(self) -> None:
        self.closed += 1


class Links:
    """Opens fake links for keys and remembers them all."""

    def __init__(self, *, held: bool = False, stateful: bool = True, transport: str = "http") -> None:
        self.held = held
        self.stateful = stateful
        self.transport = transport
        self.made: list[FakeLink] = []

    def opener(self, key: Key) -> LinkOpener:
        return LinkOpener(self, key)


class LinkOpener:
    def __init__(self, links: Links, key: Key) -> None:
        self._links = links
        self._key = key

    def __call__(self) -> FakeLink:
        its = self._links
        link = FakeLink(self._key, held=its.held, stateful=its.stateful, transport=its.transport)
        self._links.made.append(link)
        return link


ENDPOINTS = {name: Endpoint(name, "http", "127.0.0.1", 80, "127.0.0.1", "/mcp") for name in ("a", "b", "c")}


def key_of(name: str) -> Key:
    """`a` is an endpoint; what follows it tells credentials apart: `a1`, `a2`. `a of-alice` is a client's own."""
    name, _, client = name.partition(" ")
    return Key(ENDPOINTS[name[0]], name[1:], b"{}", client)
