"""Values of the HTTP headers that mirror a message (MCP 2026-07-28, basic/transports/streamable-http)."""

from __future__ import annotations

import base64
import re

from mcp_sidecar.errors import HeaderMismatch
from mcp_sidecar.protocol.jsonrpc import Request

PROTOCOL_VERSION = b"mcp-protocol-version"
METHOD = b"mcp-method"
NAME = b"mcp-name"
SESSION = b"mcp-session-id"
LAST_EVENT = b"last-event-id"
PARAM_PREFIX = b"mcp-param-"

# Which parameter `Mcp-Name` repeats; `tasks/*` by SEP-2663.
NAMED_BY = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?\Z")
_START, _END = "=?base64?", "?="


def name_of(request: Request) -> str | None:
    """What the request names (tool, prompt, URI, task), or None where its method names nothing."""
    key = NAMED_BY.get(request.method)
    return None if key is None else request.text(key)


def encode(value: str) -> bytes:
    """A header value: as it is when printable, else in the base64 form the specification gives."""
    if _PLAIN.match(value) and not (value.startswith(_START) and value.endswith(_END)):
        return value.encode()
    return b"%b%b%b" % (_START.encode(), base64.b64encode(value.encode()), _END.encode())


def decode(raw: bytes) -> str:
    """The value behind a header. Raises `HeaderMismatch` for base64 that is none."""
    value = raw.decode("latin-1").strip(" \t")
    if not value.startswith("=?"):
        return value
    if not (value.startswith(_START) and value.endswith(_END) and len(value) >= len(_START) + len(_END)):
        return value
    payload = value[len(_START) : -len(_END)]
    try:
        decoded = base64.b64decode(payload, validate=True)
        # Bits that decoding drops are another spelling, which another reader may refuse.
        if base64.b64encode(decoded).decode() == payload:
            return decoded.decode()
    except ValueError as error:  # no base64, or no UTF-8 in it
        raise HeaderMismatch("a mirrored header holds malformed base64") from error
    raise HeaderMismatch("a mirrored header holds base64 in an unusual spelling")
