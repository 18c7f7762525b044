"""What travels with a request: who asks, until when, under which ids. Knows no wire and no MCP semantics."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from mcp_sidecar.errors import Execution
from mcp_sidecar.spans import Received

_MAX_REQUEST_ID = 128
# Request ids tell calls apart and guard nothing: no system call for each.
_random = random.Random(os.urandom(16))  # noqa: S311
_IDS = 64


class Deadline(float):
    """A point on the monotonic clock, in seconds."""

    __slots__ = ()

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self - time.monotonic())

    def sooner(self, other: Deadline | None) -> Deadline:
        return self if other is None or self <= other else other


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as far as authentication can tell. `claims` are those of the token; `certificate` is whom the client's
    certificate names, where the listener asks for one.
    """

    subject: str = ""
    claims: Mapping[str, object] = field(default_factory=dict)
    certificate: str = ""


ANONYMOUS = Principal()
POD = "pod"
"""The claim with the caller's pod, `namespace/name`, where its token is bound to one."""


def certified(name: str) -> Principal:
    """Who calls, as far as a certificate can tell."""
    return Principal(name, certificate=name) if name else ANONYMOUS


# W3C Trace Context: version 00 has four fields, later ones may have more, ff is none.
_FOUR_FIELDS = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(_FOUR_FIELDS + r"(?:(?<!\A00.{53})-[!-~]*)?\Z")
_STATE_MEMBER = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=(?=[ -~]{0,255}[!-~]\Z)[^,=]+\Z")
_MOST_STATES = 32
_MAX_TRACE_BYTES = 2048
_MAX_BAGGAGE_BYTES = 8192


class Trace(msgspec.Struct, frozen=True, gc=False):
    """W3C trace context as it arrived: passed on, never interpreted beyond the trace id."""

    traceparent: str = ""
    tracestate: str = ""
    baggage: str = ""

    @property
    def trace_id(self) -> str:
        return self.traceparent[3:35]


NO_TRACE = Trace()


def trace(traceparent: str | None, tracestate: str | None, baggage: str | None) -> Trace:
    """What of a caller's trace context is fit to be passed on; a malformed part is dropped and harms nothing else."""
    if not (traceparent or baggage):
        return NO_TRACE
    parent = traceparent if traceparent and len(traceparent) < 256 and _TRACEPARENT.match(traceparent) else ""
    return Trace(parent, _state(tracestate) if parent and tracestate else "", _fit(baggage, _MAX_BAGGAGE_BYTES))


def _state(value: str) -> str:
    """A list of vendors' members; one that is malformed is dropped whole, as W3C Trace Context has it."""
    members = [member.strip(" ") for member in _fit(value, _MAX_TRACE_BYTES).split(",")]
    named = [member for member in members if member]  # empty ones are allowed
    fits = len(named) <= _MOST_STATES and all(map(_STATE_MEMBER.match, named))
    return value.strip(" ") if named and fits else ""


def _fit(value: str | None, most: int) -> str:
    return value if value and len(value) <= most and value.isascii() and value.isprintable() else ""


def fit_request_id(given: str | None) -> str | None:
    """The caller's request id when it is fit to be logged and forwarded."""
    if given and len(given) <= _MAX_REQUEST_ID and given.isascii() and given.isprintable() and " " not in given:
        return given
    return None


def _request_ids() -> Iterator[str]:
    while True:  # one by one they take five times as long
        text = _random.randbytes(16 * _IDS).hex()
        yield from [text[at : at + 32] for at in range(0, 32 * _IDS, 32)]


new_request_id: Callable[[], str] = _request_ids().__next__
"""A request id of ours: 128 random bits, hex."""


class Client(msgspec.Struct, eq=False):
    """A client of the 2025 era in conversation with the sidecar: what it said once and means for all its calls.

    `id` tells conversations apart and is no secret. `capabilities` and `info` are the JSON text of `initialize`;
    `log_level` is empty until the client sets one, `session` (what traces call its session) until there is one.
    """

    id: str
    version: str
    capabilities: bytes = b"{}"
    info: bytes = b"{}"
    log_level: str = ""
    session: str = ""
    began: float = msgspec.field(default_factory=time.monotonic)


class Payloads(msgspec.Struct):
    """The beginnings of a request's parameters and of its answer, as JSON text."""

    request: bytes
    answer: bytes = b""


Asked = tuple[str, str, float, float, str]
"""A request that was sent for a call: its method, the connection's id, when (monotonic), for how many seconds, and in a
word what was wrong."""


class Call(msgspec.Struct, eq=False):
    """One request to the sidecar, from its arrival to its one log line.

    `client` is None for those of 2026-07-28, whose requests say everything themselves. `method`, `server`, `name`,
    `execution` and what follows `started` are filled in as they become known. `mirrored` are the `Mcp-Param-*` headers
    (name, value) that an intermediary has to pass on, None where the caller speaks no HTTP and the sidecar has to make
    them: those are `added`. `authorization` is there until authentication has looked at it.
    A `part` is what an admitted call needs of one server: never refused for want of room, and without a log line.
    One that asks `anew` wants nothing that was kept.
    `ambient` is the transport's trace context where the message has one of its own. `sampled` is None until that was
    decided, False from the beginning for what no ledger hears of; `span` is there for sampled calls only.
    `waited` is how long servers had it (seconds), `asked` the first of what was sent for it and for its parts, and
    `fault` what the one that answered found wrong: a JSON-RPC code or `tool_error`. `declared` is what a later round of
    the call says of the client's capabilities (JSON text), `unanswered` how many questions wait for the client, or did
    when the call was cut short. `payloads` is there where an operator wants to see them.
    """

    rpc: str
    request_id: str
    peer: str = ""
    deadline: Deadline | None = None
    trace: Trace = NO_TRACE
    principal: Principal = ANONYMOUS
    method: str = ""
    server: str = ""
    name: str = ""
    execution: Execution = Execution.NONE
    mirrored: tuple[tuple[bytes, bytes], ...] | None = None
    added: tuple[tuple[bytes, bytes], ...] = ()
    started: float = msgspec.field(default_factory=time.monotonic)
    authorization: str | None = None
    connection_id: str = ""
    protocol_version: str = ""
    from_cache: bool = False
    client: Client | None = None
    part: bool = False
    anew: bool = False
    ambient: Trace = NO_TRACE
    sampled: bool | None = None
    span: Received | None = None
    waited: float = 0.0
    asked: list[Asked] = msgspec.field(default_factory=list)
    fault: str = ""
    declared: bytes = b""
    unanswered: int = 0
    payloads: Payloads | None = None

    def ask(self) -> Call:
        """A part of this call, with facts of its own."""
        return Call(
            rpc=self.rpc,
            request_id=self.request_id,
            peer=self.peer,
            deadline=self.deadline,
            trace=self.trace,
            principal=self.principal,
            mirrored=self.mirrored,
            client=self.client,
            part=True,
            sampled=self.sampled,
            span=self.span,
            asked=self.asked,
        )

    def adopt(self, part: Call) -> None:
        """What became of its part is what became of the call."""
        self.server, self.execution, self.from_cache = part.server, part.execution, part.from_cache
        self.connection_id, self.protocol_version = part.connection_id, part.protocol_version
        self.waited, self.fault = part.waited, part.fault

    def __repr__(self) -> str:
        # Not every field: one of them is a secret.
        return f"<Call {self.request_id} {self.rpc} {self.method} {self.server}>"
