"""What a trace is made of: a span for what was received, and in it one for each request that was sent. Knows no call.

The identifiers and the text form are those of W3C Trace Context, level 1.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator

import msgspec

Value = str | int | float | bool
LONGEST_ATTRIBUTE = 1024
"""Characters of a text: more than anybody reads."""
_MOST_LEGS = 64
"""A call that is asked and repeated without end must not fill memory; what comes after them is counted."""
# Identifiers tell spans apart and guard nothing: no system call for each.
_random = random.Random(os.urandom(16))  # noqa: S311
_IDS = 64


class Span(msgspec.Struct, eq=False, gc=False):
    """One piece of work: 32 and 16 hex digits of identity, and when it was done (monotonic seconds).

    `ended` is 0.0 while it goes on. `error` is what went wrong in one word, empty for nothing.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    tracestate: str = ""
    baggage: str = ""
    name: str = ""
    started: float = 0.0
    ended: float = 0.0
    error: str = ""
    attributes: dict[str, Value] = {}
    link: str = ""
    """The traceparent of what it belongs to beside its parent."""

    @property
    def traceparent(self) -> str:
        """Its identity for those who are asked to do a part of it. Only sampled spans exist, so the flag says so."""
        return f"00-{self.trace_id}-{self.span_id}-01"


class Received(Span, eq=False, gc=False):
    """The span of a call that came in, with those of what was sent for it.

    Its `link` is that of the transport, where the message named another parent.
    """

    message_id: str = ""
    """The id of the request, as JSON text."""
    offered: str | None = None
    """The revision that `initialize` asks for, empty if it is no string; None for all other requests."""
    toward: str = ""
    """Where the next leg goes: an address."""
    legs: list[Span] = []
    lost: int = 0
    """Legs that found no room."""

    def leg(self, name: str) -> Span:
        """The span of a request that is sent for this call from now on."""
        span = Span(self.trace_id, new_span_id(), self.span_id, self.tracestate, self.baggage, name, time.monotonic())
        if len(self.legs) < _MOST_LEGS:
            self.legs.append(span)
        else:
            self.lost += 1
        return span


def new_trace_id() -> str:
    """A new one: 128 random bits, never all zero."""
    return f"{_random.getrandbits(128) or 1:032x}"


def new_span_id() -> str:
    """A new one: 64 random bits, never all zero."""
    return f"{_random.getrandbits(64) or 1:016x}"


def _unsampled() -> Iterator[str]:
    while True:  # one by one they take several times as long
        text = _random.randbytes(24 * _IDS).hex()
        yield from [f"00-{text[at : at + 32]}-{text[at + 32 : at + 48]}-00" for at in range(0, 48 * _IDS, 48)]


new_unsampled: Callable[[], str] = _unsampled().__next__
"""The traceparent of a trace that nobody takes, from its beginning."""
