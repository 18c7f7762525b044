"""gRPC statuses in the words of `mcp_sidecar.errors`; knows no RPC and no MCP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import grpc
import grpc.aio

from mcp_sidecar import errors
from mcp_sidecar.client.failures import McpError, SidecarUnreachable, identified
from mcp_sidecar.errors import Execution, SidecarError

Trailers = Any  # grpc.aio gives `Metadata`, its type stubs say tuple; both are pairs of (key, text or bytes)

_BY_CODE: Mapping[grpc.StatusCode, type[SidecarError]] = {
    grpc.StatusCode.CANCELLED: errors.Cancelled,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidCall,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.PERMISSION_DENIED: errors.Denied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Exhausted,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.UNIMPLEMENTED: errors.UnknownMethod,
}
"""For statuses without `ErrorInfo`: made by gRPC itself, or by something that is not a sidecar."""

# What gRPC says when no connection came about. There is no status of its own for it (grpc/grpc core, pick_first).
_NEVER_SENT = ("failed to connect to all addresses", "DNS resolution failed", "Name resolution failure")


@contextlib.contextmanager
def translated(request_id: str) -> Iterator[None]:
    """Whatever gRPC raises inside the block leaves it as a `SidecarError` with `execution` and `request_id`."""
    try:
        yield
    except grpc.aio.AioRpcError as failed:
        raise from_status(failed.code(), failed.details() or "", failed.trailing_metadata(), request_id) from failed


def from_status(code: grpc.StatusCode, details: str, trailers: Trailers, request_id: str) -> SidecarError:
    """The error that a status other than OK stands for. Without details it comes from gRPC, not from a sidecar."""
    known = dict(trailers or ())
    packed = known.get("grpc-status-details-bin")
    error = _from_details(packed, details) if isinstance(packed, bytes) else None
    if error is None:
        unreachable = code is grpc.StatusCode.UNAVAILABLE and details.startswith(_NEVER_SENT)
        # Who lost the call cannot know what became of it, so only a connection that never stood is certain.
        error = _unreachable(details) if unreachable else _lost(code, details)
    stated = known.get("mcp-sidecar-execution")
    if isinstance(stated, str) and stated in {execution.value for execution in Execution}:
        error.execution = Execution(stated)
    return identified(error, str(known.get("x-request-id") or request_id))


def _unreachable(details: str) -> SidecarError:
    reason = details.rpartition("last error: ")[2].removeprefix("UNKNOWN: ")
    return SidecarUnreachable(f"no sidecar answers ({reason})")


def _lost(code: grpc.StatusCode, details: str) -> SidecarError:
    return _BY_CODE.get(code, SidecarError)(details or code.name, execution=Execution.UNKNOWN)


def _from_details(packed: bytes, message: str) -> SidecarError | None:
    # Imported on failure only: a program whose calls succeed never pays for it.
    from google.rpc import error_details_pb2, status_pb2

    info, retry, request = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    details = status_pb2.Status.FromString(packed).details
    found = {type(part) for detail in details for part in (info, retry, request) if detail.Unpack(part)}
    if type(info) not in found:
        return None
    metadata = dict(info.metadata)
    if info.reason == McpError.reason:
        return McpError(int(metadata.get("jsonrpc_code", 0)), message)
    if info.reason == errors.UnsupportedVersion.reason:
        supported = tuple(filter(None, metadata.get("supported", "").split(", ")))
        unsupported = errors.UnsupportedVersion(metadata.get("requested", ""), supported)
        unsupported.message, unsupported.args = message, (message,)
        return unsupported
    word = _by_reason().get(info.reason, SidecarError)
    return word(
        message,
        violations=tuple((violation.field, violation.description) for violation in request.field_violations),
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if type(retry) in found else None,
        metadata=metadata,
    )


@cache
def _by_reason() -> Mapping[str, type[SidecarError]]:
    words: dict[str, type[SidecarError]] = {}
    open_ends = [SidecarError]
    while open_ends:
        word = open_ends.pop()
        words.setdefault(word.reason, word)
        open_ends += word.__subclasses__()
    return words
