"""A connection as the pool keeps it and as users see it; knows no policy."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from mcp_sidecar.directory import AnyEndpoint
from mcp_sidecar.outbound.link import Link


class State(enum.Enum):
    """Where a connection stands. A disconnected one is kept and reconnects; a closed one is gone."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    CLOSED = "closed"


class Key(NamedTuple):
    """What makes two exchanges share a connection. `capabilities` (JSON text) is empty in the modern era, whose
    requests carry their own; `client` names the conversation that has a session of its own. `lane` tells connections
    apart that are alike, where each carries one call at a time.
    """

    endpoint: AnyEndpoint
    credential: str
    capabilities: bytes = b""
    client: str = ""
    lane: int = 0

    @property
    def upstream(self) -> str:
        return self.endpoint.upstream


@dataclass(slots=True, eq=False)
class Connection:
    """A link and what the pool and the monitor know of it. Times ending in `_at` are monotonic, others wall clock."""

    id: str
    key: Key
    link: Link
    state: State = State.CONNECTING
    since: float = field(default_factory=time.time)
    in_flight: int = 0
    alone: bool = False  # one of those in flight is a call that no other may run beside
    calls: int = 0
    used_at: float = field(default_factory=time.monotonic)
    heard_at: float = field(default_factory=time.monotonic)
    failures: int = 0
    retry_at: float = 0.0
    last_error: str = ""
    closing: bool = False

    @property
    def idle(self) -> bool:
        return self.in_flight == 0 and self.state is not State.CONNECTING

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.key.upstream} {self.state.value} in_flight={self.in_flight}>"


@dataclass(frozen=True, slots=True)
class Row:
    """What users are told of a connection. `since` and `last_used` are wall clock seconds; `lru_rank` 0 is evicted
    first, -1 is busy.
    """

    id: str
    server: str
    endpoint: str
    transport: str
    era: str
    protocol_version: str
    state: State
    since: float
    in_flight: int
    lru_rank: int
    last_error: str
    last_used: float
    calls: int


def describe(connection: Connection, rank: int = -1) -> Row:
    """The row of one connection."""
    quiet = time.monotonic() - connection.used_at
    return Row(
        id=connection.id,
        server=connection.key.upstream,
        endpoint=connection.key.endpoint.address,
        transport=connection.link.transport,
        era=connection.link.era.value,
        protocol_version=connection.link.profile.version,
        state=connection.state,
        since=connection.since,
        in_flight=connection.in_flight,
        lru_rank=rank,
        last_error=connection.last_error,
        last_used=time.time() - quiet,
        calls=connection.calls,
    )
