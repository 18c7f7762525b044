"""A source of servers that finds what a test says; decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from mcp_sidecar.discovery.pulse import Pulse
from mcp_sidecar.discovery.source import Address, Found, Publish
from tests.support.fake_server import FakeServer


class ScriptedSource:
    """A `Source`. What is said before it runs is published when it does."""

    def __init__(self, *found: Found) -> None:
        self._found: tuple[Found, ...] | None = found or None
        self._publish: Publish | None = None
        self.pulse = Pulse()

    async def run(self, publish: Publish) -> None:
        self._publish = publish
        if self._found is not None:
            publish(self._found)
        await asyncio.get_running_loop().create_future()

    def say(self, *found: Found) -> None:
        """These are all there are."""
        self._found = found
        if self._publish is not None:
            self._publish(found)


def found(name: str, *servers: FakeServer, leaving: Iterable[FakeServer] = ()) -> Found:
    """A server whose instances are these."""
    return Found(name, "http", False, "/mcp", f"{name}.tools.svc", _at(servers), _at(leaving), f"Service tools/{name}")


def _at(servers: Iterable[FakeServer]) -> tuple[Address, ...]:
    return tuple(Address("127.0.0.1", server.port) for server in servers)
