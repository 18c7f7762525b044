"""What the connections of one listener share: the handler, the limits, and counts of what there is. Knows no socket."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mcp_sidecar.wire.heads import Heads
from mcp_sidecar.wire.limits import ServerLimits
from mcp_sidecar.wire.outbox import Outbox
from mcp_sidecar.wire.reply import Reply
from mcp_sidecar.wire.request_parser import Head, Request

if TYPE_CHECKING:
    from mcp_sidecar.wire.server_connection import ServerConnection

Handle = Callable[[Request, Reply], Awaitable[object]]
OnRefusal = Callable[[str, int, str], bytes]
"""Told peer, status and reason of a request that is refused before a handler sees it; returns lines for the answer."""


def unheard(_peer: str, _status: int, _why: str) -> bytes:
    """What is done about a refusal where nobody wants to hear of it."""
    return b""


@dataclass(slots=True, eq=False)
class Service:
    """What the connections of one listener share. Times are in seconds on the listener's clock.

    `now` is the latest moment that what happens before the next sweep can happen at: noted with it, nothing looks older
    than it is, and noting costs no clock reading.
    """

    handle: Handle
    limits: ServerLimits
    tasks: asyncio.TaskGroup
    on_fault: Callable[[BaseException], None]
    on_refusal: OnRefusal
    now: float
    outbox: Outbox
    parting: bool = False
    """Every answer is the last of its connection: whoever has more to ask had better look for another listener."""
    draining: bool = False
    closed: bool = False
    serving: int = 0
    """Requests whose handlers are running."""
    held_bytes: int = 0
    """Bodies that have begun and are not complete."""
    heads: Heads[Head] = field(default_factory=Heads)
    connections: set[ServerConnection] = field(default_factory=set)
    per_host: Counter[str] = field(default_factory=Counter)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nobody is admitted."""
    admitted: int = 0
    orphans: set[asyncio.Task[None]] = field(default_factory=set)
    """Tasks whose connection is gone and which are still coming to their end."""

    def room_for(self, host: str) -> bool:
        """May another client connect from `host` (empty: a unix socket)?"""
        if self.admitted >= self.limits.connections:
            return False
        return not host or self.per_host[host] < self.limits.connections_per_peer

    def enter(self, host: str) -> None:
        """A client was admitted; `leave` is owed."""
        self.admitted += 1
        self.per_host[host] += 1
        self.quiet.clear()

    def leave(self, host: str) -> None:
        self.admitted -= 1
        self.per_host[host] -= 1
        if not self.per_host[host]:
            del self.per_host[host]
        if not self.admitted:
            self.quiet.set()
