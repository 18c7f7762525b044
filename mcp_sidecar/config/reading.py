"""Holds a tree against the schema: values that fit, where they stood, and every problem. Knows one layer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from mcp_sidecar.config.problems import SHOWN, Place, Problem, nearest, quoted
from mcp_sidecar.config.schema import REQUIRED, Key, Section, schema
from mcp_sidecar.config.tree import Node, pairs_of
from mcp_sidecar.config.values import list_of, value_of

Values = dict[str, Any]
"""Nested like the file, without the keys that were left out or were wrong."""
MOST_PROBLEMS = 100
"""A file with more is not this format at all, and nobody reads on."""


class Reading:
    """What one or more trees say; problems and places gather, `read` returns the values of each tree."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.places: dict[str, Place] = {}
        self.warnings: list[str] = []
        """What OpenTelemetry's variables say that is not honoured."""
        self._reports = 0

    def report(self, path: str, message: str, place: Place) -> None:
        self._reports += 1
        if self._reports <= MOST_PROBLEMS:
            self.problems.append(Problem(path, message, place.source, place.line))
        elif self._reports == MOST_PROBLEMS + 1:
            self.problems.append(
                Problem("", f"and more: these are the first {MOST_PROBLEMS}", place.source, place.line)
            )

    def read(self, root: Node, first_upstream: int = 0) -> Values:
        """Read a whole tree; its list items are counted from `first_upstream` when they follow another layer's."""
        return self._section(root, schema(), "", first_upstream)

    def _section(self, node: Node, section: Section, path: str, first: int = 0) -> Values:
        self.places[path] = node.place
        values: Values = {}
        for name, value in self._entries(node, path):
            here = f"{path}.{name.text}" if path else name.text
            part = section.parts.get(name.text)
            if part is None:
                self._unknown(name, section, path)
            elif isinstance(part, Key):
                self.places[here] = value.place
                self._key(value, part, here, name.text, values)
            elif part.many:
                values[name.text] = self._sections(value, part, here, first)
            else:
                values[name.text] = self._section(value, part, here)
        self._missing(section, values, path, node.place)
        return values

    def _entries(self, node: Node, path: str) -> Iterator[tuple[Node, Node]]:
        """Yield the pairs of a map once for each key; an empty value is a map with everything commented out."""
        if node.kind not in {"map", "null"}:
            got = "a list" if node.kind == "list" else "a single value"
            self.report(path, f"expected a map of keys, got {got}", node.place)
            return
        lines: dict[str, int | None] = {}
        for key, value in pairs_of(node):
            if key.kind in {"map", "list"}:
                self.report(path, "a key must be a word", key.place)
            elif key.text in lines:
                first = lines[key.text]
                self.report(join(path, key.text), f"the key is given twice, first on line {first}", key.place)
            else:
                lines[key.text] = key.place.line
                yield key, value

    def _sections(self, node: Node, section: Section, path: str, first: int) -> list[Values]:
        if node.kind == "null":
            return []
        if node.kind != "list":
            self.report(path, "expected a list, each item beginning with - name:", node.place)
            return []
        return [self._section(item, section, f"{path}[{index}]") for index, item in enumerate(node.items, first)]

    def _unknown(self, key: Node, section: Section, path: str) -> None:
        meant, homes = nearest(key.text, section.parts), list(_homes(key.text))
        hints = [f'did you mean "{meant}"?'] if meant else []
        hints += [f"it belongs in {' or '.join(homes)}"] if homes else []
        hint = "; ".join(hints) or f"known here: {', '.join(section.parts)}"
        self.report(join(path, key.text), f"unknown key; {hint}", key.place)

    def _missing(self, section: Section, values: Values, path: str, place: Place) -> None:
        for name, part in section.parts.items():
            here = join(path, name)
            if isinstance(part, Key) and part.default is REQUIRED and name not in values and here not in self.places:
                self.report(here, f"every item needs a {name}", place)

    def _key(self, node: Node, key: Key, path: str, name: str, values: Values) -> None:
        before = self._reports
        value = self._shaped(node, key, path)
        if self._reports > before:
            return
        if key.doc.only_default and value != key.default:
            self.report(path, "not available in this version; leave the key out", node.place)
            return
        values[name] = value

    def _shaped(self, node: Node, key: Key, path: str) -> Any:
        if key.shape == "one":
            return self._one(node, key, path)
        if key.shape == "list":
            return self._list(node, key, path)
        if node.kind == "any" and not are_pairs(node):
            self.report(path, "expected name=value,name=value", node.place)
        entries = pairs_in(node) if node.kind == "any" else self._entries(node, path)
        return MappingProxyType({name.text: self._one(value, key, join(path, name.text)) for name, value in entries})

    def _one(self, node: Node, key: Key, path: str) -> Any:
        try:
            return value_of(node, key)
        except ValueError as error:
            self.report(path, str(error), node.place)
            return None

    def _list(self, node: Node, key: Key, path: str) -> tuple[Any, ...]:
        """Read a list; one value alone is a list of one, and in a variable commas separate."""
        if node.kind == "any":
            items = [Node("any", node.place, item.strip()) for item in node.text.split(",") if item.strip()]
        else:
            items = node.items if node.kind == "list" else [node]
        values = [
            self._one(item, key, f"{path}[{index}]" if node.kind == "list" else path)
            for index, item in enumerate(items)
        ]
        try:
            return list_of(values, key)
        except ValueError as error:
            self.report(path, str(error), node.place)
            return ()


def are_pairs(node: Node) -> bool:
    """Tell whether each item of a map in a variable has a name and a value."""
    return all("=" in part for part in node.text.split(",") if part.strip())


def pairs_in(node: Node) -> Iterator[tuple[Node, Node]]:
    """Yield the pairs of a map in a variable: `name=value,name=value`, percent-encoded as OpenTelemetry does it."""
    for item in filter(None, (part.strip() for part in node.text.split(","))):
        name, _, value = item.partition("=")
        yield Node("any", node.place, unquote(name.strip())), Node("any", node.place, unquote(value.strip()))


def join(path: str, name: str) -> str:
    """Add a key to a path; one that is no plain word is quoted, for it is somebody's text on a terminal."""
    plain = len(name) <= SHOWN and name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()
    shown = name if plain else quoted(name)
    return f"{path}.{shown}" if path else shown


def _homes(name: str, section: Section | None = None, path: str = "") -> Iterator[str]:
    """Yield the sections that have a key of this name."""
    for key, part in (section or schema()).parts.items():
        if key == name:
            yield path or "the top level"
        if isinstance(part, Section):
            yield from _homes(name, part, join(path, key) + ("[]" if part.many else ""))
