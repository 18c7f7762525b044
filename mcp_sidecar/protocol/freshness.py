"""For how long and for whom a result is good: `ttlMs` and `cacheScope` (MCP 2026-07-28, server/utilities/caching)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from mcp_sidecar.protocol.jsonrpc import Members

TTL, SCOPE = "ttlMs", "cacheScope"
LONGEST_MS = 3_600_000
"""Nothing is believed for longer than an hour: a notification may have been missed."""
_PUBLIC = b'"public"'
_number = msgspec.json.Decoder(float)


class Freshness(NamedTuple):
    """`ttl_ms` counts from the receipt; 0 is out of date at once. `private`: for the same caller only."""

    ttl_ms: int
    private: bool


def read(found: Mapping[str, bytes]) -> Freshness:
    """The hints among the members of a result. What is missing or makes no sense is taken for the strictest."""
    try:
        ttl = _number.decode(found.get(TTL, b"0"))
    except msgspec.DecodeError:
        ttl = 0.0
    return Freshness(int(max(0.0, min(ttl, LONGEST_MS))), found.get(SCOPE) != _PUBLIC)


def without(found: Members) -> Members:
    """The members but for the hints."""
    return {key: value for key, value in found.items() if key not in (TTL, SCOPE)}


def hints(ttl_ms: int, *, private: bool) -> Members:
    """The two members."""
    return {TTL: b"%d" % ttl_ms, SCOPE: b'"private"' if private else _PUBLIC}
