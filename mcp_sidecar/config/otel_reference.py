"""Writes what the configuration page says of OpenTelemetry's own variables and file; knows only their tables."""

from __future__ import annotations

from collections.abc import Iterator

from mcp_sidecar.config.declared_shape import SHAPE, Items, Keys, Pairs, Shape, Value
from mcp_sidecar.config.otel_variables import BOUNDS, ELSEWHERE, FILE, RATIO, SAMPLER, SECURITY, VARIABLES

_VARIABLES = f"""\
## OpenTelemetry's variables

They set keys of `telemetry`, below the configuration file. Times are milliseconds, and none is `0`. A value that cannot
be honoured is a problem or a warning that names its variable. The endpoint, headers and files of a signal take the
place of the common ones. With `{FILE}` set, none of these counts but for what the file refers to.

| variable | key of `telemetry` |
| --- | --- |"""
_DECLARED = f"""\
## OpenTelemetry's file

`{FILE}` names a file in OpenTelemetry's declarative configuration format (`file_format` 1.x). It takes the place
of the variables above: below the configuration file, and with the defaults of its own schema. `${{VAR}}`,
`${{env:VAR}}` and `${{VAR:-default}}` stand for variables, `$$` for a dollar sign. What is not in this list is refused,
with its path and line; so is a second processor, reader or exporter of a signal. A provider that is left out sends
nothing. Numbers are milliseconds and counts.

```yaml"""
_KEYS = {"attributes": "resource", "ratio": "sample", "disabled": "enabled, negated", "attributes_list": "resource"}
_LISTED = {"export_timeout": "timeout, the lower of the two", "headers_list": "headers", "insecure": "endpoint"}


def otel_pages() -> Iterator[str]:
    """Yield both sections, line by line."""
    yield _VARIABLES
    for name, key in sorted(_variables()):
        yield f"| `{name}` | {key} |"
    yield "\n" + _DECLARED
    yield from _tree(SHAPE, "")
    yield "```\n"


def _variables() -> Iterator[tuple[str, str]]:
    for name, variable in VARIABLES.items():
        yield name, f"`{variable.key}`"
    yield FILE, "takes the place of all others, below"
    yield SAMPLER, "`sample`: a caller's decision always comes first, as with the samplers called `parentbased_…`"
    yield RATIO, "`sample`"
    for name, signal in BOUNDS.items():
        yield name, f"`{signal}_to.timeout`, the lower of the two; `0` is none"
    for name, signal in SECURITY.items():
        yield name, f"`{signal}_to.endpoint`, where it names no scheme"
    for name, (honoured, instead) in ELSEWHERE.items():
        values = " or ".join(f"`{value}`" for value in honoured)
        yield name, f"none; {instead}" + (f" ({values})" if values else "")


def _tree(shape: Shape, indent: str) -> Iterator[str]:
    """Yield the lines of a map, each part with what it is for."""
    if isinstance(shape, Items):
        first, *rest = _tree(shape.item, indent + "  ")
        yield f"{indent}- {first.lstrip()}"
        yield from rest
    elif isinstance(shape, Keys):
        for name, part in shape.parts.items():
            yield f"{indent}{name}: {_note(part, one=shape.one and len(shape.parts) > 1)}".rstrip()
            yield from () if isinstance(part, Value | Pairs) else _tree(part, indent + "  ")


def _note(part: Shape, *, one: bool) -> str:
    if isinstance(part, Value) and part.only:
        return "# nothing but " + " or ".join(value or "null" for value in part.only)
    if isinstance(part, Value | Pairs):
        listed = "a list of name and value; " if isinstance(part, Pairs) else ""
        return f"# {listed}{_setting(part.name)}" if part.name else '# "1.0" or what is compatible with it'
    return "# one of these" if one else ""


def _setting(name: str) -> str:
    signal, _, rest = name.rpartition(".")
    if not signal:
        return _KEYS.get(name, name)
    return f"{signal}_to.{_LISTED.get(rest, rest)}"
