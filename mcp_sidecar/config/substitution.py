"""`${VAR}` in the values of a tree, as OpenTelemetry's configuration data model has it; knows no key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from mcp_sidecar.config.problems import Place
from mcp_sidecar.config.tree import Node, kind_of

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_MEANING = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([\t\x20-\x7c~]*))?")
Report = Callable[[str, Place], None]


class Substitution:
    """Puts variables into trees. `used` has the names of those that were asked for.

    Keys are never touched, and what a variable says is neither structure nor read again. What does not look like a
    reference is reported.
    """

    def __init__(self, environ: Mapping[str, str], report: Report) -> None:
        self.used: set[str] = set()
        self._environ = environ
        self._report = report

    def into(self, node: Node) -> Node:
        """The same tree with its variables written out; plain values are then what they look like."""
        if node.kind == "list":
            return replace(node, items=[self.into(item) for item in node.items])
        if node.kind == "map":
            return replace(node, pairs=[(key, self.into(value)) for key, value in node.pairs])
        if "$" not in node.text:
            return node
        # A pair of `$` is one, and ends whatever stands before it: only what lies between such pairs is looked at.
        text = "$".join(self._written_out(part, node.place) for part in node.text.split("$$"))
        return replace(node, kind=kind_of(text) if node.plain else "text", text=text)

    def _written_out(self, text: str, place: Place) -> str:
        return _REFERENCE.sub(lambda found: self._value(found[1], place), text)

    def _value(self, reference: str, place: Place) -> str:
        meaning = _MEANING.fullmatch(reference)
        if meaning is None:
            self._report("expected ${VARIABLE}, ${env:VARIABLE} or ${VARIABLE:-default}; $$ is a dollar sign", place)
            return ""
        name, default = meaning.groups()
        self.used.add(name)
        return self._environ.get(name) or default or ""
