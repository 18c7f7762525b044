"""gRPC statuses in the words of `mcp_sidecar.errors`; knows no RPC and no MCP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cache

import grpc
import grpc.aio

from mcp_sidecar import errors
from mcp_sidecar.client.failures import McpError, SidecarUnreachable, identified
from mcp_sidecar.errors import Execution, SidecarError
from mcp_sidecar.statuses import Told, Trailers, never_sent, read

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


@contextlib.contextmanager
def translated(request_id: str) -> Iterator[None]:
    """Whatever gRPC raises inside the block leaves it as a `SidecarError` with `execution` and `request_id`."""
    try:
        yield
    except grpc.aio.AioRpcError as failed:
        raise from_status(failed.code(), failed.details() or "", failed.trailing_metadata(), request_id) from failed


def from_status(code: grpc.StatusCode, details: str, trailers: Trailers, request_id: str) -> SidecarError:
    """The error that a status other than OK stands for. Without details it comes from gRPC, not from a sidecar."""
    told = read(trailers)
    if told.reason:
        error = _from_sidecar(told, details)
    else:
        unreachable = code is grpc.StatusCode.UNAVAILABLE and never_sent(details)
        # Who lost the call cannot know what became of it, so only a connection that never stood is certain.
        error = _unreachable(details) if unreachable else _lost(code, details)
    if told.execution is not None:
        error.execution = told.execution
    return identified(error, told.request_id or request_id)


def _unreachable(details: str) -> SidecarError:
    reason = details.rpartition("last error: ")[2].removeprefix("UNKNOWN: ")
    return SidecarUnreachable(f"no sidecar answers ({reason})")


def _lost(code: grpc.StatusCode, details: str) -> SidecarError:
    return _BY_CODE.get(code, SidecarError)(details or code.name, execution=Execution.UNKNOWN)


def _from_sidecar(told: Told, message: str) -> SidecarError:
    if told.reason == McpError.reason:
        return McpError(int(told.metadata.get("jsonrpc_code", 0)), message)
    if told.reason == errors.UnsupportedVersion.reason:
        supported = tuple(filter(None, told.metadata.get("supported", "").split(", ")))
        unsupported = errors.UnsupportedVersion(told.metadata.get("requested", ""), supported)
        unsupported.message, unsupported.args = message, (message,)
        return unsupported
    word = _by_reason().get(told.reason, SidecarError)
    return word(message, violations=told.violations, retry_after=told.retry_after, metadata=told.metadata)


@cache
def _by_reason() -> Mapping[str, type[SidecarError]]:
    words: dict[str, type[SidecarError]] = {}
    open_ends = [SidecarError]
    while open_ends:
        word = open_ends.pop()
        words.setdefault(word.reason, word)
        open_ends += word.__subclasses__()
    return words
