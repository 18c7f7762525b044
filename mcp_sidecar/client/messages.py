"""JSON in and out of the client's messages, and what a tool call returns; knows no gRPC."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mcp_sidecar import errors
from mcp_sidecar.client.failures import McpError, identified
from mcp_sidecar.errors import Execution
from mcp_sidecar.v1.engine_pb2 import CallInfo, CallResponse

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool returned. `raw` is the JSON `result` object, byte for byte as the server sent it."""

    is_error: bool
    content: list[JsonObject]
    structured_content: Any
    raw: bytes
    info: CallInfo

    @property
    def text(self) -> str:
        """The text items of `content`, joined by newlines."""
        return "\n".join(item["text"] for item in self.content if item.get("type") == "text" and "text" in item)


def dump(value: object) -> bytes:
    """JSON as UTF-8. Raises ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def load(text: bytes) -> JsonObject:
    """A JSON object. Raises `UpstreamProtocolError` when it is anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as bad:
        raise errors.UpstreamProtocolError("the sidecar sent what is not JSON", execution=Execution.UNKNOWN) from bad
    if not isinstance(value, dict):
        raise errors.UpstreamProtocolError("the sidecar sent JSON that is not an object", execution=Execution.UNKNOWN)
    return value


def member(message: bytes, wanted: str) -> bytes:
    """One member of a JSON object as the bytes it arrived in, so that numbers and key order stay as they were sent."""
    text, decoder = message.decode(), json.JSONDecoder()
    at = text.index("{") + 1
    while True:
        name, at = decoder.raw_decode(text, text.index('"', at))
        at = text.index(":", at) + 1
        at += len(text[at:]) - len(text[at:].lstrip())
        _, end = decoder.raw_decode(text, at)
        if name == wanted:
            return text[at:end].encode()
        at = end


def result_of(response: CallResponse) -> JsonObject:
    """The result in a JSON-RPC response. Raises `McpError` when it holds an error."""
    message = load(response.message_json)
    error = message.get("error")
    if error is not None:
        failure = McpError(error.get("code", 0), error.get("message", "the server gave no reason"), error.get("data"))
        raise identified(failure, response.info.request_id)
    result = message.get("result")
    if not isinstance(result, dict):
        raise errors.UpstreamProtocolError("the answer has neither result nor error", execution=Execution.UNKNOWN)
    return result


def tool_result(raw: bytes, info: CallInfo) -> ToolResult:
    """A `CallToolResult` object, picked apart as far as callers need it."""
    result = load(raw)
    return ToolResult(
        is_error=bool(result.get("isError", False)),
        content=[item for item in result.get("content", []) if isinstance(item, dict)],
        structured_content=result.get("structuredContent"),
        raw=raw,
        info=info,
    )
