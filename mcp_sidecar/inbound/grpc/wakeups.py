"""An event loop that looks at gRPC's wake-ups together; knows no call (docs/decisions/0011).

grpc.aio's poller writes a byte into a socket pair for each event of C-core. Its reader takes one byte and then every
event there is, so that the other bytes only wake the event loop for nothing, several times a call.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import uvloop

from mcp_sidecar.inbound.grpc import accepting

# The reader's manners are nobody's promise: where they were not looked at, the loop is an ordinary one.
_LOOKED_AT = ("1.85.",)
_READER = "PollerCompletionQueue._handle_events"
_MOST = 256


class Loop(uvloop.Loop):
    """uvloop's, for processes that serve gRPC."""

    def __init__(self) -> None:
        super().__init__()
        if is_looked_at():
            accepting.shorten()

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        """As everywhere; what gRPC has to read is read at once."""
        if _is_grpcs(callback):
            take = partial(socket.socket.recv, fd, _MOST)
            fd.__class__ = _Wakeups  # looks the same inside, so that Python allows it
            callback = partial(_read_at_once, take, callback)
        super().add_reader(fd, callback, *args)


def is_looked_at() -> bool:
    """This release of grpcio is one whose inside is known."""
    return grpc.__version__.startswith(_LOOKED_AT)


def _is_grpcs(callback: Callable[..., Any]) -> bool:
    function = getattr(callback, "func", callback)
    return getattr(function, "__qualname__", "") == _READER and is_looked_at()


class _Wakeups(socket.socket):
    """gRPC's end of the pair, for a reader whose byte was taken already."""

    __slots__ = ()

    def recv(self, *_: object) -> bytes:
        """What the reader looks for."""
        return b"1"


def _read_at_once(take: Callable[[], bytes], handle: Callable[[], object]) -> None:
    """The events of the bytes that come here are in the queue already."""
    take()
    handle()
