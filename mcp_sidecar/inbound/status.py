"""The one table from our words for failures to the numbers of gRPC, HTTP and JSON-RPC (docs/behaviour.md)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mcp_sidecar import errors
from mcp_sidecar.call import Call
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.wire.faults import Disconnected

OK = "OK"

# Codes of our own lie outside of what JSON-RPC and MCP reserve: -31000 minus the gRPC number.
_OWN = -31000
# A caller's clock runs before ours does: so shortly before the deadline it is the deadline that cancels.
_HEAD_START_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Status:
    """How a failure is told on each face."""

    grpc: str
    http: int
    jsonrpc: int


TABLE: dict[type[SidecarError], Status] = {
    errors.Cancelled: Status("CANCELLED", 499, _OWN - 1),
    errors.DeadlineExceeded: Status("DEADLINE_EXCEEDED", 504, _OWN - 4),
    errors.NotFound: Status("NOT_FOUND", 404, eras.INVALID_PARAMS),
    errors.MalformedMessage: Status("INVALID_ARGUMENT", 400, eras.PARSE_ERROR),
    errors.InvalidParams: Status("INVALID_ARGUMENT", 400, eras.INVALID_PARAMS),
    errors.HeaderMismatch: Status("INVALID_ARGUMENT", 400, eras.HEADER_MISMATCH),
    errors.UnsupportedVersion: Status("INVALID_ARGUMENT", 400, eras.UNSUPPORTED_VERSION),
    errors.InvalidCall: Status("INVALID_ARGUMENT", 400, eras.INVALID_REQUEST),
    errors.UnknownMethod: Status("UNIMPLEMENTED", 404, eras.METHOD_NOT_FOUND),
    errors.Unauthenticated: Status("UNAUTHENTICATED", 401, _OWN - 16),
    errors.Denied: Status("PERMISSION_DENIED", 403, _OWN - 7),
    errors.Exhausted: Status("RESOURCE_EXHAUSTED", 503, _OWN - 8),
    errors.TooLarge: Status("RESOURCE_EXHAUSTED", 413, eras.INVALID_REQUEST),
    errors.Unavailable: Status("UNAVAILABLE", 503, _OWN - 14),
    errors.UpstreamUnavailable: Status("UNAVAILABLE", 502, _OWN - 14),
    errors.UpstreamLost: Status("UNAVAILABLE", 502, _OWN - 14),
    errors.UpstreamProtocolError: Status("INTERNAL", 502, eras.INTERNAL_ERROR),
    errors.UpstreamRefused: Status("INTERNAL", 502, eras.INTERNAL_ERROR),
    errors.SidecarError: Status("INTERNAL", 500, eras.INTERNAL_ERROR),
}

CALLERS_CODES = frozenset(row.grpc for kind, row in TABLE.items() if kind.blame is errors.Blame.CLIENT) - frozenset(
    row.grpc for kind, row in TABLE.items() if kind.blame is not errors.Blame.CLIENT
)
"""Status codes that only tell of what a caller did wrong, or did not want any more."""

# JSON-RPC errors of a server as statuses of the typed RPCs; any other code is INTERNAL.
_REFUSALS = {
    eras.INVALID_REQUEST: "INVALID_ARGUMENT",
    eras.INVALID_PARAMS: "INVALID_ARGUMENT",
    eras.HEADER_MISMATCH: "INVALID_ARGUMENT",
    eras.METHOD_NOT_FOUND: "UNIMPLEMENTED",
    eras.RESOURCE_NOT_FOUND: "NOT_FOUND",
    eras.MISSING_CAPABILITY: "FAILED_PRECONDITION",
    eras.UNSUPPORTED_VERSION: "FAILED_PRECONDITION",
}

# What is wrong with the HTTP around a message is called what other failures of that status are.
_HTTP_REFUSALS = {
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    414: "RESOURCE_EXHAUSTED",
    431: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
}

# HTTP statuses of a server's own JSON-RPC errors (MCP 2026-07-28, basic/transports/streamable-http).
HTTP_STATUS = {
    eras.PARSE_ERROR: 400,
    eras.INVALID_REQUEST: 400,
    eras.INVALID_PARAMS: 400,
    eras.HEADER_MISMATCH: 400,
    eras.MISSING_CAPABILITY: 400,
    eras.UNSUPPORTED_VERSION: 400,
    eras.METHOD_NOT_FOUND: 404,
}


def status_of(error: SidecarError) -> Status:
    """The row of an error: its own, or that of the nearest kind above it."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            row = TABLE[kind]
            break
    if isinstance(error, errors.UpstreamRefused) and error.code in _REFUSALS:
        return Status(_REFUSALS[error.code], row.http, row.jsonrpc)
    if isinstance(error, errors.HttpRefused):
        return Status(_HTTP_REFUSALS.get(error.status, row.grpc), error.status, row.jsonrpc)
    return row


def error_of(failure: SidecarError, request_id: str) -> bytes:
    """The JSON-RPC error that tells of a failure, as JSON text."""
    return jsonrpc.encode_error(status_of(failure).jsonrpc, failure.message, _data(failure, request_id))


def _data(failure: SidecarError, request_id: str) -> dict[str, object]:
    """The `data` of the JSON-RPC error that tells of a failure."""
    if isinstance(failure, errors.UnsupportedVersion):  # as the specification has it (basic/versioning)
        return {"supported": list(failure.supported), "requested": failure.requested}
    execution = failure.execution.value
    data: dict[str, object] = {"reason": failure.reason, "execution": execution, "requestId": request_id}
    if failure.violations:
        data["violations"] = [{"field": field, "description": what} for field, what in failure.violations]
    if failure.retry_after is not None:
        data["retryAfterMs"] = int(failure.retry_after * 1000)
    return data


def named(error: BaseException, call: Call) -> SidecarError:
    """Any failure as one of ours. Task cancellation is the caller's, or its deadline's; what has no name is a bug."""
    if isinstance(error, SidecarError):
        return error
    if isinstance(error, asyncio.CancelledError | Disconnected):
        if call.deadline is not None and call.deadline.remaining() <= _HEAD_START_SECONDS:
            return errors.DeadlineExceeded("the deadline passed", execution=call.execution)
        return errors.Cancelled("the call was cancelled", execution=call.execution)
    return errors.Bug(f"internal error; request id {call.request_id}", execution=call.execution)
