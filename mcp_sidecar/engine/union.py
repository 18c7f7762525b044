"""The answers of several servers as one: lists joined, capabilities united, instructions in a row. Knows no wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from mcp_sidecar.engine.catalogue import Kind
from mcp_sidecar.engine.inventory import Gathered, Part
from mcp_sidecar.errors import InvalidCall
from mcp_sidecar.protocol import eras, freshness, jsonrpc
from mcp_sidecar.protocol.handshake import CLIENT_INFO
from mcp_sidecar.protocol.jsonrpc import Members
from mcp_sidecar.protocol.names import Names

STALE, MISSING, CUT = "mcp-sidecar.dev/stale", "mcp-sidecar.dev/missing", "mcp-sidecar.dev/cut"
"""Our keys in a result's `_meta`: whose part is an older one, whose is not there, and of whose there is more."""
_LONGEST_INSTRUCTIONS = 4096  # characters of one server
_MOST_INSTRUCTIONS = 32768
_COMPLETE = b'"complete"'
_CHANGING: Members = dict.fromkeys(("tools", "prompts", "resources"), b'{"listChanged":true}')


def joined(kind: Kind, parts: Sequence[Part], names: Names | None) -> bytes:
    """The items of all as one array, in the order of the parts; those that `names` does not show are left out."""
    shown: list[bytes] = []
    for part in parts:
        if names is None:
            shown += [item for _, item in part.stock.items]
            continue
        for name, item in part.stock.items:
            as_ = names.shown(part.server, name)
            if as_ is not None:
                shown.append(item if as_ == name else _renamed(item, kind.key, as_))
    return b"[%b]" % b",".join(shown)


def _renamed(item: bytes, key: str, name: str) -> bytes:
    return jsonrpc.encode_object(jsonrpc.members(item, "an item") | {key: msgspec.json.encode(name)})


def result(found: Members, gathered: Gathered, now: float, *, modern: bool) -> bytes:
    """A result with these members and what is to be said of how it came about."""
    meta: Members = {eras.META_SERVER: CLIENT_INFO} if modern else {}
    cut = tuple(part.server for part in gathered.parts if part.cut)
    for key, servers in ((STALE, gathered.stale), (MISSING, gathered.missing), (CUT, cut)):
        if servers:
            meta[key] = msgspec.json.encode(servers)
    if modern:
        left = 0.0
        if not (gathered.stale or gathered.missing):
            left = max(0.0, min((part.expires for part in gathered.parts), default=now) - now)
        private = any(part.private for part in gathered.parts)
        found = {"resultType": _COMPLETE, **found, **freshness.hints(int(left * 1000), private=private)}
    return jsonrpc.encode_object(found | {"_meta": jsonrpc.encode_object(meta)} if meta else found)


def discovered(parts: Iterable[Part], *, settled: bool = True) -> Members:
    """What the servers say of themselves as what one says of itself. Unless `settled`, all lists may change."""
    read = [(part.server, jsonrpc.members(item, "result")) for part in parts for _, item in part.stock.items]
    declared = [_object(said.get("capabilities")) for _, said in read]
    found: Members = {
        "supportedVersions": msgspec.json.encode(eras.MODERN_VERSIONS),
        "capabilities": _capabilities(declared if settled else [_CHANGING, *declared]),
    }
    told = instructions({server: jsonrpc.as_string(said.get("instructions")) or "" for server, said in read})
    if told:
        found["instructions"] = msgspec.json.encode(told)
    return found


def instructions(by_server: Mapping[str, str]) -> str:
    """Each server's under a heading of its name, cut where they are too long."""
    told = ""
    for server, said in by_server.items():
        if said:
            cut = said if len(said) <= _LONGEST_INSTRUCTIONS else said[:_LONGEST_INSTRUCTIONS] + "…"
            more = f"[{server}]\n{cut}"
            if len(told) + len(more) > _MOST_INSTRUCTIONS:
                break
            told = f"{told}\n\n{more}" if told else more
    return told


def _capabilities(declared: Sequence[Members]) -> bytes:
    """What any of them can: two levels deep, where flags such as `listChanged` and names of extensions stand."""
    united: dict[str, Members] = {}
    for one in declared:
        for name, value in one.items():
            mine = united.setdefault(name, {})
            for key, detail in _object(value).items():
                mine[key] = _either(mine.get(key, detail), detail)
    united.pop("tasks", None)
    return jsonrpc.encode_object({name: jsonrpc.encode_object(value) for name, value in united.items()})


def _either(one: bytes, other: bytes) -> bytes:
    """Equal details stay; of two flags one suffices; what else differs is offered without saying more."""
    if one == other:
        return one
    return b"true" if b"true" in (one, other) else b"{}"


def _object(raw: bytes | None) -> Members:
    try:
        return {} if raw is None else jsonrpc.members(raw, "capabilities")
    except InvalidCall:
        return {}
