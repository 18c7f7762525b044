"""Between our protobuf envelopes and JSON-RPC: completing requests, checking mirrors, describing calls. No I/O."""

from __future__ import annotations

import msgspec

from mcp_sidecar.call import Call
from mcp_sidecar.errors import Execution, InvalidCall, InvalidParams, TooLarge, UnsupportedVersion
from mcp_sidecar.inbound import agreement
from mcp_sidecar.inbound.grpc.metadata import RpcCall
from mcp_sidecar.protocol import eras, headers
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.json_text import check_text
from mcp_sidecar.protocol.jsonrpc import Request, as_string, members, parse_request
from mcp_sidecar.v1 import engine_pb2 as pb

_EXECUTION: dict[Execution, pb.Execution] = {
    Execution.NONE: pb.EXECUTION_NONE,
    Execution.UNKNOWN: pb.EXECUTION_UNKNOWN,
    Execution.DONE: pb.EXECUTION_DONE,
}
_DONE = pb.EXECUTION_DONE
_DEFAULT_ID = b"1"
_COMPLETE = frozenset(modern_meta())
_SPOKEN = modern_meta()[eras.META_VERSION]
_CALLED_WITH_EVENTS = {"progressToken": _DEFAULT_ID, eras.META_LOG_LEVEL: b'"info"'}


def check_size(data: bytes, limit: int) -> bytes:
    """The same bytes. Raises `TooLarge`."""
    if len(data) > limit:
        raise TooLarge(f"the message has {len(data)} bytes; at most {limit} are taken (grpc.max_message)")
    return data


def read_request(message: pb.CallRequest, call: RpcCall, limit: int, *, events: bool) -> Request:
    """The JSON-RPC request in a CallRequest, completed to a request of 2026-07-28.

    Without any `_meta` it comes from a caller who leaves MCP to us: with `events` it then asks for what can be
    delivered, progress and logs. Of a caller whose metadata states the version it has to be complete already, and to
    be as stated. Raises `InvalidCall`.
    """
    data = message.message_json
    request = parse_request(data if len(data) <= limit else check_size(data, limit))
    if mirrored := message.method:
        _check_mirror("method", mirrored, request.method)
    if mirrored := message.name:
        _check_mirror("name", mirrored, headers.name_of(request) or "")
    if call.stated is not None:
        request.id = _id_of(request)
        agreement.check(request, call.stated)
        call.mirrored = agreement.mirrored(call.stated)
    return complete(request, events=events)


def _check_mirror(field: str, mirrored: str, said: str) -> None:
    if mirrored != said:
        what = f"says {mirrored[:128]!r}, the message {said[:128]!r}"
        raise InvalidCall(f'the mirror "{field}" {what}', violations=((field, what),))


def complete(request: Request, *, events: bool = False) -> Request:
    """The request with an id and with the `_meta` that 2026-07-28 requires; what is there stays."""
    if not request.id:
        request.id = _id_of(request)
    meta = request.meta
    if not meta:
        return request.with_meta(modern_meta() | (_CALLED_WITH_EVENTS if events else {}))
    if meta.get(eras.META_VERSION) != _SPOKEN or meta.get(eras.META_CAPABILITIES, b"")[:1] != b"{":
        check_version(request)
    return request if _COMPLETE.issubset(meta) else request.with_meta(modern_meta() | dict(meta))


def _id_of(request: Request) -> bytes:
    """Its own, or the one it gets. Raises `InvalidCall` for a notification."""
    if not request.id and request.method.startswith("notifications/"):
        raise InvalidCall(f"{request.method} is a notification, not a call", violations=(("method", "is no request"),))
    return request.id or _DEFAULT_ID


def check_version(request: Request) -> None:
    """The version a request names, if it does, is one that is spoken on this face."""
    version = request.meta.get(eras.META_VERSION)
    if version is not None and version != _SPOKEN and (said := as_string(version)) not in eras.MODERN_VERSIONS:
        raise UnsupportedVersion(said or "", eras.MODERN_VERSIONS)
    if request.meta.get(eras.META_CAPABILITIES, b"{")[:1] != b"{":
        field = f"params._meta.{eras.META_CAPABILITIES}"
        raise InvalidParams(f'"{field}" must be an object', violations=((field, "must be an object"),))


def tool_request(message: pb.CallToolRequest, limit: int) -> Request:
    """The `tools/call` behind a CallToolRequest. Raises `InvalidCall`."""
    if not message.tool:
        raise InvalidParams('"tool" must name a tool', violations=(("tool", "is empty"),))
    params = {"name": msgspec.json.encode(message.tool)}
    if message.arguments_json:
        params["arguments"] = _object(message.arguments_json, "arguments_json", limit)
    meta = members(_object(message.meta_json, "meta_json", limit), "meta_json") if message.meta_json else {}
    return complete(Request(eras.CALL_TOOL, params=params, meta=meta))


def _object(data: bytes, field: str, limit: int) -> bytes:
    check_text(check_size(data, limit))
    members(data, field)
    return data


def info(call: Call) -> pb.CallInfo:
    """What became of a call."""
    return pb.CallInfo(
        request_id=call.request_id,
        server=call.server,
        connection_id=call.connection_id,
        protocol_version=call.protocol_version,
        from_cache=call.from_cache,
        execution=_DONE if call.execution is Execution.DONE else execution_number(call.execution),
    )


def execution_number(execution: Execution) -> pb.Execution:
    """The enum's value on the wire."""
    return _EXECUTION[execution]
