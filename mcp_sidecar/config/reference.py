"""Writes docs/configuration.md from the schema; knows nothing that `settings` does not say, and no file to load.

`python -m mcp_sidecar.config.reference docs` writes the page and the JSON Schema into a folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mcp_sidecar.config.json_schema import json_schema
from mcp_sidecar.config.layers import OTHER_VARIABLES, STANDARD, TEST_PREFIX
from mcp_sidecar.config.otel_reference import otel_pages
from mcp_sidecar.config.schema import PREFIX, REQUIRED, Key, Section, schema
from mcp_sidecar.config.values import BYTES, SECONDS

PAGE = "configuration.md"
SCHEMA = "configuration.schema.json"

_INTRODUCTION = """\
# Configuration

Generated from `mcp_sidecar/settings/` by `python -m mcp_sidecar.config.reference docs`; edit that
file, not this page.

The sidecar reads a YAML file (`-c FILE`), environment variables and flags. A flag wins over a variable, a variable over
the file, the file over the default. Every key may be left out, and so may the file. `mcp-sidecar check -c FILE` prints
every problem at once, each with its line and key:

```
config.yaml:12: upstreams[0].timeout.cal: unknown key; did you mean "call"?
```

## Writing values

* Durations are a number with a unit: `250ms`, `5s`, `15m`, `1h`. A bare number is refused, except `0`.
* Sizes are `64KiB`, `4MiB`, `1GiB`; a bare number is bytes.
* Where a list is expected, one value alone is a list of one.
* YAML is read as version 1.2: only `true` and `false` are booleans, so `off` and `no` are text. Anchors, aliases and
  `<<` work. A key that is given twice is a problem. The file is UTF-8 and at most 1 MiB.
* In environment variables, commas separate the items of a list; an empty variable counts as not set. An unknown
  variable beginning with `MCP_SIDECAR_` is a problem, except those that Kubernetes itself adds for Services
  (`MCP_SIDECAR_SERVICE_HOST` and the like).
* `--upstream NAME=URL` adds to the upstreams of the file; the other flags are `--grpc`, `--http`, `--health`,
  `--metrics` (`listen`), `--log-level` and `--log-format` (`log`).
* *Not available in this version* marks what belongs to the format but does nothing yet: anything but the default is
  refused rather than ignored.
"""


def page() -> str:
    """Return docs/configuration.md."""
    return "\n".join([_INTRODUCTION, *_sections(schema(), ""), *_other_variables(), *otel_pages(), *_example()]) + "\n"


def schema_text() -> str:
    """Return docs/configuration.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    """Write both files."""
    (folder / PAGE).write_text(page(), encoding="utf-8")
    (folder / SCHEMA).write_text(schema_text(), encoding="utf-8")


def _sections(section: Section, path: str) -> Iterator[str]:
    for name, part in section.parts.items():
        if isinstance(part, Section):
            here = (f"{path}.{name}" if path else name) + ("[]" if part.many else "")
            yield f"## `{here}`\n\n{part.text}\n"
            yield from _table(part, here)
            yield from _sections(part, here)


def _table(section: Section, path: str) -> Iterator[str]:
    keys = [(name, part) for name, part in section.parts.items() if isinstance(part, Key)]
    if not keys:
        return
    single = "[]" not in path
    yield "| key | default | meaning |" + (" environment variable |" if single else "")
    yield "| --- | --- | --- |" + (" --- |" if single else "")
    for name, key in keys:
        variable = f" `{PREFIX}{path.replace('.', '_').upper()}_{name.upper()}` |" if single else ""
        default = "(required)" if key.default is REQUIRED else f"`{_cell(written(key))}`"
        yield f"| `{name}` | {default} | {_cell(_meaning(key))} |{variable}"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _meaning(key: Key) -> str:
    doc = key.doc
    parts = [doc.text]
    if usable := [f"`{choice}`" for choice in doc.choices if choice not in doc.later]:
        parts.append(f"Choices: {', '.join(usable)}.")
    if doc.unit or key.type in {int, float}:
        parts.append(_range(key))
    if doc.only_default:
        parts.append("*Not available in this version.*")
    if doc.later:
        parts.append("*Not available in this version: " + ", ".join(f"`{value}`" for value in doc.later) + ".*")
    return " ".join(part for part in parts if part)


def _comment(key: Key) -> str:
    """Return what fits beside a key in the example; limits stand in the tables."""
    return key.doc.text + (" (not available in this version)" if key.doc.only_default else "")


def _range(key: Key) -> str:
    """Say the limits that a person could run into."""
    doc = key.doc
    if doc.high != type(doc)("").high:
        return f"From {_scalar(doc.low, key)} to {_scalar(doc.high, key)}."
    return f"At least {_scalar(doc.low, key)}." if doc.low else ""


def written(key: Key) -> str:
    """Return a key's default as one would write it in YAML."""
    if key.shape == "map":
        return "{}"
    if key.shape == "list":
        return "[" + ", ".join(_scalar(item, key) for item in key.default) + "]"
    return _scalar(key.default, key)


def _scalar(value: Any, key: Key) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value if value.isascii() and value.replace("-", "a").isalnum() and value != "off" else json.dumps(value)
    if key.doc.unit == "seconds":
        return _with_unit(value, SECONDS) if value >= 1 or not value else f"{value * 1000:g}ms"
    return _with_unit(value, BYTES) if key.doc.unit == "bytes" else f"{value:g}"


def _with_unit(value: float, units: dict[str, Any]) -> str:
    """Write a number in the largest unit that leaves it whole."""
    for unit, size in sorted(units.items(), key=lambda item: -item[1]):
        if value and value % size == 0:
            return f"{value / size:.0f}{unit}"
    return f"{value:.0f}"


def _other_variables() -> Iterator[str]:
    yield "## Other environment variables\n\n| variable | meaning |\n| --- | --- |"
    for name, text in {**OTHER_VARIABLES, **STANDARD}.items():
        yield f"| `{name}` | {text} |"
    yield f"| `{TEST_PREFIX}…` | Left to tests; never read by the sidecar. |\n"


def _example() -> Iterator[str]:
    yield "## Everything, with its defaults\n\n```yaml"
    yield from example().splitlines()
    yield "```"


def example() -> str:
    """Return a whole configuration file: every key with its default, and one upstream."""
    return "\n".join(_example_lines(schema(), 0)) + "\n"


def _example_lines(section: Section, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, part in section.parts.items():
        if isinstance(part, Key):
            value = _EXAMPLES.get(name) if part.default is REQUIRED or part.doc.form == "url" else written(part)
            yield f"{f'{indent}{name}: {value}':<46} # {_comment(part)}"
        elif part.many:
            yield f"{indent}{name}: # {part.text}"
            first, *rest = _example_lines(part, depth + 2)
            yield f"{indent}  - {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}{name}: # {part.text}"
            yield from _example_lines(part, depth + 1)


_EXAMPLES = {"name": "weather", "url": "http://weather.tools.svc:8080/mcp"}

if __name__ == "__main__":
    write(Path(sys.argv[1]))
