"""OpenTelemetry's own environment variables as a layer below the file; knows their names, not what is exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mcp_sidecar.config.otel_variables import (
    BOUNDS,
    ELSEWHERE,
    FILE,
    OTLP,
    RATIO,
    SAMPLER,
    SECURITY,
    VARIABLES,
    WHOLE,
    milliseconds,
    ratio,
)
from mcp_sidecar.config.problems import Place, nearest, quoted
from mcp_sidecar.config.reading import Reading
from mcp_sidecar.config.tree import Node, put
from mcp_sidecar.settings import TelemetrySettings

_PODS = {
    "k8s.pod.name": "POD_NAME",
    "k8s.pod.uid": "POD_UID",
    "k8s.namespace.name": "NAMESPACE",
    "k8s.node.name": "NODE_NAME",
    "k8s.container.name": "CONTAINER_NAME",
}
"""What a pod says of itself in the variables that the Kubernetes manual and the injector use (the downward API)."""


def otel_layer(environ: Mapping[str, str], reading: Reading) -> Node:
    """Return what the variables say, or the file that one of them names, as a tree like the file's.

    Empty variables count as not set.
    """
    if file := environ.get(FILE):
        from mcp_sidecar.config.declarative import declared  # few have one

        return declared(Path(file), environ, reading)
    said = {name: text.strip() for name, text in environ.items() if name.startswith("OTEL_") and text.strip()}
    found = _Found(said, reading)
    for name, variable in VARIABLES.items():
        found.take(name, variable.key, variable.written)
    found.take(SAMPLER, "sample", lambda text: ratio(text, said.get(RATIO, "")))
    for name, signal in BOUNDS.items():
        found.bound(name, signal)
    for name, signal in SECURITY.items():
        found.secure(name, signal)
    reading.warnings.extend(_overlooked(said))
    root = Node("map", Place(""))
    for key, (text, place) in found.values.items():
        put(root, ("telemetry", *key.split(".")), Node("any", place, text))
    return root


class _Found:
    """What variables say, by the key it is for. A text that is no good is reported."""

    def __init__(self, said: Mapping[str, str], reading: Reading) -> None:
        self.values: dict[str, tuple[str, Place]] = {}
        self._said = said
        self._reading = reading

    def take(self, name: str, key: str, written: Callable[[str], str]) -> None:
        """The text of a variable, as it is written at its key."""
        if name not in self._said:
            return
        place = Place(f"environment {name}")
        try:
            self.values[key] = (written(self._said[name]), place)
        except ValueError as error:
            self._reading.report(f"telemetry.{key}", str(error), place)

    def bound(self, name: str, signal: str) -> None:
        """A second limit, which `0` leaves open."""
        key = f"{signal}_to.timeout"
        text, _ = self.values.get(key) or self.values.get("timeout") or ("", None)
        usual = int(text.removesuffix("ms") or TelemetrySettings().timeout * 1000)
        bound = self._said.get(name, "0")
        if bound != "0" and not (WHOLE.fullmatch(bound) and int(bound) >= usual):
            self.take(name, key, milliseconds)

    def secure(self, name: str, signal: str) -> None:
        """It is only for endpoints of gRPC that name no scheme."""
        endpoint, _ = self.values.get(f"{signal}_to.endpoint") or self.values.get("otlp_endpoint") or ("", None)
        if endpoint and "://" not in endpoint:
            self.take(name, f"{signal}_to.endpoint", lambda text: f"{_scheme(text)}://{endpoint}")


def _scheme(insecure: str) -> str:
    if insecure.lower() not in {"true", "false"}:
        raise ValueError(f"expected true or false, got {quoted(insecure)}")
    return "http" if insecure.lower() == "true" else "https"


def pod_attributes(environ: Mapping[str, str]) -> dict[str, str]:
    """What the downward API says of this pod, under the names that collectors look for."""
    return {name: environ[variable] for name, variable in _PODS.items() if environ.get(variable)}


def _overlooked(said: Mapping[str, str]) -> Iterator[str]:
    """Variables that mean something to OpenTelemetry's SDKs and nothing here, as warnings."""
    known = {*VARIABLES, *BOUNDS, *SECURITY}
    for name, text in sorted(said.items()):
        honoured, instead = ELSEWHERE.get(name, ((), ""))
        if instead and text.lower() not in honoured:
            yield f"{name} is not honoured; {instead}"
        elif name.startswith(OTLP) and name not in known and not instead:
            meant = nearest(name, known)
            yield f"{name} is not honoured" + (f"; {meant} is" if meant else "")
    if said.get(SAMPLER, "parentbased_").removeprefix("parentbased_") == said.get(SAMPLER):
        yield f"{SAMPLER}={said[SAMPLER]} counts where a caller has not decided, as with parentbased_{said[SAMPLER]}"
    if RATIO in said and SAMPLER not in said:
        yield f"{RATIO} has no effect without {SAMPLER}"
