"""What the head of a POST says of the call behind it; knows no body and checks nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mcp_sidecar.call import Trace, fit_request_id, trace
from mcp_sidecar.wire.http_server import Head

Pairs = tuple[tuple[bytes, bytes], ...]


class Agreed(NamedTuple):
    """What in a body agreed with the head: one with the same in it needs no second look."""

    method: str
    meta: Mapping[str, bytes]
    name: bytes | None
    """The parameter that `Mcp-Name` repeats, as JSON text."""
    named: str
    """The same as a string, empty for None."""


@dataclass(slots=True, eq=False)
class Opening:
    """Kept with its head, so that the next request with the same head finds it."""

    request_id: str | None
    trace: Trace
    authorization: str | None
    server: str | None = None
    """Whom the path names, empty for all; None until the head has passed every check."""
    mirrored: Pairs = ()
    agreed: Agreed | None = None
    legacy: bool = False
    """Of the 2025 era, whose heads name these two; None where they do not."""
    session: str | None = None
    version: str | None = None


def read_opening(head: Head) -> Opening:
    """What can be read before anything is checked."""
    get = head.headers.get
    return Opening(
        fit_request_id(_text(get(b"x-request-id"))),
        trace(_text(get(b"traceparent")), _text(get(b"tracestate")), _text(get(b"baggage"))),
        _text(get(b"authorization")),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
