"""POSTs to the HTTP face written out byte by byte: a header can be missing, doubled or wrong. Judges nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.wire.loopback import dial

Pairs = list[tuple[str, str]]

VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


def message(method: str = "tools/call", params: Mapping[str, Any] | None = None, **envelope: Any) -> bytes:
    """A modern request; by default a call of `echo`. `envelope` goes over `jsonrpc`, `id`, `method` and `params`."""
    if params is None:
        params = {"name": "echo", "arguments": {"text": "hi"}} if method == "tools/call" else {}
    whole = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META, **params}, **envelope}
    return json.dumps(whole).encode()


def headers_of(body: bytes, **changes: str | None) -> Pairs:
    """The headers a correct client sends with `body`; `changes` (`mcp_name="x"`) replace or, as None, remove some."""
    whole = json.loads(body)
    method, params = whole["method"], whole.get("params", {})
    found: dict[str, str | None] = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": VERSION,
        "mcp-method": method,
    }
    if isinstance(name := params.get(_NAMED_BY.get(method, "")), str):
        found["mcp-name"] = name
    found |= {key.replace("_", "-"): value for key, value in changes.items()}
    return [(key, value) for key, value in found.items() if value is not None]


@dataclass
class Answer:
    """A whole answer; header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        whole: dict[str, Any] = json.loads(self.body)
        return whole

    @property
    def code(self) -> int | None:
        """The code of the JSON-RPC error, None when there is none."""
        if not self.headers.get("content-type", "").startswith("application/json"):
            return None
        code: int | None = self.message.get("error", {}).get("code")
        return code

    @property
    def facts(self) -> tuple[int, int | None]:
        return self.status, self.code


def written(url: str, body: bytes, headers: Pairs, *, verb: str = "POST", host: str | None = None) -> bytes:
    """The bytes of a request, with Host and Content-Length in front of `headers`."""
    where = urlsplit(url)
    lines = [f"{verb} {where.path} HTTP/1.1", f"Host: {host if host is not None else where.netloc}"]
    lines += [f"Content-Length: {len(body)}"] + [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


async def exchanged(url: str, sent: bytes) -> Answer:
    """Send these bytes on a connection of their own and read one answer."""
    async with dial(urlsplit(url).port or 0) as peer:
        await peer.send(sent)
        answer = await peer.answer()
        return Answer(
            answer.status, {key.decode(): value.decode() for key, value in answer.headers.items()}, answer.body
        )


async def post(url: str, body: bytes, headers: Pairs | None = None, **changes: str | None) -> Answer:
    """POST `body` with `headers`, else with those of a correct client after `changes`."""
    return await exchanged(url, written(url, body, headers_of(body, **changes) if headers is None else headers))
