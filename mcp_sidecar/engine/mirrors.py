"""Which arguments of which tools go into headers, learned from the lists that pass; knows no connection.

Where the caller speaks HTTP itself its headers are checked, and passed on as they are; for every other caller the
sidecar is the one that mirrors.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mcp_sidecar.call import Call
from mcp_sidecar.errors import InvalidCall
from mcp_sidecar.protocol import jsonrpc, params
from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.protocol.params import Mirrored

_MOST_TOOLS = 1000  # of one server
_tools = msgspec.json.Decoder(list[msgspec.Raw])
Dropped = Callable[[str, str, str], None]
"""Told the server, the tool and what is wrong with it."""


class Mirrors:
    """`known` is empty unless some tool of some server has such arguments, as nearly none has."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, tuple[Mirrored, ...]]] = {}
        self._watchers: list[Dropped] = []

    def watch(self, notify: Dropped) -> None:
        """Be told of tools that are dropped."""
        self._watchers.append(notify)

    def screen(self, server: str, result: bytes) -> bytes:
        """A result of `tools/list` without the tools whose annotations are invalid, which nobody may call
        (MCP 2026-07-28, basic/transports/streamable-http, "Custom headers").
        """
        if params.MARK not in result and server not in self.known:
            return result
        try:
            found = jsonrpc.members(result, "result")
            tools = [bytes(tool) for tool in _tools.decode(found.get("tools", b"[]"))]
            kept = [tool for tool in tools if self._learn(server, tool)]
        except (InvalidCall, msgspec.DecodeError):
            return result  # who reads it will say so
        if len(kept) == len(tools):
            return result
        return jsonrpc.encode_object(found | {"tools": b"[%b]" % b",".join(kept)})

    def _learn(self, server: str, tool: bytes) -> bool:
        """Note what a tool wants mirrored; False when that cannot be."""
        known = self.known.get(server, {})
        if params.MARK not in tool and not known:
            return True
        found = jsonrpc.members(tool, "a tool")
        name = jsonrpc.as_string(found.get("name")) or ""
        known.pop(name, None)
        if params.MARK not in tool:
            return True
        try:
            wanted = params.mirrored(found.get("inputSchema", b"{}"))
        except InvalidCall as wrong:
            for notify in self._watchers:
                notify(server, name, wrong.message)
            return False
        if wanted and len(known) < _MOST_TOOLS:
            self.known.setdefault(server, known)[name] = wanted
        return True

    def prepare(self, call: Call, request: Request, server: str) -> None:
        """Check the caller's headers, or make them. Raises `HeaderMismatch`."""
        wanted = self.known.get(server, {}).get(call.name)
        arguments = request.params.get("arguments", b"{}")
        if call.mirrored is not None:
            params.check(wanted or (), arguments, call.mirrored)
        else:
            call.added = params.values(wanted or (), arguments)
