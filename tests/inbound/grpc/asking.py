"""JSON-RPC messages to send through the gRPC API, and what came back; knows no server."""

from __future__ import annotations

import json
from typing import Any

import grpc.aio
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from mcp_sidecar.v1 import engine_pb2 as pb

Detail = ErrorInfo | BadRequest | RetryInfo


def request(method: str, *, id: Any = 1, **params: Any) -> bytes:  # noqa: A002 - JSON-RPC's word
    """A request; without `id` when that is None, without params when there are none."""
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    return json.dumps({key: value for key, value in message.items() if value not in (None, {})}).encode()


def tool(name: str, *, id: Any = 1, **arguments: Any) -> bytes:  # noqa: A002
    """A `tools/call`."""
    return request("tools/call", id=id, name=name, arguments=arguments)


def asked(message: bytes, **fields: str) -> pb.CallRequest:
    return pb.CallRequest(message_json=message, **fields)


def frame(message: bytes) -> pb.ClientFrame:
    return pb.ClientFrame(message_json=message)


def text_of(message: bytes) -> str:
    """The text of a tool's result."""
    text: str = json.loads(message)["result"]["content"][0]["text"]
    return text


async def failed(call: Any) -> grpc.aio.AioRpcError:
    """The error a unary call ends with."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"it did not fail: {answer}")


def details(error: grpc.aio.AioRpcError) -> dict[type[Detail], Any]:
    """The parsed details of a status, by type. Raises `ValueError` when they contradict the status."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # takes every kind of call, as its docstring says
    assert status is not None
    return unpacked(status)


def unpacked(status: Status) -> dict[type[Detail], Any]:
    """The details of a status, by type."""
    found: dict[type[Detail], Any] = {}
    for packed in status.details:
        for kind in (ErrorInfo, BadRequest, RetryInfo):
            if packed.Is(kind.DESCRIPTOR):  # type: ignore[arg-type]  # the two kinds of descriptor are one to its users
                packed.Unpack(found.setdefault(kind, kind()))
    return found


def trailers(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    return dict(iter(error.trailing_metadata() or ()))
