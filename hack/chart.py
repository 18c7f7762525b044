"""Writes the README and `values.schema.json` of the Helm chart from its values.yaml, or checks the committed ones.

    python hack/chart.py            write
    python hack/chart.py --check    compare; exit 1 and name the files when they differ

In values.yaml `# --` begins the description of the key below it, and `# @schema {…}` adds to what the default says
about the type. Knows the form of values, not their meaning: that is the templates'.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "deploy/helm/mcp-sidecar"
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z0-9_]+):")
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Value:
    """One key of values.yaml: where it is, what it is for, what it is without being set."""

    path: tuple[str, ...]
    text: str
    schema: Schema
    default: Any

    @property
    def has_children(self) -> bool:
        return isinstance(self.default, dict) and bool(self.default)


def values(source: str) -> Iterator[Value]:
    """The keys of values.yaml in order, parents before their children."""
    defaults = yaml.safe_load(source)
    path: list[str] = []
    comments: list[str] = []
    for line in source.splitlines():
        if line.lstrip().startswith("#"):
            comments.append(line.strip().removeprefix("#").strip())
        elif match := _KEY.match(line):
            del path[len(match["indent"]) // 2 :]
            path.append(match["key"])
            text, more = _described(comments)
            yield Value(tuple(path), text, more, _at(defaults, path))
            comments = []
        elif not line.strip():
            comments = []


def _at(defaults: Any, path: list[str]) -> Any:
    for key in path:
        defaults = defaults[key]
    return defaults


def _described(comments: list[str]) -> tuple[str, Schema]:
    """The sentence and the schema among the comments above a key."""
    text: list[str] = []
    more: Schema = {}
    for line in comments:
        if line.startswith("@schema "):
            more = yaml.safe_load(line.removeprefix("@schema "))
        elif line.startswith("-- "):
            text = [line.removeprefix("-- ")]
        elif text:
            text.append(line)
    return " ".join(text), more


# --- values.schema.json -----------------------------------------------------------------------------------------------


def schema(all_values: list[Value]) -> Schema:
    """A mapping with keys takes no others; one that is empty takes what its own schema says, or anything."""
    whole: Schema = {"$schema": _DRAFT, "title": "Values of the chart mcp-sidecar", **_closed()}
    for value in all_values:
        parent = whole
        for key in value.path[:-1]:
            parent = parent["properties"][key]
        parent["properties"][value.path[-1]] = _property(value)
    return whole


def _closed() -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _property(value: Value) -> Schema:
    described = {"description": value.text} if value.text else {}
    if value.has_children:
        return {**described, **_closed()}
    if "$file" in value.schema:
        content = json.loads((ROOT / value.schema["$file"]).read_text())
        content.pop("$schema", None)  # only the root of a schema may name its draft
        # Helm reads null as "not set", so a mapping is never null here.
        return {**content, **described, "type": "object"}
    return {**described, "type": _TYPES[type(value.default)], "default": value.default, **value.schema}


# --- README.md --------------------------------------------------------------------------------------------------------


def readme(all_values: list[Value]) -> str:
    """README.md.in with the table of values in the place of its mark."""
    return (CHART / "README.md.in").read_text().replace("<!-- values -->\n", _table(all_values))


def _table(all_values: list[Value]) -> str:
    rows = [
        f"| `{'.'.join(value.path)}` | {_default(value.default)} | {value.text.replace('|', chr(92) + '|')} |"
        for value in all_values
        if not value.has_children
    ]
    return "\n".join(["| key | default | what it is for |", "| --- | --- | --- |", *rows]) + "\n"


def _default(default: Any) -> str:
    return f"`{json.dumps(default)}`"


# --- command line -----------------------------------------------------------------------------------------------------


def generated() -> dict[Path, str]:
    """What belongs into each generated file."""
    all_values = list(values((CHART / "values.yaml").read_text()))
    return {
        CHART / "values.schema.json": json.dumps(schema(all_values), indent=2, ensure_ascii=False) + "\n",
        CHART / "README.md": readme(all_values),
    }


def main(arguments: list[str]) -> int:
    files = generated()
    if arguments != ["--check"]:
        for path, content in files.items():
            path.write_text(content)
        return 0
    stale = [path for path, content in files.items() if not path.exists() or path.read_text() != content]
    for path in stale:
        print(f"{path.relative_to(ROOT)} is not what values.yaml says: run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
