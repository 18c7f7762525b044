"""The errors that only a client of the sidecar meets; knows neither gRPC nor JSON."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from mcp_sidecar import errors
from mcp_sidecar.errors import Execution, SidecarError

Failure = TypeVar("Failure", bound=SidecarError)


class SidecarUnreachable(errors.Unavailable):
    """Nothing answers at the sidecar's address, so nothing was called."""

    reason = "SIDECAR_UNREACHABLE"


class McpError(SidecarError):
    """The MCP server (or the sidecar in its name) answered with a JSON-RPC error.

    `code` is the JSON-RPC code (negative); `data` is the decoded `data` member, or None.
    """

    reason: ClassVar[str] = "UPSTREAM_REFUSED"
    blame = errors.Blame.UPSTREAM

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message, execution=Execution.DONE, metadata={"jsonrpc_code": str(code)})
        self.code = code
        self.data = data


def identified(error: Failure, request_id: str) -> Failure:
    """Give an error the id under which the sidecar logged the call."""
    setattr(error, "request_id", request_id)  # noqa: B010 - most SidecarErrors never had a request to name
    return error
