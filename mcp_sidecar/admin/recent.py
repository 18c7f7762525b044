"""The calls that ended last, as plain values, and the times of each server. Knows neither faces nor wires.

No call is kept, only what is copied from it: an RPC's context must not outlive the RPC, and would keep its stream
allocated.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from mcp_sidecar.admin.latency import SAMPLE, Latency
from mcp_sidecar.call import Asked, Call, Payloads
from mcp_sidecar.errors import Draining, SidecarError
from mcp_sidecar.outbound.connection import Row
from mcp_sidecar.protocol.outcome import is_callers
from mcp_sidecar.spans import Received

_PROBED = "/grpc.health.v1."
"""Who asks all the time whether we are well must not push calls out."""
MOST = 200
"""Calls that are remembered."""
_MOST_PLACES = 1024
_MOST_CONNECTIONS = 2048


Entry = tuple[Call, float, SidecarError | None, BaseException | None]
Place = tuple[str, str]
"""A server, and the address of its endpoint or the id of a connection."""


class CallLine(Protocol):
    """The line of a call in the log: a struct of strings and numbers."""

    rpc: str
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
    waited: float = 0.0
    """Seconds that servers had it."""
    fault: str = ""
    """What the server that answered found wrong: a JSON-RPC code or `tool_error`."""
    legs: tuple[Leg, ...] = ()
    """As they are in its trace, if it has one."""
    payloads: Payloads | None = None
    started: float = 0.0
    asked: Sequence[Asked] = ()

    def shown(self, elapsed: float, address: Callable[[str], str]) -> dict[str, Any]:
        """Every field for a reader; `elapsed` leads from the monotonic clock to the one on the wall, and `address` from
        the id of a connection to where it leads.
        """
        fields: dict[str, Any] = msgspec.structs.asdict(self.line)
        for private in ("time", "event", "stack"):  # the stack of a bug is for the log
            fields.pop(private, None)
        fields |= {
            "number": self.number,
            "at": round(self.at + elapsed, 3),
            "connection_id": self.connection_id,
            "protocol_version": self.protocol_version,
            "from_cache": self.from_cache,
            "waited_ms": round(self.waited * 1000, 2),
            "fault": self.fault,
            "legs": self.legs or [self._leg(asked, address) for asked in self.asked],
        }
        if self.payloads is not None:
            fields["payloads"] = {
                "request": self.payloads.request.decode(errors="replace"),
                "answer": self.payloads.answer.decode(errors="replace"),
            }
        return fields

    def _leg(self, asked: Asked, address: Callable[[str], str]) -> Leg:
        method, connection_id, began, seconds, error = asked
        offset = (began - self.started) * 1000
        return Leg(method, address(connection_id), round(offset, 2), round(seconds * 1000, 2), error)


class Recent:
    """What the ledger tells of each call, for as long as there is room."""

    def __init__(self) -> None:
        self._ring: deque[Ended] = deque(maxlen=MOST)
        self._times: dict[Place, Latency] = {}
        self._endpoints: dict[
            str, str
        ] = {}  # of connections by their id; a call is told of after its connection closed
        self.count = 0
        """Calls so far; the number of the last one."""

    def tell(self, ended: Sequence[Entry], lines: Sequence[CallLine]) -> None:
        """These calls ended, each at a moment of its own, with these lines in the log."""
        took: defaultdict[Place, list[float]] = defaultdict(list)
        failed: Counter[Place] = Counter()
        number, remember = self.count, self._ring.append
        for (call, at, failure, _), line in zip(ended, lines, strict=True):
            if line.rpc.startswith(_PROBED):
                continue
            number += 1
            connection = call.connection_id
            legs = () if call.span is None else _legs(call.span, call.started)
            version, cached, waited, fault = call.protocol_version, call.from_cache, call.waited, call.fault
            payloads, began, asked = call.payloads, call.started, call.asked
            remember(Ended(number, at, line, connection, version, cached, waited, fault, legs, payloads, began, asked))
            if line.server and not isinstance(failure, Draining):
                place = line.server, connection
                took[place].append(line.duration_ms)
                if (failure is not None or fault) and not is_callers(failure, fault):
                    failed[place] += 1
        self.count = number
        for (server, connection), durations in took.items():
            if (times := self._times_of((server, self.address(connection)))) is not None:
                times.add(ended[-1][1], durations, failed[server, connection])

    def _times_of(self, place: Place) -> Latency | None:
        times = self._times.get(place)
        # Names come from the configuration and from discovery; those are not endless.
        if times is None and len(self._times) < _MOST_PLACES:
            times = self._times[place] = Latency()
        return times

    def heed(self, row: Row) -> None:
        """A connection has changed: from now on it is known where it leads."""
        if row.id not in self._endpoints:
            self._endpoints[row.id] = row.endpoint
            if len(self._endpoints) > _MOST_CONNECTIONS:
                del self._endpoints[next(iter(self._endpoints))]

    def address(self, connection_id: str) -> str:
        """Where a connection leads or led; empty when that was too long ago."""
        return self._endpoints.get(connection_id, "")

    def since(self, number: int) -> list[Ended]:
        """The calls after that number that are still here, oldest first."""
        if number >= self.count:
            return []
        new = min(self.count - number, len(self._ring))
        return list(self._ring)[-new:]

    def of_server(self, server: str) -> Latency:
        """The times of its calls, also of those that got no connection."""
        parts = [times for (name, _), times in self._times.items() if name == server]
        if len(parts) == 1:
            return parts[0]
        whole = Latency(SAMPLE * len(parts))
        for part in parts:
            whole.include(part)
        return whole

    def of_endpoint(self, server: str, address: str) -> Latency:
        """The times of the calls on connections to one endpoint."""
        return self._times.get((server, address)) or Latency()


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
