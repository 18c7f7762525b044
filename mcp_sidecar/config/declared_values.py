"""Holds a declarative file's tree against its shape: the values that are there, and every problem. Knows no setting."""

from __future__ import annotations

from typing import NamedTuple

from mcp_sidecar.config.declared_shape import Items, Keys, Kind, Pairs, Shape, Value
from mcp_sidecar.config.problems import nearest, quoted
from mcp_sidecar.config.reading import Reading, join
from mcp_sidecar.config.tree import Node, pairs_of

_SPOKEN = {"text": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
_TYPE: dict[str, Shape] = {"type": Value(only=("string",))}


class Found(NamedTuple):
    """A value and its path in the file."""

    node: Node
    path: str


class Declared:
    """Reads a tree; `values` and `pairs` hold what was found, by the names of the shape. Null is left out."""

    def __init__(self, reading: Reading) -> None:
        self.values: dict[str, Found] = {}
        self.pairs: dict[str, dict[str, Node]] = {}
        self._reading = reading

    def read(self, node: Node, shape: Shape, path: str) -> None:
        if isinstance(shape, Value):
            self._value(node, shape, path)
        elif isinstance(shape, Keys):
            self._keys(node, shape, path)
        elif isinstance(shape, Pairs):
            self.pairs[shape.name] = dict(self._pair(item, shape, at) for item, at in self._items(node, path, 1000))
            self.pairs[shape.name].pop("", None)
        else:
            self._several(node, shape, path)

    def _value(self, node: Node, shape: Value, path: str) -> None:
        if node.kind == "null":
            return
        if shape.only or not shape.name:
            self._only(node, shape, path)
        elif node.kind not in ({shape.kind, "int"} if shape.kind == "float" else {shape.kind}):
            self._expected(node, shape.kind, path)
        else:
            self.values[shape.name] = Found(node, path)

    def _only(self, node: Node, shape: Value, path: str) -> None:
        if shape.only and node.text.replace(" ", "") not in shape.only:
            others = " or ".join(filter(None, shape.only)) or "nothing"
            self._reading.report(path, f"{quoted(node.text)} is not honoured here; {others} is", node.place)

    def _expected(self, node: Node, kind: Kind, path: str) -> None:
        quotes = kind == "text" and node.kind in {"int", "float", "bool"}
        hint = "; put it in quotes" if quotes else ""
        self._reading.report(path, f"expected {_SPOKEN[kind]}{hint}", node.place)

    def _keys(self, node: Node, shape: Keys, path: str) -> None:
        if node.kind not in {"map", "null"}:
            self._reading.report(path, "expected a map of keys", node.place)
            return
        if shape.name:
            self.values[shape.name] = Found(node, path)
        given: list[str] = []
        for key, value in pairs_of(node):
            here = join(path, key.text)
            if key.text in given:
                self._reading.report(here, "the key is given twice", key.place)
            elif key.text in shape.parts:
                self.read(value, shape.parts[key.text], here)
            else:
                self._unknown(key, shape, here)
            given.append(key.text)
        if shape.one and len(given) != 1:
            self._reading.report(path, f"expected one of {', '.join(shape.parts)}", node.place)
        elif shape.needed and shape.needed not in given:
            self._reading.report(join(path, shape.needed), "is missing", node.place)

    def _unknown(self, key: Node, shape: Keys, path: str) -> None:
        meant = nearest(key.text, shape.parts)
        known = f"known here: {', '.join(shape.parts)}" if shape.parts else "nothing is known here"
        hint = f'did you mean "{meant}"?' if meant else known
        self._reading.report(path, f"{'type' if shape.one else 'key'} is not supported; {hint}", key.place)

    def _items(self, node: Node, path: str, most: int) -> list[tuple[Node, str]]:
        if node.kind != "list" or not 0 < len(node.items) <= most:
            self._reading.report(path, f"expected a list of {'one' if most == 1 else f'1 to {most}'}", node.place)
            return []
        return [(item, f"{path}[{index}]") for index, item in enumerate(node.items)]

    def _several(self, node: Node, shape: Items, path: str) -> None:
        for item, here in self._items(node, path, shape.most):
            self.read(item, shape.item, here)

    def _pair(self, node: Node, pairs: Pairs, path: str) -> tuple[str, Node]:
        """The name and value of an item; the name is empty where there is none to keep."""
        inner = Declared(self._reading)
        parts: dict[str, Shape] = {"name": Value("name"), "value": Value("value")}
        inner.read(node, Keys(parts | _TYPE if pairs.typed else parts, needed="name"), path)
        name, value = inner.values.get("name"), inner.values.get("value")
        return ("", node) if name is None or value is None else (name.node.text, value.node)
