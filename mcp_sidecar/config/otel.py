"""OpenTelemetry's own environment variables as a layer below the file; knows their names, not what is exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mcp_sidecar.config.problems import Place, quoted
from mcp_sidecar.config.reading import Reading
from mcp_sidecar.config.tree import Node

_OTLP = "OTEL_EXPORTER_OTLP_"
_PODS = {
    "k8s.pod.name": "POD_NAME",
    "k8s.pod.uid": "POD_UID",
    "k8s.namespace.name": "NAMESPACE",
    "k8s.node.name": "NODE_NAME",
    "k8s.container.name": "CONTAINER_NAME",
}
"""What a pod says of itself in the variables that the Kubernetes manual and the injector use (the downward API)."""
_RATIOS = {"always_on": "1", "always_off": "0"}


def _same(text: str) -> str:
    return text


def _milliseconds(text: str) -> str:
    return f"{text}ms"


def _negated(text: str) -> str:
    return {"true": "false", "false": "true"}.get(text.lower(), text)


def _compression(text: str) -> str:
    return "" if text == "none" else text


def _exporter(text: str) -> str:
    """`none` is for nobody, and so is `prometheus` for OTLP: its page is there anyway."""
    if text in {"none", "prometheus"}:
        return "false"
    if text == "otlp":
        return "true"
    raise ValueError(f"{quoted(text)} is not a choice; choices: otlp, none")


VARIABLES: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "OTEL_SDK_DISABLED": ("enabled", _negated),
    "OTEL_SERVICE_NAME": ("service", _same),
    "OTEL_RESOURCE_ATTRIBUTES": ("resource", _same),
    "OTEL_TRACES_EXPORTER": ("traces", _exporter),
    "OTEL_METRICS_EXPORTER": ("metrics", _exporter),
    "OTEL_LOGS_EXPORTER": ("logs", _exporter),
    "OTEL_METRIC_EXPORT_INTERVAL": ("interval", _milliseconds),
    _OTLP + "ENDPOINT": ("otlp_endpoint", _same),
    _OTLP + "TRACES_ENDPOINT": ("traces_endpoint", _same),
    _OTLP + "METRICS_ENDPOINT": ("metrics_endpoint", _same),
    _OTLP + "LOGS_ENDPOINT": ("logs_endpoint", _same),
    _OTLP + "PROTOCOL": ("protocol", _same),
    _OTLP + "HEADERS": ("headers", _same),
    _OTLP + "CERTIFICATE": ("certificate", _same),
    _OTLP + "CLIENT_CERTIFICATE": ("client_certificate", _same),
    _OTLP + "CLIENT_KEY": ("client_key", _same),
    _OTLP + "INSECURE": ("insecure", _same),
    _OTLP + "TIMEOUT": ("timeout", _milliseconds),
    _OTLP + "COMPRESSION": ("compression", _compression),
}
"""Which key of `telemetry` each variable sets, and how its text is written there."""
SAMPLER = "OTEL_TRACES_SAMPLER"
RATIO = "OTEL_TRACES_SAMPLER_ARG"
FILE = "OTEL_CONFIG_FILE"


def otel_layer(environ: Mapping[str, str], reading: Reading) -> Node:
    """Return what the variables say as a tree like the file's; empty ones count as not set."""
    nowhere = Place("")
    telemetry = Node("map", nowhere)
    for key, text, place in _settings(environ, reading):
        telemetry.pairs.append((Node("text", place, key), Node("any", place, text)))
    if environ.get(FILE) and environ.get("OTEL_SDK_DISABLED", "").lower() != "true":
        message = "declarative configuration is not read; write a telemetry section or set the OTEL_* variables"
        reading.report("", message, Place(f"environment {FILE}"))
    return Node("map", nowhere, pairs=[(Node("text", nowhere, "telemetry"), telemetry)])


def _settings(environ: Mapping[str, str], reading: Reading) -> Iterator[tuple[str, str, Place]]:
    for name, (key, written) in VARIABLES.items():
        place = Place(f"environment {name}")
        try:
            if text := environ.get(name, "").strip():
                yield key, written(text), place
        except ValueError as error:
            reading.report(f"telemetry.{key}", str(error), place)
    if text := environ.get(SAMPLER, "").strip():
        place = Place(f"environment {SAMPLER}")
        try:
            yield "sample", _ratio(text, environ.get(RATIO, "").strip()), place
        except ValueError as error:
            reading.report("telemetry.sample", str(error), place)


def _ratio(sampler: str, argument: str) -> str:
    """The sidecar's sampler is always parent-based, so both spellings of a name mean the same."""
    name = sampler.removeprefix("parentbased_")
    if name == "traceidratio":
        return argument or "1"
    if name in _RATIOS:
        return _RATIOS[name]
    known = ", ".join((*_RATIOS, "traceidratio"))
    raise ValueError(f"{quoted(sampler)} is not a choice; choices: {known}, each also as parentbased_…")


def pod_attributes(environ: Mapping[str, str]) -> dict[str, str]:
    """What the downward API says of this pod, under the names that collectors look for."""
    return {name: environ[variable] for name, variable in _PODS.items() if environ.get(variable)}


def overlooked(environ: Mapping[str, str]) -> Iterator[str]:
    """Variables that mean something to OpenTelemetry's SDKs and nothing here, as warnings."""
    for name in sorted(environ):
        if name.startswith(_OTLP) and name not in VARIABLES and environ[name]:
            general = _general(name)
            hint = f"; {general} is, for all signals" if general in VARIABLES else ""
            yield f"{name} is not honoured{hint}"


def _general(name: str) -> str:
    rest = name.removeprefix(_OTLP)
    return _OTLP + rest.removeprefix("TRACES_").removeprefix("METRICS_").removeprefix("LOGS_")
