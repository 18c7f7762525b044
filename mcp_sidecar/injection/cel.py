"""Prints a template as CEL, the language of admission policies; knows no policy.

CEL is typed: an object names its type by the path that leads to it, `Object.spec.initContainers.env{…}`, and a list or
map holds one type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mcp_sidecar.injection.choices import Annotated, Placeholder, PodGrace, When
from mcp_sidecar.injection.vocabulary import ANNOTATIONS

_MAPS: Final = frozenset(("requests", "limits"))
"""Fields that Kubernetes types as maps; every other mapping is an object."""
_WIDTH: Final = 110
_INDENT: Final = "  "


def literal(value: str | int | bool) -> str:
    """A constant. A placeholder stays as it is: what takes its place brings its quotes."""
    if isinstance(value, Placeholder):
        return str(value)
    # JSON's texts, numbers and truth values are CEL's as well.
    return json.dumps(value, ensure_ascii=False)


def printed(value: Any, path: str) -> str:
    """The expression for a value of the type at `path`, over several lines where it is long."""
    if isinstance(value, Annotated):
        return _annotated(value)
    if isinstance(value, PodGrace):
        return "string(object.spec.terminationGracePeriodSeconds)"
    if isinstance(value, Mapping):
        return _mapping(value, path)
    if isinstance(value, list):
        return concatenated([_piece(part, path) for part in value])
    return literal(value)


def concatenated(pieces: list[tuple[str, str]]) -> str:
    """One list of `(condition, item)`s: items without a condition stand together, others come and go."""
    lists: list[tuple[str, list[str]]] = []
    for condition, item in pieces:
        if lists and lists[-1][0] == condition == "":
            lists[-1][1].append(item)
        else:
            lists.append((condition, [item]))
    return joined([_listed(condition, items) for condition, items in lists], "+") if lists else "[]"


def joined(parts: list[str], operator: str) -> str:
    """The parts with an operator between them, one a line when there are long ones."""
    line = f" {operator} ".join(parts)
    return line if "\n" not in line and len(line) <= _WIDTH else f"\n{operator} ".join(parts)


def _listed(condition: str, items: list[str]) -> str:
    if not condition:
        return _enclosed("[", items, "]")
    return f"({condition} ? {items[0]})"


def _piece(part: Any, path: str) -> tuple[str, str]:
    if not isinstance(part, When):
        return "", printed(part, path)
    then, otherwise = (printed(branch or [], path) for branch in (part.then, part.otherwise))
    return f"variables.{condition_name(part.name)}", f"{then} : {otherwise}"


def _mapping(value: Mapping[str, Any], path: str) -> str:
    if path.rpartition(".")[2] in _MAPS:
        return _enclosed("{", [f"{literal(key)}: {printed(item, path)}" for key, item in value.items()], "}")
    return _enclosed(path + "{", [f"{key}: {printed(item, f'{path}.{key}')}" for key, item in value.items()], "}")


def _enclosed(opening: str, items: list[str], closing: str) -> str:
    line = f"{opening}{', '.join(items)}{closing}"
    if "\n" not in line and len(line) <= _WIDTH:
        return line
    inside = ",\n".join(items)
    return f"{opening}\n{indented(inside)}{closing}"


def indented(text: str) -> str:
    return "\n".join(_INDENT + line for line in text.split("\n"))


def _annotated(value: Annotated) -> str:
    # string(): an annotation's type is not known before, and a map may not mix it with a constant.
    said = f"string(variables.ann[{literal(ANNOTATIONS[value.name].key)}])"
    choice = f"variables.{condition_name(value.name)} ? {said} : string({literal(value.default)})"
    return f"({choice}) + {literal(value.suffix)}" if value.suffix else choice


def conditions(template: Any) -> dict[str, str]:
    """The variables that `printed` speaks of, each with its expression; `variables.ann` is to hold the annotations."""
    return {condition_name(name): _said(name) for name in _asked(template)}


def _asked(template: Any) -> Iterator[str]:
    """The names of the annotations that a template depends on, as often as it does."""
    if isinstance(template, Annotated | When):
        yield template.name
    if isinstance(template, When):
        yield from _asked([template.then, template.otherwise])
    elif isinstance(template, Mapping):
        yield from _asked(list(template.values()))
    elif isinstance(template, list):
        for part in template:
            yield from _asked(part)


def _said(name: str) -> str:
    """The annotation is there and has its form: to a value that has not, the API server may answer with 500."""
    key, form = literal(ANNOTATIONS[name].key), literal(f"^({ANNOTATIONS[name].form})$")
    return f"{key} in variables.ann && string(variables.ann[{key}]).matches({form})"


def condition_name(name: str) -> str:
    return "has" + "".join(part.capitalize() for part in name.split("-"))
