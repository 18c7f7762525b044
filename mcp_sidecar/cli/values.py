"""Words of the command line into a tool's arguments, as its input schema wants them; knows no gRPC and no tool."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from mcp_sidecar.cli.failures import USAGE, CommandFailed

_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
_PHRASES: Mapping[str, str] = {
    "integer": "an integer, such as 3",
    "number": "a number, such as 2.5",
    "boolean": "true or false",
    "object": 'a JSON object, such as {"a": 1}',
    "array": 'a JSON array, such as ["a", "b"]',
    "null": "null",
}
_DEEPEST_REF = 8
"""A schema may refer to itself; nobody's command line needs more."""


def from_json(text: str, source: str) -> dict[str, Any]:
    """A JSON object. `source` is what the complaint names."""
    try:
        value = _read(text)
    except _NoValue as bad:
        raise CommandFailed(f"{source}: {bad}", code=USAGE) from bad
    except ValueError as bad:
        raise CommandFailed(f"{source}: not JSON: {bad}", code=USAGE) from bad
    except RecursionError as bad:
        raise CommandFailed(f"{source}: nested too deeply", code=USAGE) from bad
    if not isinstance(value, dict):
        raise CommandFailed(f'{source}: expected a JSON object, such as {{"city": "Oslo"}}', code=USAGE)
    return value


def from_pairs(pairs: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """`key=value` words: text stays text, everything else is JSON of the type that `schema` names for the key."""
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    closed = schema.get("additionalProperties") is False
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise CommandFailed(f'"{pair}": expected key=value, one JSON object, or - for stdin', code=USAGE)
        if not _is_text(key):
            raise CommandFailed(f"{key!r}: holds bytes that are no UTF-8", code=USAGE)
        if key in arguments:
            raise CommandFailed(f"{key}: given twice", code=USAGE)
        if closed and key not in properties:
            raise CommandFailed(f"{key}: the tool has no such argument; {_choices(key, properties)}", code=USAGE)
        arguments[key] = _value(key, text, _types(properties.get(key), schema))
    return arguments


def _value(key: str, text: str, types: frozenset[str]) -> Any:
    if not _is_text(text):
        raise CommandFailed(f"{key}: holds bytes that are no UTF-8", code=USAGE)
    if "string" in types:
        return text
    try:
        value = _read(text)
    except _NoValue as bad:
        raise CommandFailed(f"{key}: {bad}", code=USAGE) from None
    except (ValueError, RecursionError):
        if not types:
            return text  # the schema leaves it open: what is not JSON is text
        raise _mistyped(key, text, types) from None
    if not types or any(_fits(value, name) for name in types):
        return value
    raise _mistyped(key, text, types)


def _fits(value: object, name: str) -> bool:
    if isinstance(value, bool):  # for Python a bool is an int, for JSON it is not
        return name == "boolean"
    return isinstance(value, _PYTHON_TYPES.get(name, ()))


def _mistyped(key: str, text: str, types: frozenset[str]) -> CommandFailed:
    wanted = " or ".join(_PHRASES.get(name, name) for name in sorted(types - {"null"}) or ["null"])
    return CommandFailed(f'{key}: expected {wanted}, got "{text}"', code=USAGE)


def _types(schema: object, root: Mapping[str, Any], depth: int = 0) -> frozenset[str]:
    """Every JSON type a value may have; none when the schema does not say."""
    if not isinstance(schema, dict) or depth > _DEEPEST_REF:
        return frozenset()
    if isinstance(schema.get("$ref"), str):
        return _types(_referred(schema["$ref"], root), root, depth + 1)
    named = schema.get("type")
    if isinstance(named, str):
        return frozenset({named})
    if isinstance(named, list):
        return frozenset(name for name in named if isinstance(name, str))
    if isinstance(schema.get("enum"), list) and all(isinstance(value, str) for value in schema["enum"]):
        return frozenset({"string"})
    choices = [choice for word in ("anyOf", "oneOf", "allOf") for choice in schema.get(word) or ()]
    return frozenset().union(*(_types(choice, root, depth + 1) for choice in choices))


def _referred(ref: str, root: Mapping[str, Any]) -> object:
    found: object = root
    for part in ref.removeprefix("#/").split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found


def _choices(key: str, properties: Mapping[str, Any]) -> str:
    near = get_close_matches(key, properties, n=1, cutoff=0.5)
    return f'did you mean "{near[0]}"?' if near else f"it has: {', '.join(properties) or 'none'}"


class _NoValue(ValueError):
    """JSON by its looks, and yet nothing that could be sent and read again."""


def _read(text: str) -> Any:
    value = json.loads(text, parse_constant=_refuse_constant, parse_float=_double, object_pairs_hook=_members)
    if not _is_text(json.dumps(value, ensure_ascii=False)):
        raise _NoValue("holds half a character (a surrogate without its other half)")
    return value


def _is_text(words: str) -> bool:
    """It has no halves of characters: UTF-8 has none, and bytes of the command line that are no UTF-8 become such."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _double(text: str) -> float:
    if math.isinf(number := float(text)):
        raise _NoValue(f"{text[:32]} is too large for a number")
    return number


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _NoValue(f"{next(key for key in found if keys.count(key) > 1)[:64]}: given twice")
    return found
