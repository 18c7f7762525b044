"""The schema as JSON Schema (draft 2020-12) for editors; knows how a file may look, not whether it makes sense."""

from __future__ import annotations

from typing import Any

from mcp_sidecar.config.forms import NAME
from mcp_sidecar.config.schema import REQUIRED, Key, Section, schema
from mcp_sidecar.config.values import DURATION, SIZE

Json = dict[str, Any]
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def json_schema() -> Json:
    """Return the schema of a configuration file."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mcp-sidecar configuration"}
    return {**head, **_object(schema())}


def _object(section: Section) -> Json:
    made: Json = {
        "description": section.text,
        # Null is a section with everything commented out.
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {name: _part(part) for name, part in section.parts.items()},
    }
    required = [name for name, part in section.parts.items() if isinstance(part, Key) and part.default is REQUIRED]
    return {**made, "type": "object", "required": required} if required else made


def _part(part: Key | Section) -> Json:
    if isinstance(part, Key):
        return _key(part)
    item = _object(part)
    return {"type": ["array", "null"], "items": item, "description": part.text} if part.many else item


def _key(key: Key) -> Json:
    value = _value(key)
    made: Json = {"description": _description(key), **value}
    if key.shape == "list":
        made = {"description": _description(key), "anyOf": [value, {"type": "array", "items": value}]}
    elif key.shape == "map":
        made = {"description": _description(key), "type": "object", "additionalProperties": value}
    if key.default is not REQUIRED and not key.doc.unit:
        made["default"] = (
            list(key.default) if key.shape == "list" else dict(key.default) if key.shape == "map" else key.default
        )
    return made


def _description(key: Key) -> str:
    return key.doc.text + (" Not available in this version." if key.doc.only_default else "")


def _value(key: Key) -> Json:
    doc = key.doc
    if doc.unit == "seconds":
        return {"anyOf": [{"const": 0}, {"type": "string", "pattern": f"^(0|{DURATION})$"}]}
    if doc.unit == "bytes":
        number = {"type": "integer", "minimum": doc.low, "maximum": doc.high}
        return {"anyOf": [number, {"type": "string", "pattern": f"^({SIZE}|[0-9]{{1,12}})$"}]}
    if doc.choices:
        return {"enum": list(doc.choices)}
    limits: Json = {"minimum": doc.low, "maximum": doc.high} if key.type in {int, float} else {}
    if doc.form == "name":
        limits = {"pattern": f"^{NAME}$"}
    return {"type": _TYPES[key.type], **limits}
