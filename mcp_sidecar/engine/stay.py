"""The time a call may spend in the engine, and its end. Knows neither servers nor messages."""

from __future__ import annotations

import time
from contextlib import nullcontext
from types import TracebackType
from typing import Protocol

from mcp_sidecar.alarm import RESOLUTION, Limit
from mcp_sidecar.call import Call, Deadline
from mcp_sidecar.directory import Upstream
from mcp_sidecar.errors import DeadlineExceeded, SidecarError
from mcp_sidecar.lifecycle import Lifecycle

# The answer must be on its way before the caller's own deadline cuts the line.
_HEADROOM_SECONDS = 0.01 + RESOLUTION


class Ends(Protocol):
    """The engine, which counts calls and has words for those that end too late."""

    lifecycle: Lifecycle

    def too_late(self, call: Call) -> SidecarError:
        """What a call is told whose deadline has passed."""


def sooner(call: Call, upstream: Upstream) -> Deadline:
    """The caller's deadline, less what the answer needs, or the upstream's timeout from now on.

    Raises `DeadlineExceeded` when the caller's has passed.
    """
    deadline = Deadline(time.monotonic() + upstream.settings.timeout.call)
    if call.deadline is None:
        return deadline
    if not call.deadline.remaining():
        raise DeadlineExceeded("the deadline passed before the call was sent", metadata={"server": upstream.name})
    return deadline.sooner(Deadline(call.deadline - _HEADROOM_SECONDS))


class Stay(Protocol):
    """The time a call spends in the engine, until `at` (monotonic)."""

    at: float
    lease_by: Deadline | None
    """When a connection has to be had, if that is sooner."""
    expired: bool
    """It is over, and that is what ended the call."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...


class Counted(Limit, eq=False, gc=False, kw_only=True):
    """Counted as in flight, and ended at the deadline."""

    engine: Ends
    call: Call
    lease_by: Deadline | None = None

    def __enter__(self) -> None:
        self.engine.lifecycle.in_flight += 1
        self.alarm.arm(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.engine.lifecycle.leave()
        if not self.expired:
            self.alarm.limits.discard(self)
            return
        try:
            Limit.__exit__(self, kind, error, traceback)
        except TimeoutError as late:
            raise self.engine.too_late(self.call) from late


class Unbounded(nullcontext[None]):
    """Of a call that lasts for as long as its caller and the server like."""

    lease_by: Deadline | None = None
    expired = False

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = at
