"""From a gRPC context to a `Call`: who, how long, which ids. Reads what it names and passes on nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import grpc.aio

from mcp_sidecar.call import NO_TRACE, Call, Deadline, certified, fit_request_id, new_request_id, trace
from mcp_sidecar.wire.headers import Headers

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
REQUEST_ID = "x-request-id"
EXECUTION = "mcp-sidecar-execution"
ERROR_CODE = "mcp-error-code"
_STATES = "mcp-protocol-version"
_READ = frozenset((REQUEST_ID, "traceparent", "tracestate", "baggage", "authorization", _STATES))
# C-core rounds a timeout up on its way, by one part in a hundred at most: the client gives up sooner than we are told.
_KEPT = 0.99


class RpcCall(Call, eq=False):
    """A call that arrived over gRPC."""

    context: Context = None  # type: ignore[assignment]  # always given; a field after defaulted ones needs a default
    stated: Headers | None = None
    """What its metadata states of the message, as headers do over HTTP (docs/decisions/0030)."""


def read_call(rpc: str, context: Context) -> RpcCall:
    """The call behind a context."""
    given: dict[str, str] = {}
    metadata = context.invocation_metadata() or ()
    for key, value in metadata:
        if key in _READ and isinstance(value, str):
            given.setdefault(key, value)
    left = context.time_remaining()
    return RpcCall(
        rpc=rpc,
        request_id=(fit_request_id(given.get(REQUEST_ID)) if given else None) or new_request_id(),
        peer=context.peer(),
        deadline=None if left is None else Deadline.after(left * _KEPT),
        trace=trace(given.get("traceparent"), given.get("tracestate"), given.get("baggage")) if given else NO_TRACE,
        authorization=given.get("authorization"),
        context=context,
        stated=_stated(metadata) if _STATES in given else None,
    )


def _stated(metadata: Iterable[tuple[str, str | bytes]]) -> Headers:
    mine = ((key, value) for key, value in metadata if key.startswith("mcp-") and isinstance(value, str))
    return Headers([(key.encode(), value.encode()) for key, value in mine])


def read_certified_call(rpc: str, context: Context) -> RpcCall:
    """As `read_call`, on a connection whose client showed a certificate."""
    call = read_call(rpc, context)
    shown = context.auth_context()
    # As `wire.tls.subject_of` chooses.
    names = shown.get("peer_uri") or shown.get("peer_dns") or shown.get("x509_common_name")
    call.principal = certified(next(iter(names or (b"",))).decode(errors="replace"))
    return call


def say_done(call: RpcCall, _request: object, _answer: object) -> None:
    """Have the trailers of a success say so."""
    call.context.set_trailing_metadata(((REQUEST_ID, call.request_id), (EXECUTION, "done")))
