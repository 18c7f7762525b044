"""OpenTelemetry's declarative configuration (`OTEL_CONFIG_FILE`) as a layer below the file; knows no exporter.

A reading of our own of what stands in `declared_shape`, as strict as that of our own file: a type or key that is not
there is a problem, and so is a value that is not honoured (docs/decisions/0028).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mcp_sidecar.config.declared_layer import Layer
from mcp_sidecar.config.declared_shape import SHAPE
from mcp_sidecar.config.declared_values import Declared
from mcp_sidecar.config.files import read_file
from mcp_sidecar.config.otel_variables import BOUNDS, ELSEWHERE, FILE, RATIO, SAMPLER, SECURITY, VARIABLES
from mcp_sidecar.config.problems import BadConfiguration, Place, quoted
from mcp_sidecar.config.reading import Reading
from mcp_sidecar.config.substitution import Substitution
from mcp_sidecar.config.tree import Node

_NAMES = {*VARIABLES, *BOUNDS, *SECURITY, *ELSEWHERE, SAMPLER, RATIO}


def declared(file: Path, environ: Mapping[str, str], reading: Reading) -> Node:
    """Return what the file says of telemetry as a tree like that of our own file."""
    layer = Layer(reading, Place(str(file), 1))
    try:
        root = read_file(file)
    except BadConfiguration as error:
        reading.problems.extend(error.problems)
        return layer.root
    used = Substitution(environ, lambda message, place: reading.report("", message, place))
    tree = used.into(root or Node("null", layer.place))
    said = Declared(reading)
    if _is_ours(tree, layer.place, reading):
        said.read(tree, SHAPE, "")
        layer.write(said)
    ignored = sorted(name for name in _NAMES.difference(used.used) if environ.get(name))
    if ignored:
        reading.warnings.append(f"{FILE} is set, so these are ignored: {', '.join(ignored)}")
    return layer.root


def _is_ours(tree: Node, place: Place, reading: Reading) -> bool:
    """Of another major version nothing is known, so it is not worth reading on."""
    formats = [value for key, value in tree.pairs if key.text == "file_format"]
    if tree.kind == "map" and formats and not re.fullmatch(r"1\.[0-9]+", formats[0].text):
        message = (
            f"{quoted(formats[0].text)} is not a format that is known here; 1.0 and what is compatible with it are"
        )
        reading.report("file_format", message, formats[0].place)
        return False
    if tree.kind != "map":
        reading.report("", "expected a map of keys, beginning with file_format", place)
    return tree.kind == "map"
