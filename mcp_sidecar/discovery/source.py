"""What a source of MCP servers is, and what it publishes; knows neither DNS nor Kubernetes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from mcp_sidecar.discovery.pulse import Pulse


@dataclass(frozen=True, slots=True)
class Address:
    """Where one instance of a server listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Found:
    """A server that was found, with every instance of it."""

    name: str
    """`[a-z0-9-]`, at most 63 characters, unique within one publication."""
    transport: Literal["http", "sse"]
    secure: bool
    path: str
    authority: str
    """What goes into the Host header, such as `weather.tools.svc:8080`."""
    ready: tuple[Address, ...]
    """Instances for new sessions; empty when there is none just now."""
    leaving: tuple[Address, ...] = ()
    """Instances that still serve the sessions they have, and get no new ones."""
    origin: str = ""
    """Where it was found, for people: `Service tools/weather`."""


Publish = Callable[[tuple[Found, ...]], None]


class Source(Protocol):
    """A place where servers are found."""

    pulse: Pulse

    async def run(self, publish: Publish) -> None:
        """Publish the whole set once it is known and after every change, until cancelled.

        While the source cannot be reached nothing is published, so that what was known stays. Raises nothing.
        """
