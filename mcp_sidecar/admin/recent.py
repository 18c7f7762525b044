"""The calls that ended last, as plain values, and the times of each server. Knows neither faces nor wires.

No call is kept, only what is copied from it: an RPC's context must not outlive the RPC, and would keep its stream
allocated.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from mcp_sidecar.admin.latency import Latency
from mcp_sidecar.call import Call, Payloads
from mcp_sidecar.errors import Blame, SidecarError
from mcp_sidecar.spans import Received

MOST = 200
"""Calls that are remembered."""
_MOST_SERVERS = 1024


class CallLine(Protocol):
    """The line of a call in the log: a struct of strings and numbers."""

    server: str
    duration_ms: float


class Leg(msgspec.Struct, frozen=True, gc=False):
    """One request that was sent for a call: when it was, in milliseconds since the call came."""

    name: str
    toward: str
    offset_ms: float
    duration_ms: float
    error: str


class Ended(msgspec.Struct, frozen=True):
    """One call that ended at `at` (monotonic seconds)."""

    number: int
    at: float
    line: Any
    connection_id: str
    protocol_version: str
    from_cache: bool
    legs: tuple[Leg, ...] = ()
    payloads: Payloads | None = None

    def shown(self, elapsed: float) -> dict[str, Any]:
        """Every field for a reader; `elapsed` leads from the monotonic clock to the one on the wall."""
        fields: dict[str, Any] = msgspec.structs.asdict(self.line)
        for private in ("time", "event", "stack"):  # the stack of a bug is for the log
            fields.pop(private, None)
        fields |= {
            "number": self.number,
            "at": round(self.at + elapsed, 3),
            "connection_id": self.connection_id,
            "protocol_version": self.protocol_version,
            "from_cache": self.from_cache,
            "legs": self.legs,
        }
        if self.payloads is not None:
            fields["payloads"] = {
                "request": self.payloads.request.decode(errors="replace"),
                "answer": self.payloads.answer.decode(errors="replace"),
            }
        return fields


class Recent:
    """What the ledger tells of each call, for as long as there is room."""

    def __init__(self) -> None:
        self._ring: deque[Ended] = deque(maxlen=MOST)
        self._servers: dict[str, Latency] = {}
        self.count = 0
        """Calls so far; the number of the last one."""

    def tell(self, call: Call, at: float, failure: SidecarError | None, line: CallLine) -> None:
        """A call ended at `at`, with this line in the log."""
        self.count += 1
        legs = () if call.span is None else _legs(call.span, call.started)
        self._ring.append(
            Ended(
                self.count,
                at,
                line,
                call.connection_id,
                call.protocol_version,
                call.from_cache,
                legs,
                call.payloads,
            )
        )
        if line.server:
            latency = self._servers.get(line.server)
            if latency is None:
                if len(self._servers) >= _MOST_SERVERS:
                    return  # names come from the configuration and from discovery; those are not endless
                latency = self._servers[line.server] = Latency()
            # What the client did wrong says nothing about the server.
            latency.add(at, line.duration_ms, failed=failure is not None and failure.blame is not Blame.CLIENT)

    def since(self, number: int) -> list[Ended]:
        """The calls after that number that are still here, oldest first."""
        if number >= self.count:
            return []
        new = min(self.count - number, len(self._ring))
        return list(self._ring)[-new:]

    @property
    def servers(self) -> Mapping[str, Latency]:
        """Times by the name of the server."""
        return self._servers


def elapsed() -> float:
    """What to add to a moment of the monotonic clock to have it on the wall's, for people."""
    return time.time() - time.monotonic()


def _legs(span: Received, started: float) -> tuple[Leg, ...]:
    return tuple(
        Leg(
            leg.name,
            str(leg.attributes.get("server.address", "")),
            round((leg.started - started) * 1000, 2),
            round(((leg.ended or leg.started) - leg.started) * 1000, 2),
            leg.error,
        )
        for leg in span.legs
    )
