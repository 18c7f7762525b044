"""Which calls are traced. Knows no exporter, and no other attribute of a call than its trace context."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from mcp_sidecar import spans
from mcp_sidecar.call import NO_TRACE, Call, Trace
from mcp_sidecar.spans import Received

FORCED_A_SECOND = 50.0
"""How many calls callers may have traced by their own wish: whoever runs the collector pays for it, not they."""


class Sampler:
    """Parent-based: a caller's own decision counts, within limits; a call without one is traced with chance `ratio`."""

    def __init__(
        self,
        ratio: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._ratio = ratio
        self._clock = clock
        self._chance = chance
        self._tokens = FORCED_A_SECOND
        self._filled = clock()
        self.capped = 0
        """Calls whose callers wanted them traced when there was no room."""

    def decide(self, call: Call) -> None:
        """Give the call its span, or note that it has none; asked once, when the caller's trace context is known.

        Who is asked for a part of the call is told of a "no", too: each sidecar on the way would decide anew.
        """
        call.sampled = self._wanted(call)
        parent = call.trace
        if not call.sampled:
            if not parent.traceparent:
                call.trace = Trace(spans.new_unsampled(), "", parent.baggage)
            return
        call.span = Received(
            trace_id=parent.trace_id or spans.new_trace_id(),
            span_id=spans.new_span_id(),
            parent_id=parent.traceparent[36:52],
            tracestate=parent.tracestate,
            baggage=parent.baggage,
            started=call.started,
            link="" if call.ambient is NO_TRACE else call.ambient.traceparent,
        )

    def _wanted(self, call: Call) -> bool:
        parent = call.trace.traceparent
        if not parent:
            return self._chance() < self._ratio
        if not int(parent[53:55], 16) & 1:
            return False
        return self._take()

    def _take(self) -> bool:
        """A token of the bucket, if there is one."""
        now = self._clock()
        self._tokens = min(FORCED_A_SECOND, self._tokens + (now - self._filled) * FORCED_A_SECOND)
        self._filled = now
        if self._tokens < 1.0:
            self.capped += 1
            return False
        self._tokens -= 1.0
        return True
