"""A failure as a gRPC status with details of at most 4 KiB, and the recovery step that sends it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as Packed
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from mcp_sidecar.call import Call
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.inbound.chain import let_through
from mcp_sidecar.inbound.grpc.metadata import ERROR_CODE, EXECUTION, REQUEST_ID, RpcCall
from mcp_sidecar.inbound.status import status_of

DOMAIN = "mcp-sidecar"
# Trailers over about 9 KB make some clients fail the call as RESOURCE_EXHAUSTED (docs/decisions/0004).
MAX_DETAILS = 4096
_MAX_MESSAGE = 1024
_MAX_TEXT = 256
_MAX_FACT = 128
_MAX_VIOLATIONS = 8
_PACKING = 64  # bytes that the name of its type takes, and some for lengths
_ABORT_SECONDS = 1.0


async def recover(call: Call, _request: Any, failure: SidecarError, error: BaseException) -> None:
    """Turn whatever came out of a handler into a status. Nothing but our own words reaches the client."""
    assert isinstance(call, RpcCall)  # noqa: S101  # narrows the type; only gRPC brings this recovery
    if isinstance(error, grpc.aio.AbortError):
        raise error  # the status is on its way already
    let_through(error)  # cancelled by the client, its deadline or the server's stop: gRPC sends the status
    await _abort(call, failure)  # after that the status is decided, and may wait for a client that does not read


async def _abort(call: RpcCall, failure: SidecarError) -> None:
    code = grpc.StatusCode[status_of(failure).grpc]
    message = shorten(failure.message, _MAX_MESSAGE)
    trailing: list[tuple[str, str | bytes]] = [(REQUEST_ID, call.request_id), (EXECUTION, failure.execution.value)]
    if said := failure.metadata.get("jsonrpc_code"):
        trailing.append((ERROR_CODE, said))
    trailing.append(("grpc-status-details-bin", details(failure, call, code.name, message)))
    try:
        # An abort waits for a write that nobody reads; by then the status is decided and the stream is given up.
        await asyncio.wait_for(call.context.abort(code, message, tuple(trailing)), _ABORT_SECONDS)
    except TimeoutError:
        return  # raised, it would make gRPC log a stack for each client that does not read
    except grpc.aio.AbortError as aborted:
        # gRPC keeps it and raises it again once the handler is left. It knows the failure and the frames it passed, and
        # those know the message and gRPC's call: all that would stay until the cycle collector comes round.
        aborted.__context__ = aborted.__traceback__ = None


def details(failure: SidecarError, call: Call, code: str, message: str) -> bytes:
    """A serialised `google.rpc.Status`: `ErrorInfo` always, `BadRequest` and `RetryInfo` where they say something."""
    facts = {key: shorten(value, _MAX_FACT) for key, value in list(failure.metadata.items())[:_MAX_VIOLATIONS]}
    facts["request_id"] = call.request_id
    packed = [_pack(ErrorInfo(reason=failure.reason, domain=DOMAIN, metadata=facts))]
    if failure.retry_after is not None:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(int(failure.retry_after * 1000))
        packed.append(_pack(retry))
    status = Status(code=Code.Value(code), message=message, details=packed)
    bad = _bad_request(failure)
    # The rest always fits, together with one violation of the longest kind.
    while bad.field_violations and status.ByteSize() + bad.ByteSize() + _PACKING > MAX_DETAILS:
        del bad.field_violations[-1]
    if bad.field_violations:
        status.details.append(_pack(bad))
    return status.SerializeToString()


def _bad_request(failure: SidecarError) -> BadRequest:
    violations = [
        BadRequest.FieldViolation(field=shorten(field, _MAX_TEXT), description=shorten(what, _MAX_TEXT))
        for field, what in failure.violations[:_MAX_VIOLATIONS]
    ]
    return BadRequest(field_violations=violations)


def _pack(detail: ErrorInfo | BadRequest | RetryInfo) -> Packed:
    packed = Packed()
    packed.Pack(detail)
    return packed


def shorten(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, without half characters."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= limit else raw[: limit - 3].decode("utf-8", "ignore") + "…"
