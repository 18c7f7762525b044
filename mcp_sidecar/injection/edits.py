"""Operations on a document to changes of its text, so that every other byte stays; knows YAML and no Kubernetes.

What is put into a block is written as a block, what is put between brackets as JSON, which is YAML as well. Not every
text can be changed in place; whoever uses this reads the result and compares it with what was meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import yaml

from mcp_sidecar.injection.operations import END, Add, Key, Operation, Path
from mcp_sidecar.injection.source import Node

_STEP: Final = 2


class NotEditable(ValueError):
    """The text at `path` cannot be changed in place; the message says why."""

    def __init__(self, path: Path, line: int, why: str) -> None:
        super().__init__(f"{'.'.join(map(str, path))}: {why}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Edit:
    """`text` in the place of what stands from `start` to `end`."""

    start: int
    end: int
    text: str
    depth: int = 0
    """How deep it belongs: of two at the same place the deeper comes first, because it continues what stands there."""


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits made. They do not overlap."""
    pieces, done = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, -edit.depth)):
        pieces += [text[done : edit.start], edit.text]
        done = edit.end
    return "".join([*pieces, text[done:]])


class Editor:
    """Turns operations into edits of one text, whose line ends and indentation it takes over."""

    def __init__(self, text: str) -> None:
        self._text = text
        first = text.find("\n")
        self._newline = "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"

    def edits(self, root: Node, operations: Iterable[Operation]) -> list[Edit]:
        """Raises NotEditable."""
        found: list[Edit] = []
        removed: dict[Path, list[Key]] = {}
        for one in operations:
            if isinstance(one, Add):
                found.append(self._add(root, one))
            else:
                removed.setdefault(one.path[:-1], []).append(one.path[-1])
        cuts = [cut for path, keys in removed.items() for cut in self._removals(root, path, keys)]
        return found + self._to_the_end(cuts)

    # -- adding

    def _add(self, root: Node, one: Add) -> Edit:
        key_node, parent = _reach(root, one.path[:-1])
        key = one.path[-1]
        if parent.kind == "map" and (there := parent.entry(key)) is not None:
            return self._fill(there[1], one, self._column(there[0].start))
        if parent.flow:
            return self._add_between_brackets(parent, one)
        if not (parent.items or parent.pairs):
            raise NotEditable(one.path[:-1], parent.line, "is neither a list nor a mapping")
        if parent.kind == "list":
            return self._add_item(parent, key, one, key_node)
        explicit = self._text[parent.start] == "?"  # `? key` and, on the next line, `: value`
        column = self._column(parent.start if explicit else parent.pairs[0][0].start)
        return self._insert_line(self._after(parent), {key: one.value}, column, one)

    def _fill(self, empty: Node, one: Add, column: int) -> Edit:
        """A key that has no value, or empty brackets. In a block the value gets lines of its own."""
        if empty.alias or empty.items or empty.pairs:
            raise NotEditable(one.path, empty.line, "is there already")
        if empty.flow or empty.start != empty.end:
            gap = "" if self._text[empty.start - 1] in " \t" else " "
            return Edit(empty.start, empty.end, gap + _json(one.value))
        return self._insert_line(self._next_line(empty.end), one.value, column + _STEP, one)

    def _add_item(self, parent: Node, key: Key, one: Add, key_node: Node | None) -> Edit:
        column = self._column(self._dash(parent.items[0]))
        if key == END:
            return self._insert_line(self._after(parent), [one.value], column, one)
        if key != 0 or key_node is None:
            raise NotEditable(one.path, parent.line, "only the first place can be taken")
        # Right below the key: a comment above the first item stays with that item.
        return self._insert_line(self._next_line(key_node.end), [one.value], column, one)

    def _insert_line(self, place: int, value: Any, column: int, one: Add) -> Edit:
        lines = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=4096, allow_unicode=True).splitlines()
        block = self._newline.join(" " * column + line for line in lines)
        at_the_end = place > 0 and self._text[place - 1] != "\n"
        return Edit(place, place, self._newline + block if at_the_end else block + self._newline, len(one.path))

    def _add_between_brackets(self, parent: Node, one: Add) -> Edit:
        children = parent.items or [key for key, _ in parent.pairs]
        if not children:
            inside = self._text.index("[" if parent.kind == "list" else "{", parent.start) + 1
            return Edit(inside, inside, _entry(parent, one))
        gap, new = " ", _entry(parent, one)
        if "\n" in self._text[parent.start : children[0].start]:
            gap = self._newline + " " * self._column(children[0].start)
            new = _entry(parent, one, spread=True).replace("\n", gap)
        if one.path[-1] == 0:
            return Edit(children[0].start, children[0].start, f"{new},{gap}")
        last = parent.items[-1] if parent.items else parent.pairs[-1][1]
        return Edit(last.end, last.end, f",{gap}{new}")

    # -- removing

    def _removals(self, root: Node, path: Path, keys: list[Key]) -> list[Edit]:
        _, parent = _reach(root, path)
        entries = [(key, value) for key, value in parent.pairs] or [(item, item) for item in parent.items]
        gone = sorted(_index(parent, key, path) for key in keys)
        if parent.flow:
            return _cut_between_brackets(entries, gone)
        return [self._cut_lines(path, parent, *entries[index]) for index in gone]

    def _cut_lines(self, path: Path, parent: Node, first: Node, last: Node) -> Edit:
        start, end = self._line(first.start), self._after(last)
        if self._text[start : first.start].strip(" -" if parent.kind == "list" else " "):
            raise NotEditable(path, first.line, "something else stands on the same line")
        return Edit(start, end, "")

    def _to_the_end(self, cuts: list[Edit]) -> list[Edit]:
        """The same cuts; where they reach the end of a text without a last line end, the one before them goes too."""
        cuts = sorted(cuts, key=lambda cut: cut.start)
        start = len(self._text)
        for cut in reversed(cuts):
            if cut.end != start:
                break
            start = cut.start
        if start in {0, len(self._text)} or self._text.endswith("\n"):
            return cuts
        return [*(cut for cut in cuts if cut.end <= start), Edit(start - len(self._newline), len(self._text), "")]

    # -- places

    def _dash(self, item: Node) -> int:
        """Where the dash of a list's item is."""
        place = item.start - 1
        while place > 0 and self._text[place] in " \r\n":
            place -= 1
        return place

    def _column(self, place: int) -> int:
        return place - self._line(place)

    def _line(self, place: int) -> int:
        """Where the line begins."""
        return self._text.rfind("\n", 0, place) + 1

    def _next_line(self, place: int) -> int:
        end = self._text.find("\n", place)
        return len(self._text) if end < 0 else end + 1

    def _after(self, node: Node) -> int:
        """The beginning of the line after the last one that has something of the node; or the end of the text."""
        while not node.flow and (node.items or node.pairs):
            node = node.items[-1] if node.items else node.pairs[-1][1]
        if node.block_text and not self._text[self._line(node.end) : node.end].strip(" "):
            return self._line(node.end)
        return self._next_line(node.end)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _entry(parent: Node, one: Add, *, spread: bool = False) -> str:
    """An item, or a key with its value, as it stands between brackets."""
    value = _json(one.value, spread=spread)
    return value if parent.kind == "list" else f"{json.dumps(one.path[-1])}: {value}"


def _json(value: Any, *, spread: bool = False) -> str:
    return json.dumps(value, ensure_ascii=False, indent=4 if spread else None)


def _reach(root: Node, path: Path) -> tuple[Node | None, Node]:
    """The value at the path, and the key it stands at. Raises NotEditable."""
    key_node, node = None, root
    for depth, key in enumerate(path):
        key_node, node = _child(node, key, path[: depth + 1])
        if node.alias:
            raise NotEditable(path[: depth + 1], node.line, "is an alias; write out what it stands for")
    return key_node, node


def _child(node: Node, key: Key, path: Path) -> tuple[Node | None, Node]:
    if node.kind == "list" and isinstance(key, int) and key < len(node.items):
        return None, node.items[key]
    if (entry := node.entry(key)) is None:
        raise NotEditable(path, node.line, "comes from a merge (<<); write it out")
    return entry


def _index(parent: Node, key: Key, path: Path) -> int:
    if parent.kind == "list":
        return int(key)
    entry = parent.entry(key)
    if entry is None:
        raise NotEditable((*path, key), parent.line, "comes from a merge (<<); write it out")
    return parent.pairs.index(entry)


def _cut_between_brackets(entries: list[tuple[Node, Node]], gone: list[int]) -> list[Edit]:
    """Each entry with the comma behind it, and the last ones with the comma before them."""
    tail = len(entries)
    while tail - 1 in gone:
        tail -= 1
    edits = [Edit(entries[index][0].start, entries[index + 1][0].start, "") for index in gone if index < tail]
    if tail < len(entries):
        start = entries[tail - 1][1].end if tail else entries[0][0].start
        edits.append(Edit(start, entries[-1][1].end, ""))
    return edits
