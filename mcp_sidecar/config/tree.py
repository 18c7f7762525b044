"""YAML text to a tree in which every value remembers its line; knows no key and never builds objects from tags.

The tree is made from parser events rather than by `yaml.load`: that keeps the lines, sees duplicate keys, needs no
recursion, and lets plain words mean what YAML 1.2 says (`off` and `2026-07-28` are text).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from mcp_sidecar.config.problems import BadConfiguration, Place, Problem, quoted

MOST_BYTES = 1024 * 1024
MOST_VALUES = 50_000
"""Values in a file with every alias written out, so that a small file cannot stand for an enormous one."""
DEEPEST = 32

Kind = Literal["text", "bool", "int", "float", "null", "any", "list", "map"]
_PLAIN: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("null", re.compile(r"~|null|Null|NULL|")),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE")),
    ("int", re.compile(r"[-+]?[0-9]+")),
    ("float", re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?")),
)
_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "null", "bool", "int", "float", "seq", "map")) | {"!"}


@dataclass(slots=True)
class Node:
    """A value as written. `any` is text whose type only its reader knows: a variable or a flag.

    A `plain` one stood without quotes, and means what its text looks like.
    """

    kind: Kind
    place: Place
    text: str = ""
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    plain: bool = False


def read_yaml(text: str, source: str) -> Node | None:
    """Return the root of the one document in `text`, None when there is none; raises BadConfiguration."""
    import yaml  # a sidecar without a file starts without it

    growing = _Growing(source)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            growing.take(event, type(event).__name__)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _refusal(f"not valid YAML: {error.problem}", source, mark.line if mark else None) from error
    except yaml.YAMLError as error:
        raise _refusal(f"not valid YAML: {getattr(error, 'reason', 'unreadable')}", source) from error
    return growing.root


def _refusal(message: str, source: str, line: int | None = None) -> BadConfiguration:
    """Return the error for a file that cannot be read on; `line` is counted from 0, as the parser does."""
    return BadConfiguration([Problem("", message, source, None if line is None else line + 1)])


def _scalar(event: Any, place: Place) -> Node:
    quoted = event.tag in {"!", "tag:yaml.org,2002:str"} or (event.tag is None and not event.implicit[0])
    return Node("text" if quoted else kind_of(event.value), place, event.value, plain=not quoted)


def kind_of(plain: str) -> Kind:
    """Tell a scalar's type by YAML 1.2's core schema; anything quoted is text."""
    return next((kind for kind, pattern in _PLAIN if pattern.fullmatch(plain)), "text")


def put(root: Node, path: tuple[str, ...], value: Node) -> None:
    """Put a value into a tree of maps, making those on the way."""
    for name in path[:-1]:
        child = next((node for key, node in root.pairs if key.text == name), None)
        if child is None:
            child = Node("map", value.place)
            root.pairs.append((Node("text", value.place, name), child))
        root = child
    root.pairs.append((Node("text", value.place, path[-1]), value))


@dataclass(slots=True)
class _Open:
    """A list or map whose end has not come yet."""

    node: Node
    anchor: str | None
    key: Node | None = None
    weight: int = 1

    def join(self, value: Node, weight: int) -> None:
        self.weight += weight
        if self.node.kind == "list":
            self.node.items.append(value)
        elif self.key is None:
            self.key = value
        else:
            self.node.pairs.append((self.key, value))
            self.key = None


class _Growing:
    """The part of the tree that has been read; the lists and maps still open lie on a stack."""

    def __init__(self, source: str) -> None:
        self.root: Node | None = None
        self._source = source
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._documents = 0

    def take(self, event: Any, name: str) -> None:
        """Take the parser's next event; raises BadConfiguration where reading on makes no sense."""
        line = event.start_mark.line
        if getattr(event, "tag", None) not in _TAGS | {None}:
            raise _refusal(f"tag {quoted(event.tag)} is not supported", self._source, line)
        match name:
            case "DocumentStartEvent":
                self._count_document(line)
            case "ScalarEvent":
                self._join(_scalar(event, Place(self._source, line + 1)), 1, event.anchor, line)
            case "MappingStartEvent":
                self._begin("map", event.anchor, line)
            case "SequenceStartEvent":
                self._begin("list", event.anchor, line)
            case "MappingEndEvent" | "SequenceEndEvent":
                ended = self._stack.pop()
                self._join(ended.node, ended.weight, ended.anchor, line)
            case "AliasEvent":
                self._join(*self._aliased(event.anchor, line), None, line)

    def _count_document(self, line: int) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _refusal("more than one YAML document in the file", self._source, line)

    def _begin(self, kind: Literal["list", "map"], anchor: str | None, line: int) -> None:
        if len(self._stack) == DEEPEST:
            raise _refusal(f"nested more than {DEEPEST} deep", self._source, line)
        self._stack.append(_Open(Node(kind, Place(self._source, line + 1)), anchor))

    def _aliased(self, anchor: str, line: int) -> tuple[Node, int]:
        if any(still.anchor == anchor for still in self._stack):
            raise _refusal(f"alias {quoted('*' + anchor)} contains itself", self._source, line)
        if anchor not in self._anchors:
            raise _refusal(f"alias {quoted('*' + anchor)} has no anchor before it", self._source, line)
        return self._anchors[anchor]

    def _join(self, node: Node, weight: int, anchor: str | None, line: int) -> None:
        """Put a finished value where it belongs: into the innermost open list or map, else it is the root."""
        if anchor:
            self._anchors[anchor] = (node, weight)
        if not self._stack:
            self.root = node
            return
        self._stack[-1].join(node, weight)
        if self._stack[-1].weight > MOST_VALUES:
            raise _refusal(f"more than {MOST_VALUES} values, aliases written out", self._source, line)


def pairs_of(node: Node) -> Iterator[tuple[Node, Node]]:
    """Yield a map's own pairs, then those that `<<` merges into it and it does not have itself."""
    own = [pair for pair in node.pairs if not _is_merge(*pair)]
    yield from own
    said = {key.text for key, _ in own}
    for key, value in node.pairs:
        for source in _merged(value) if _is_merge(key, value) else ():
            for pair in pairs_of(source):
                if pair[0].text not in said:
                    said.add(pair[0].text)
                    yield pair


def _merged(value: Node) -> list[Node]:
    return value.items if value.kind == "list" else [value]


def _is_merge(key: Node, value: Node) -> bool:
    """Tell whether a pair is YAML's merge; with anything but maps behind it `<<` is a key like any other."""
    return key.text == "<<" and all(source.kind == "map" for source in _merged(value))
