"""What a sidecar says in the trailers of a failed RPC, read; knows no RPC and no kind of error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_sidecar.errors import Execution

# grpc.aio gives `Metadata`, its type stubs say tuple; both are pairs of (key, text or bytes).
Trailers = Any
# What gRPC says when no connection came about. There is no status of its own for it (grpc/grpc core, pick_first).
_NEVER_SENT = ("failed to connect to all addresses", "DNS resolution failed", "Name resolution failure")


@dataclass(frozen=True, slots=True)
class Told:
    """The facts of a failure. Without a `reason` the status was made by gRPC, or by something that is no sidecar.

    `execution` is None when nobody said; `violations` and `retry_after` are those of `SidecarError`.
    """

    reason: str = ""
    execution: Execution | None = None
    request_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[tuple[str, str], ...] = ()
    retry_after: float | None = None


def read(trailers: Trailers) -> Told:
    """The facts in the trailers of a status."""
    known = dict(trailers or ())
    stated = known.get("mcp-sidecar-execution")
    execution = Execution(stated) if stated in {one.value for one in Execution} else None
    request_id = str(known.get("x-request-id") or "")
    packed = known.get("grpc-status-details-bin")
    if not isinstance(packed, bytes):
        return Told(execution=execution, request_id=request_id)
    return _unpacked(packed, execution, request_id)


def _unpacked(packed: bytes, execution: Execution | None, request_id: str) -> Told:
    # Imported on failure only: a program whose calls succeed never pays for it.
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2, status_pb2

    info, retry, request = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    try:
        details = status_pb2.Status.FromString(packed).details
        found = {type(part) for detail in details for part in (info, retry, request) if detail.Unpack(part)}
    except DecodeError:
        return Told(execution=execution, request_id=request_id)
    return Told(
        info.reason,
        execution,
        request_id,
        dict(info.metadata),
        tuple((violation.field, violation.description) for violation in request.field_violations),
        retry.retry_delay.ToTimedelta().total_seconds() if type(retry) in found else None,
    )


def never_sent(details: str) -> bool:
    """A status UNAVAILABLE with these details means that there was no connection at all."""
    return details.startswith(_NEVER_SENT)
