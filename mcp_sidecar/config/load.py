"""Lays flags over environment over file over defaults; knows the order, not what any key means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mcp_sidecar.config import rules
from mcp_sidecar.config.files import read_file
from mcp_sidecar.config.layers import CONFIG, POD_GRACE, ZONE, environment_layer, flag_layer
from mcp_sidecar.config.otel import otel_layer, pod_attributes
from mcp_sidecar.config.problems import BadConfiguration, Place
from mcp_sidecar.config.reading import Reading, Values
from mcp_sidecar.config.schema import Section, schema
from mcp_sidecar.config.tree import Node
from mcp_sidecar.settings import Settings

_INHERITED = frozenset(("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings that are good, and what to tell the user all the same.

    `pod_grace` is the pod's termination grace period in seconds, None when nobody said.
    """

    settings: Settings
    warnings: tuple[str, ...] = ()
    pod_grace: float | None = None


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str | Sequence[str] | None] | None = None,
) -> Loaded:
    """Return the settings; raises BadConfiguration with every problem of every layer.

    `file` may be left out, then `environ` may name it. `flags` has the keys `upstream` (a list of NAME=URL), `grpc`,
    `http`, `health`, `metrics`, `log_level` and `log_format`; None is a flag that was not given.
    """
    environ = environ or {}
    reading = Reading()
    values = reading.read(otel_layer(environ, reading))
    _lay_over(values, _file_values(file or (Path(environ[CONFIG]) if environ.get(CONFIG) else None), reading))
    _lay_over(values, reading.read(environment_layer(environ, reading)))
    flagged = reading.read(flag_layer(flags or {}, reading), len(values.get("upstreams", ())))
    flagged["upstreams"] = values.get("upstreams", []) + flagged.get("upstreams", [])
    _lay_over(values, flagged)
    pod_grace = _pod_grace(environ.get(POD_GRACE, ""), reading)
    _inherit(values, environ)
    _describe_pod(values, environ)
    _locate(values, environ)
    settings = _construct(schema(), values)
    _apply_rules(settings, reading)
    if reading.problems:
        raise BadConfiguration(reading.problems)
    warnings = rules.warnings(settings)
    if settings.telemetry.endpoints:
        warnings = chain(warnings, reading.warnings)
    return Loaded(settings, tuple(warnings), pod_grace)


def _inherit(values: Values, environ: Mapping[str, str]) -> None:
    """Give programs what they need of our own environment, and nothing else: there are secrets in it."""
    ours = {name: value for name, value in environ.items() if name in _INHERITED or name.startswith("LC_")}
    for upstream in values.get("upstreams", []):
        if upstream.get("command"):
            upstream["env"] = MappingProxyType(ours | dict(upstream.get("env", {})))


def _describe_pod(values: Values, environ: Mapping[str, str]) -> None:
    """Add what the pod's environment says of it to what was written, which wins."""
    telemetry = values.setdefault("telemetry", {})
    telemetry["resource"] = MappingProxyType(pod_attributes(environ) | dict(telemetry.get("resource", {})))


def _locate(values: Values, environ: Mapping[str, str]) -> None:
    """Take what says where in which cluster we are from where the cluster and its tools write it."""
    discovery = values.setdefault("discovery", {})
    discovery.setdefault("zone", environ.get(ZONE, ""))
    if not environ.get("KUBERNETES_SERVICE_HOST"):
        discovery.setdefault("kubeconfig", environ.get("KUBECONFIG", ""))


def _file_values(file: Path | None, reading: Reading) -> Values:
    """Return what the file says; one that cannot be read at all is a problem like any other."""
    if file is None:
        return {}
    try:
        root = read_file(file)
    except BadConfiguration as error:
        reading.problems.extend(error.problems)
        return {}
    return reading.read(root or Node("null", Place(str(file))))


def _lay_over(under: Values, over: Values) -> None:
    """Put one layer on another: sections key by key, everything else whole."""
    for name, value in over.items():
        if isinstance(value, dict):
            _lay_over(under.setdefault(name, {}), value)
        else:
            under[name] = value


def _pod_grace(text: str, reading: Reading) -> float | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", text):
        reading.report("", "expected a number of seconds", Place(f"environment {POD_GRACE}"))
        return None
    return float(text)


def _construct(section: Section, values: Values) -> Any:
    """Make the dataclass; an empty text stands for a required key that was wrong, until the problems are raised."""
    made: Values = {"name": ""} if "name" in section.parts else {}
    for name, value in values.items():
        part = section.parts[name]
        if not isinstance(part, Section):
            made[name] = value
        elif part.many:
            made[name] = tuple(_construct(part, item) for item in value)
        else:
            made[name] = _construct(part, value)
    return section.cls(**made)


def _apply_rules(settings: Settings, reading: Reading) -> None:
    """Report what does not go together, except about keys that are already known to be wrong."""
    wrong = [problem.path for problem in reading.problems]
    for path, message in rules.faults(settings, reading.places):
        section, _, key = path.rpartition(".")
        # An upstream whose command was refused has no url because it needs none.
        known = {path, f"{section}.command"} if key == "url" else {path}
        if known.isdisjoint(wrong) and not any(other.startswith(f"{path}[") for other in wrong):
            places = (reading.places.get(place) for place in (path, f"{section}.mode", section))
            reading.report(path, message, next(filter(None, places), Place("")))
