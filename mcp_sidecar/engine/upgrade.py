"""Legacy requests in modern shape and modern answers in legacy shape, without a wire: the mirror of `downgrade`.

Values are untouched; what changes is the top level of `params`, of results and of `_meta` (table: MCP reference,
"Legacy client, modern upstream").
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from mcp_sidecar.call import Client
from mcp_sidecar.errors import Execution, InvalidCall, UpstreamProtocolError
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.jsonrpc import Request, Response

_MODERN_ONLY = ("resultType", "ttlMs", "cacheScope")
_NEVER_LEAKED = frozenset((eras.HEADER_MISMATCH, eras.UNSUPPORTED_VERSION))
_tools = msgspec.json.Decoder(list[msgspec.Raw])


class _Schema(msgspec.Struct):
    type: msgspec.Raw = msgspec.Raw(b"")


_schema = msgspec.json.Decoder(_Schema)


def request(legacy: Request, client: Client) -> Request:
    """The request with the metadata that every modern one carries."""
    meta = {key: value for key, value in legacy.meta.items() if not key.startswith(eras.META_PREFIX)}
    meta |= modern_meta(capabilities(client.capabilities), client.info)
    if client.log_level:
        meta[eras.META_LOG_LEVEL] = b'"%b"' % client.log_level.encode()
    return Request(legacy.method, legacy.id, legacy.params, meta)


@lru_cache(maxsize=256)
def capabilities(declared: bytes) -> bytes:
    """What a client can do (JSON text), as far as 2026-07-28 has it: no core tasks, no news of changed roots."""
    found = jsonrpc.members(declared, "capabilities")
    found.pop("tasks", None)
    if "roots" in found:
        roots = jsonrpc.members(found["roots"], "capabilities.roots")
        roots.pop("listChanged", None)
        found["roots"] = jsonrpc.encode_object(roots)
    if found.get("elicitation") == b"{}":
        found["elicitation"] = b'{"form":{}}'  # the one mode that 2025-06-18 had
    return jsonrpc.encode_object(found)


def response(asked: Request, modern: Response) -> Response:
    """The response without what only 2026-07-28 knows."""
    if modern.error is not None:
        return Response(modern.id, error=_error(modern))
    try:
        found = jsonrpc.members(modern.result or b"", "result")
        meta = jsonrpc.members(found.get("_meta", b"{}"), "result._meta")
    except InvalidCall as error:
        raise UpstreamProtocolError("the MCP server's result is not an object", execution=Execution.DONE) from error
    for key in _MODERN_ONLY:
        found.pop(key, None)
    meta = {key: value for key, value in meta.items() if not key.startswith(eras.META_PREFIX)}
    if meta:
        found["_meta"] = jsonrpc.encode_object(meta)
    else:
        found.pop("_meta", None)
    if asked.method == eras.CALL_TOOL and found.get("structuredContent", b"{")[:1] != b"{":
        del found["structuredContent"]  # any JSON in 2026-07-28, an object before
    if asked.method == eras.LIST_TOOLS and "tools" in found:
        found["tools"] = _with_object_schemas(found["tools"])
    return Response(modern.id, result=jsonrpc.encode_object(found))


def _with_object_schemas(tools: bytes) -> bytes:
    """Tools without the output schemas that describe no object, which only 2026-07-28 allows."""
    if b'"outputSchema"' not in tools:
        return tools
    try:
        return b"[%b]" % b",".join([_with_object_schema(bytes(tool)) for tool in _tools.decode(tools)])
    except (InvalidCall, msgspec.DecodeError):
        return tools


def _with_object_schema(tool: bytes) -> bytes:
    found = jsonrpc.members(tool, "tool")
    schema = found.get("outputSchema")
    if schema is None or bytes(_schema.decode(schema).type) == b'"object"':
        return tool
    del found["outputSchema"]
    return jsonrpc.encode_object(found)


def _error(modern: Response) -> bytes:
    """What is between the sidecar and the server stays there: the client sent no header and offered no version."""
    said = jsonrpc.read_error(modern)
    if said is not None and said[0] in _NEVER_LEAKED:
        return jsonrpc.encode_error(eras.INTERNAL_ERROR, "the sidecar and the MCP server do not agree on the protocol")
    return modern.error or b""
