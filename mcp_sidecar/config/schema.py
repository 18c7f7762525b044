"""`Settings` described as sections and keys; knows neither values nor where they come from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mcp_sidecar.documented import Doc
from mcp_sidecar.settings import Settings

PREFIX = "MCP_SIDECAR_"
REQUIRED = dataclasses.MISSING


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: its scalar type, whether it holds one, a list or a map of them, and its default."""

    type: type[bool | int | float | str]
    shape: Literal["one", "list", "map"]
    doc: Doc
    default: Any


@dataclass(frozen=True, slots=True)
class Section:
    """A dataclass of settings; `many` when the format has a list of them."""

    cls: type[Any]
    many: bool
    parts: Mapping[str, Key | Section]

    @property
    def text(self) -> str:
        return self.cls.__doc__ or ""


@functools.cache
def schema() -> Section:
    """Describe `Settings`."""
    return _section(Settings)


def _section(cls: type[Any], *, many: bool = False) -> Section:
    hints = get_type_hints(cls, include_extras=True)
    return Section(cls, many, {field.name: _part(field, hints[field.name]) for field in dataclasses.fields(cls)})


def _part(field: dataclasses.Field[Any], hint: Any) -> Key | Section:
    if isinstance(hint, type):
        return _section(hint)
    if get_origin(hint) is tuple:
        return _section(get_args(hint)[0], many=True)
    kind, doc = get_args(hint)
    default = field.default if field.default_factory is REQUIRED else field.default_factory()
    if get_origin(kind) is tuple:
        return Key(get_args(kind)[0], "list", doc, default)
    if get_origin(kind) is not None:
        return Key(get_args(kind)[1], "map", doc, default)
    return Key(kind, "one", doc, default)


def variables(section: Section | None = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the environment variable and the path of every key outside lists of sections."""
    for name, part in (section or schema()).parts.items():
        here = (*path, name)
        if isinstance(part, Key):
            yield PREFIX + "_".join(here).upper(), here
        elif not part.many:
            yield from variables(part, here)
