"""Which connections count against the limits of the pool, and which has to go first; keeps none."""

from __future__ import annotations

from collections.abc import Collection

from mcp_sidecar.outbound.connection import Connection


def takes_place(connection: Connection) -> bool:
    """A client's own session over HTTP has no socket while it is idle: it is a name that the server knows, and what
    bounds these is how many clients there may be.
    """
    return not (connection.key.client and connection.idle and connection.link.transport == "http")


def is_full(connections: Collection[Connection], most: int) -> bool:
    """There is no place for one more."""
    return len(connections) >= most and sum(map(takes_place, connections)) >= most


def patience(connection: Connection) -> tuple[bool, float]:
    """Of idle connections the least has to go first. What a server keeps in a session that is one client's own is lost
    with it; others hold nothing.
    """
    return bool(connection.key.client), connection.used_at
