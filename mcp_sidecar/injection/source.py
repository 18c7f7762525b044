"""YAML text to trees in which every value knows its span of the text; knows no Kubernetes and never changes text.

Made from parser events: that gives an alias a place of its own, and builds nothing from tags. Plain words mean what
YAML 1.2 says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import yaml

Kind = Literal["scalar", "list", "map"]

_MOST_VALUES: Final = 2_000_000
"""Values of a document with every alias written out, so that a small text cannot stand for an enormous one."""
_DEEPEST: Final = 100
_PARSER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAGS: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int"))
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")


class NotYaml(ValueError):
    """The text cannot be read; `line` is counted from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True, eq=False)
class Node:
    """A value as written, from `start` to `end` (for blocks: to where the next thing begins)."""

    kind: Kind
    start: int
    end: int
    line: int
    flow: bool = False
    """Within brackets, or a list or map with brackets."""
    plain: bool = False
    block_text: bool = False
    """A scalar after `|` or `>`, whose end is that of its trailing empty lines."""
    alias: bool = False
    """Written as `*name`: the contents stand elsewhere."""
    text: str = ""
    # Aliases make a small text an enormous tree, and so an endless repr.
    items: list[Node] = field(default_factory=list, repr=False)
    pairs: list[tuple[Node, Node]] = field(default_factory=list, repr=False)

    def entry(self, key: object) -> tuple[Node, Node] | None:
        """The key and the value as written here; not what a merge (`<<`) brings. Of several, the one that counts."""
        return next((pair for pair in reversed(self.pairs) if pair[0].kind == "scalar" and pair[0].text == key), None)


def documents(text: str) -> Iterator[Node | None]:
    """The root of each document, None for one that is empty. Raises NotYaml."""
    growing = _Growing()
    try:
        for event in yaml.parse(text, Loader=_PARSER):
            if growing.take(event):
                yield growing.root
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotYaml(f"not valid YAML: {error.problem or error.context}", mark.line + 1 if mark else 1) from error
    except yaml.reader.ReaderError as error:
        place = error.position if isinstance(error.position, int) else 0
        raise NotYaml("a character that text may not have", text.count("\n", 0, place) + 1) from error
    except UnicodeEncodeError as error:
        raise NotYaml("a character that text may not have", text.count("\n", 0, error.start) + 1) from error


class _Growing:
    """The tree of the document that is being read."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[Node] = []
        self._keys: list[Node | None] = []
        self._anchors: dict[str, Node] = {}

    def take(self, event: Any) -> bool:
        """One event of the parser; true at the end of a document."""
        end: Any = event.end_mark
        if isinstance(event, yaml.DocumentStartEvent):
            self.root, self._anchors = None, {}
        elif isinstance(event, yaml.AliasEvent):
            self._place(self._alias(event))
        elif isinstance(event, yaml.ScalarEvent):
            self._place(self._anchored(_scalar(event), event))
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop().end = end.index
            self._keys.pop()
        return isinstance(event, yaml.DocumentEndEvent)

    def _begin(self, event: Any) -> None:
        if len(self._open) == _DEEPEST:
            raise NotYaml(f"nested more than {_DEEPEST} deep", event.start_mark.line + 1)
        kind: Kind = "list" if isinstance(event, yaml.SequenceStartEvent) else "map"
        node = Node(
            kind, event.start_mark.index, event.end_mark.index, event.start_mark.line + 1, bool(event.flow_style)
        )
        self._place(self._anchored(node, event))
        self._open.append(node)
        self._keys.append(None)

    def _place(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        node.flow = node.flow or self._open[-1].flow
        if self._open[-1].kind == "list":
            self._open[-1].items.append(node)
        elif self._keys[-1] is None:
            self._keys[-1] = node
        else:
            self._open[-1].pairs.append((self._keys[-1], node))
            self._keys[-1] = None

    def _anchored(self, node: Node, event: Any) -> Node:
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> Node:
        """A node of its own with the contents of the other."""
        line = event.start_mark.line + 1
        meant = self._anchors.get(event.anchor)
        if meant is None:
            raise NotYaml(f"*{event.anchor} stands for nothing: there is no &{event.anchor} before it", line)
        if meant in self._open:
            raise NotYaml(f"*{event.anchor} stands within what it stands for", line)
        copy = Node(meant.kind, event.start_mark.index, event.end_mark.index, line, True, meant.plain, alias=True)
        copy.text, copy.items, copy.pairs = meant.text, meant.items, meant.pairs
        return copy


def _scalar(event: Any) -> Node:
    node = Node("scalar", event.start_mark.index, event.end_mark.index, event.start_mark.line + 1)
    node.text, node.block_text = event.value, event.style in {"|", ">"}
    node.plain = event.implicit[0] or event.tag in _TAGS
    return node


def plain_data(root: Node | None) -> Any:
    """The tree as plain data; of several equal keys the last one counts. Raises NotYaml for what is too large."""
    if root is None:
        return None
    if _size(root, {}) > _MOST_VALUES:
        raise NotYaml(f"aliases make this more than {_MOST_VALUES} values", root.line)
    return _data(root)


def _size(node: Node, known: dict[int, int]) -> int:
    """Values with every alias written out. Contents that are shared are counted once and multiplied."""
    shared = id(node.pairs) if node.kind == "map" else id(node.items)
    if node.kind == "scalar":
        return 1
    if shared not in known:
        parts = [*node.items, *(part for pair in node.pairs for part in pair)]
        known[shared] = 1 + sum(_size(part, known) for part in parts)
    return known[shared]


def _data(node: Node) -> Any:
    if node.kind == "scalar":
        return _value(node)
    if node.kind == "list":
        return [_data(item) for item in node.items]
    merged: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for place, (key, value) in enumerate(node.pairs):
        if key.plain and key.text == "<<":
            for source in value.items if value.kind == "list" else [value]:
                found = _data(source)
                merged = {**found, **merged} if isinstance(found, dict) else merged
        else:
            own[_name(key, place)] = _data(value)
    return {**merged, **own}


def _value(node: Node) -> Any:
    if not node.plain:
        return node.text
    if node.text in _WORDS:
        return _WORDS[node.text]
    return int(node.text) if _INTEGER.fullmatch(node.text) else node.text


def _name(key: Node, place: int) -> str:
    """Keys of Kubernetes are texts; anything else only has to stay apart."""
    return key.text if key.kind == "scalar" else f"\0{place}"
