"""Answers MCP requests of both eras with what the catalogue offers; knows messages, and no HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp_sidecar.demo.catalogue import (
    PROMPT,
    TOOLS,
    WELCOME,
    WELCOME_TEXT,
    WELCOME_URI,
    BadArguments,
    JsonObject,
    Report,
    prompt_text,
)

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26")
INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, HEADER_MISMATCH, UNSUPPORTED = -32600, -32601, -32602, -32020, -32022
"""JSON-RPC 2.0 §5.1 and MCP 2026-07-28, basic, "Error codes"."""

_SERVER_INFO = {"name": "mcp-sidecar-demo", "title": "Demo server of mcp-sidecar", "version": "1.0.0"}
_CAPABILITIES: JsonObject = {"tools": {}, "resources": {}, "prompts": {}}
_META = "io.modelcontextprotocol/"
# Public and fresh for a minute: nothing here depends on who asks, and nothing ever changes.
_CACHEABLE = {"ttlMs": 60_000, "cacheScope": "public"}
_CACHED = {
    "server/discover",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
}

Notify = Callable[[JsonObject], Awaitable[None]]


class Refused(Exception):
    """A JSON-RPC error. `status` is what HTTP says to it in the modern era (MCP 2026-07-28, Streamable HTTP)."""

    def __init__(self, code: int, message: str, *, data: object = None) -> None:
        super().__init__(message)
        self.error: JsonObject = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data
        self.status = 404 if code == METHOD_NOT_FOUND else 400


async def answer(request: JsonObject, *, modern: bool, notify: Notify, pace: float) -> JsonObject:
    """The `result` for one request. Raises `Refused`. `notify` sends a notification that belongs to this request."""
    method, params = request.get("method"), request.get("params", {})
    if not isinstance(method, str) or not isinstance(params, dict):
        raise Refused(INVALID_REQUEST, "not a JSON-RPC request")
    if modern:
        _check_meta(params)
    if method == "tools/call":
        result = await _call(params, _reporter(params, notify), pace)
    else:
        result = _answer_at_once(method, params, modern=modern)
    if not modern:
        return result
    cache = _CACHEABLE if method in _CACHED else {}
    return {"resultType": "complete", **result, **cache, "_meta": {f"{_META}serverInfo": _SERVER_INFO}}


def unsupported(requested: str) -> Refused:
    """The refusal of a revision that is not spoken here."""
    data = {"supported": [MODERN], "requested": requested}
    return Refused(UNSUPPORTED, f"protocol version {requested} is not supported", data=data)


def _check_meta(params: Mapping[str, Any]) -> None:
    meta = params.get("_meta")
    missing = [key for key in ("protocolVersion", "clientCapabilities") if f"{_META}{key}" not in (meta or {})]
    if not isinstance(meta, dict) or missing:
        raise Refused(INVALID_PARAMS, f"params._meta lacks {', '.join(missing)}")


def _answer_at_once(method: str, params: Mapping[str, Any], *, modern: bool) -> JsonObject:
    respond = (_MODERN_ONLY if modern else _LEGACY_ONLY).get(method) or _EITHER.get(method)
    if respond is None:
        raise Refused(METHOD_NOT_FOUND, f"method {method} is not known here")
    return respond(params, modern)


async def _call(params: Mapping[str, Any], report: Report, pace: float) -> JsonObject:
    tool, arguments = TOOLS.get(str(params.get("name"))), params.get("arguments", {})
    if tool is None:
        raise Refused(INVALID_PARAMS, f"unknown tool: {params.get('name')}")
    if not isinstance(arguments, dict):
        raise Refused(INVALID_PARAMS, "arguments: expected an object")
    try:
        return await tool.run(arguments, report, pace)
    except BadArguments as bad:
        return {"content": [{"type": "text", "text": str(bad)}], "isError": True}


def _initialize(params: Mapping[str, Any], _modern: bool) -> JsonObject:
    asked = params.get("protocolVersion")
    version = asked if asked in LEGACY else LEGACY[0]
    return {"protocolVersion": version, "capabilities": _CAPABILITIES, "serverInfo": _SERVER_INFO}


def _read(params: Mapping[str, Any], modern: bool) -> JsonObject:
    if params.get("uri") != WELCOME_URI:
        # 2025 revisions have a code of their own for this, later ones do not.
        code = INVALID_PARAMS if modern else -32002
        raise Refused(code, "resource not found", data={"uri": params.get("uri")})
    return {"contents": [{"uri": WELCOME_URI, "mimeType": "text/plain", "text": WELCOME_TEXT}]}


def _prompt(params: Mapping[str, Any], _modern: bool) -> JsonObject:
    arguments = params.get("arguments")
    city = arguments.get("city") if isinstance(arguments, dict) else None
    if params.get("name") != PROMPT["name"] or not isinstance(city, str):
        raise Refused(INVALID_PARAMS, "unknown prompt, or city is missing")
    content = {"type": "text", "text": prompt_text(city)}
    return {"description": PROMPT["description"], "messages": [{"role": "user", "content": content}]}


def _reporter(params: Mapping[str, Any], notify: Notify) -> Report:
    """Progress goes only to callers who gave a token for it."""
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None

    async def report(progress: float, total: float, message: str) -> None:
        if token is not None:
            values = {"progressToken": token, "progress": progress, "total": total, "message": message}
            await notify({"jsonrpc": "2.0", "method": "notifications/progress", "params": values})

    return report


_Respond = Callable[[Mapping[str, Any], bool], JsonObject]
_MODERN_ONLY: Mapping[str, _Respond] = {
    "server/discover": lambda _params, _modern: {"supportedVersions": [MODERN], "capabilities": _CAPABILITIES},
}
_LEGACY_ONLY: Mapping[str, _Respond] = {"initialize": _initialize, "ping": lambda _params, _modern: {}}
_EITHER: Mapping[str, _Respond] = {
    "tools/list": lambda _params, _modern: {"tools": [tool.description for tool in TOOLS.values()]},
    "resources/list": lambda _params, _modern: {"resources": [WELCOME]},
    "resources/templates/list": lambda _params, _modern: {"resourceTemplates": []},
    "resources/read": _read,
    "prompts/list": lambda _params, _modern: {"prompts": [PROMPT]},
    "prompts/get": _prompt,
}
