"""Arguments of tools that headers repeat (`x-mcp-header`; MCP 2026-07-28, basic/transports/streamable-http): which
they are, their values, and whether two agree. Knows no server and no call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from mcp_sidecar.errors import HeaderMismatch, InvalidCall
from mcp_sidecar.protocol import headers, jsonrpc

MARK = b'"x-mcp-header"'
_KEY = "x-mcp-header"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}\Z")
_TYPES = ("string", "integer", "boolean")
_DECIMAL = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?\Z")
_MOST = 64
# Where a schema holds schemas (JSON Schema 2020-12).
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = (
    "items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties",
    "not", "if", "then", "else",
)  # fmt: skip
_decode = msgspec.json.decode

Path = tuple[str, ...]
Pairs = tuple[tuple[bytes, bytes], ...]


class Mirrored(NamedTuple):
    """An argument by its path, and the header that repeats it (whole, lower case)."""

    path: Path
    header: bytes


def mirrored(schema: bytes) -> tuple[Mirrored, ...]:
    """What an input schema wants repeated. Raises `InvalidCall` for annotations that the specification forbids."""
    try:
        root = _decode(schema)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidCall("the input schema cannot be read") from error
    found: dict[bytes, Mirrored] = {}
    for path, part in _schemas(root, ()):
        if _KEY not in part:
            continue
        header = headers.PARAM_PREFIX + _checked(path, part).lower().encode()
        if header in found or len(found) >= _MOST:
            raise InvalidCall(f"the header {part[_KEY]!r} is there twice, or there are more than {_MOST}")
        found[header] = Mirrored(path or (), header)
    return tuple(found.values())


def _checked(path: Path | None, part: Mapping[str, Any]) -> str:
    header = part[_KEY]
    if not path:
        raise InvalidCall("a header is named for what is no property of the arguments")
    if not isinstance(header, str) or not _TOKEN.match(header):
        raise InvalidCall("what is to be the name of a header is none")
    if part.get("type") not in _TYPES:
        raise InvalidCall(f"the property of the header {header!r} is no string, integer or boolean")
    return header


def _schemas(part: Any, path: Path | None) -> Iterator[tuple[Path | None, dict[str, Any]]]:
    """Every schema in a schema; its path where only `properties` lead to it, else None."""
    if not isinstance(part, dict):
        return
    yield path, part
    for keyword in _BY_NAME:
        named = part.get(keyword)
        for name, inner in named.items() if isinstance(named, dict) else ():
            yield from _schemas(inner, (*path, name) if keyword == "properties" and path is not None else None)
    for keyword in _LISTED:
        listed = part.get(keyword)
        for inner in listed if isinstance(listed, list) else ():
            yield from _schemas(inner, None)
    for keyword in _SINGLE:
        yield from _schemas(part.get(keyword), None)


def values(wanted: Sequence[Mirrored], arguments: bytes) -> Pairs:
    """The headers for these arguments; none for what is absent, null, or no single value."""
    read = [(one.header, _value(arguments, one.path)) for one in wanted]
    return tuple((header, headers.encode(value)) for header, value in read if value is not None)


def check(wanted: Sequence[Mirrored], arguments: bytes, given: Pairs) -> None:
    """Raises `HeaderMismatch` unless each header is there exactly with its argument and says the same."""
    said = dict(given)
    for one in wanted:
        value, header = _value(arguments, one.path), said.get(one.header)
        name, path = one.header.decode(), ".".join(one.path)
        if value is None and header is not None:
            raise HeaderMismatch(f"the header {name} repeats params.arguments.{path}, which has no value")
        if value is not None and header is None:
            raise HeaderMismatch(f"the header {name} is missing: it repeats params.arguments.{path}")
        if value is not None and header is not None and not _same(value, headers.decode(header)):
            raise HeaderMismatch(f"the header {name} and params.arguments.{path} differ")


def _same(value: str, said: str) -> bool:
    one, other = _DECIMAL.match(value), _DECIMAL.match(said)
    return one[1] == other[1] if one and other else value == said


def _value(arguments: bytes, path: Path) -> str | None:
    """The argument as its header says it. Raises `InvalidCall` for a name that is there twice."""
    raw = arguments
    for name in path:
        if raw[:1] != b"{":
            return None
        inner = jsonrpc.members(raw, "params.arguments").get(name)
        if inner is None:
            return None
        raw = inner
    if raw[:1] == b'"':
        return jsonrpc.as_string(raw)
    if raw == b"null" or raw[:1] in (b"{", b"["):
        return None
    text = raw.decode()
    whole = _DECIMAL.match(text)
    return whole[1] if whole else text
