"""What is to be added to or taken from an object, as data; knows neither pods nor YAML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

Key = str | int
Path = tuple[Key, ...]

END: Final = "-"
"""The place behind the last item of a list, as JSON Patch (RFC 6902) writes it."""
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Add:
    """A key of a mapping, new or empty so far; or an item of a list, before the one that stands at the index."""

    path: Path
    value: Any


@dataclass(frozen=True, slots=True)
class Remove:
    """A key or an item that is there."""

    path: Path


Operation = Add | Remove


def below(prefix: Path, operations: Iterable[Operation]) -> list[Operation]:
    """The same operations on an object that holds theirs at `prefix`."""
    return [
        Add(prefix + one.path, one.value) if isinstance(one, Add) else Remove(prefix + one.path) for one in operations
    ]


def apply(root: Any, operations: Iterable[Operation]) -> Any:
    """The object with all of them done; what they touch is copied, the rest is shared with `root`."""
    for one in operations:
        root = _changed(root, one.path, one.value if isinstance(one, Add) else _MISSING)
    return root


def _changed(node: Any, path: Path, value: Any) -> Any:
    key, *rest = path
    if isinstance(node, list):
        items = list(node)
        index = len(items) if key == END else int(key)
        if rest:
            items[index] = _changed(items[index], tuple(rest), value)
        else:
            items[index : index + (value is _MISSING)] = [] if value is _MISSING else [value]
        return items
    members = dict(node)
    if rest:
        members[key] = _changed(members[key], tuple(rest), value)
    elif value is _MISSING:
        del members[key]
    else:
        members[key] = value
    return members


def as_json_patch(operations: Iterable[Operation]) -> list[dict[str, Any]]:
    """RFC 6902."""
    return [
        {"op": "add", "path": pointer(one.path), "value": one.value}
        if isinstance(one, Add)
        else {"op": "remove", "path": pointer(one.path)}
        for one in operations
    ]


def pointer(path: Path) -> str:
    """RFC 6901."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)
