"""What a client did wrong by the letter of MCP, as sentences; refuses nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from tests.support import fake_tools
from tests.support.fake_ledger import Message, Received

MODERN = "2026-07-28"
LEGACY = ("2025-03-26", "2025-06-18", "2025-11-25")
META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
NAME_KEY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
NAME_KEY |= dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId")

_SINGLE = ("host", "content-length", "content-type", "mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id")
_FOREIGN = ("authorization", "proxy-authorization", "cookie")
_GONE = ("initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe")


def decode_header(value: str) -> str | None:
    """A mirrored header's value, without its base64 sentinel (mcp.md §2.3). None when the sentinel is malformed."""
    if not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def accepts(received: Received) -> tuple[bool, bool]:
    """Whether the client takes JSON, and whether it takes an event stream."""
    offered = {part.split(";")[0].strip() for part in received.headers.get("accept", "").split(",")}
    anything = "*/*" in offered
    return anything or "application/json" in offered, anything or "text/event-stream" in offered


def of_http(received: Received, *, authorization_expected: bool) -> Iterator[str]:
    """Faults of the HTTP request and of the JSON-RPC envelope, the same in both eras."""
    yield from (f"header {name} is there {count} times" for name in _SINGLE if (count := received.http.count(name)) > 1)
    if "host" not in received.headers:
        yield "no Host header"
    if received.http.count("content-length") and received.http.count("transfer-encoding"):
        yield "both Content-Length and Transfer-Encoding"
    for name in _FOREIGN:
        if name in received.headers and not (name == "authorization" and authorization_expected):
            yield f"{name} header"
    if received.method == "POST":
        yield from _of_post(received)


def _of_post(received: Received) -> Iterator[str]:
    if accepts(received) != (True, True):
        yield f"Accept is {received.headers.get('accept')!r}, not both application/json and text/event-stream"
    if received.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        yield f"Content-Type is {received.headers.get('content-type')!r}"
    if received.fault:
        yield received.fault
    elif not isinstance(received.message, dict):
        yield "body is not one JSON object"
    else:
        yield from _of_envelope(received.message)


def _of_envelope(message: Message) -> Iterator[str]:
    if message.get("jsonrpc") != "2.0":
        yield f"jsonrpc is {message.get('jsonrpc')!r}"
    if "id" in message and (isinstance(message["id"], bool) or not isinstance(message["id"], str | int)):
        yield f"id is {message['id']!r}"
    if strange := set(message) - {"jsonrpc", "id", "method", "params", "result", "error"}:
        yield f"unknown envelope keys {sorted(strange)}"
    if "method" in message and ("result" in message or "error" in message):
        yield "both a request and a response"


def of_modern(received: Received) -> Iterator[str]:
    """Faults against 2026-07-28."""
    if received.method != "POST":
        yield f"{received.method} in the modern era"
        return
    yield from (
        f"{name} header in the modern era" for name in ("mcp-session-id", "last-event-id") if name in received.headers
    )
    if not received.rpc:
        yield "a JSON-RPC response in the modern era"
    elif received.id is None:
        yield f"client notification {received.rpc} over HTTP in the modern era"
    else:
        yield from of_modern_headers(received)
        yield from of_modern_meta(received)
        if received.rpc in _GONE:
            yield f"{received.rpc} in the modern era"


def of_modern_meta(received: Received) -> Iterator[str]:
    yield from (f"no {key} in _meta" for key in (META_VERSION, META_CAPABILITIES) if key not in received.meta)


def of_modern_headers(received: Received) -> Iterator[str]:
    """Mirrored headers that are missing or say something else than the body."""
    version = received.headers.get("mcp-protocol-version")
    if version is None or version != received.meta.get(META_VERSION, version):
        yield f"MCP-Protocol-Version is {version!r}, the body says {received.meta.get(META_VERSION)!r}"
    if received.headers.get("mcp-method") != received.rpc:
        yield f"Mcp-Method is {received.headers.get('mcp-method')!r}, the body says {received.rpc!r}"
    name = received.params.get(NAME_KEY.get(received.rpc, ""))
    given = received.headers.get("mcp-name")
    if given is None and name is not None:
        yield f"no Mcp-Name, the body says {name!r}"
    elif given is not None and decode_header(given) != name:
        yield f"Mcp-Name is {given!r}, the body says {name!r}"
    yield from _of_mirrored_arguments(received)


def _of_mirrored_arguments(received: Received) -> Iterator[str]:
    arguments = received.params.get("arguments")
    for header, key in fake_tools.mirrored(received.tool).items():
        said = received.headers.get(header)
        meant = arguments.get(key) if isinstance(arguments, dict) else None
        if (None if said is None else decode_header(said)) != meant:
            yield f"{header} is {said!r}, the body says {meant!r}"


def of_legacy(received: Received, version: str, *, initialized: bool, has_session: bool) -> Iterator[str]:
    """Faults against the 2025 revisions. `version` is the negotiated one, empty before `initialize`."""
    if received.rpc == "initialize":
        if "mcp-session-id" in received.headers:
            yield "Mcp-Session-Id on initialize"
        return
    if has_session and "mcp-session-id" not in received.headers:
        yield f"no Mcp-Session-Id on {received.rpc or received.method}"
    said = received.headers.get("mcp-protocol-version")
    if version >= "2025-06-18" and said != version:
        yield f"MCP-Protocol-Version is {said!r}, negotiated was {version!r}"
    if not initialized and received.id is not None and received.rpc not in ("ping", ""):
        yield f"{received.rpc} before notifications/initialized"
    if received.rpc in ("server/discover", "subscriptions/listen"):
        yield f"{received.rpc} in the legacy era"
    if ours := [key for key in received.meta if key.startswith("io.modelcontextprotocol/")]:
        yield f"modern _meta keys {ours} in the legacy era"
