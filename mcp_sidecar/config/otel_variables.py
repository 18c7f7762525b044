"""Which of OpenTelemetry's own environment variables set which key, and which are not for us. Reads no environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mcp_sidecar.config.problems import quoted
from mcp_sidecar.settings import SIGNALS

WHOLE = re.compile("[0-9]{1,9}")
OTLP = "OTEL_EXPORTER_OTLP_"
_RATIOS = {"always_on": "1", "always_off": "0"}


def _same(text: str) -> str:
    return text


def _lower(text: str) -> str:
    return text.lower()


def milliseconds(text: str) -> str:
    """An export without end is what `0` would be for a timeout, and no export at all for an interval."""
    if not WHOLE.fullmatch(text) or not int(text):
        raise ValueError(f"expected a number of milliseconds above 0, got {quoted(text)}")
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


@dataclass(frozen=True, slots=True)
class Variable:
    """The key of `telemetry` that a variable sets, and how its text is written there."""

    key: str
    written: Callable[[str], str] = _same


_EACH = ("endpoint", "protocol", "headers", "compression", "certificate", "client_certificate", "client_key")


def _signal_variables() -> Iterator[tuple[str, Variable]]:
    for signal in SIGNALS:
        name, to = f"{OTLP}{signal.upper()}_", f"{signal}_to."
        for key in _EACH:
            yield name + key.upper(), Variable(to + key)
        yield name + "TIMEOUT", Variable(to + "timeout", milliseconds)
    for processor, signal in (("OTEL_BSP_", "traces"), ("OTEL_BLRP_", "logs")):
        yield processor + "SCHEDULE_DELAY", Variable(f"{signal}_to.delay", milliseconds)
        yield processor + "MAX_QUEUE_SIZE", Variable(f"{signal}_to.queue")
        yield processor + "MAX_EXPORT_BATCH_SIZE", Variable(f"{signal}_to.batch")


VARIABLES: Mapping[str, Variable] = {
    "OTEL_SDK_DISABLED": Variable("enabled", _negated),
    "OTEL_SERVICE_NAME": Variable("service"),
    "OTEL_RESOURCE_ATTRIBUTES": Variable("resource"),
    "OTEL_TRACES_EXPORTER": Variable("traces", _exporter),
    "OTEL_METRICS_EXPORTER": Variable("metrics", _exporter),
    "OTEL_LOGS_EXPORTER": Variable("logs", _exporter),
    "OTEL_METRIC_EXPORT_INTERVAL": Variable("interval", milliseconds),
    OTLP + "ENDPOINT": Variable("otlp_endpoint"),
    OTLP + "PROTOCOL": Variable("protocol"),
    OTLP + "HEADERS": Variable("headers"),
    OTLP + "CERTIFICATE": Variable("certificate"),
    OTLP + "CLIENT_CERTIFICATE": Variable("client_certificate"),
    OTLP + "CLIENT_KEY": Variable("client_key"),
    OTLP + "INSECURE": Variable("insecure"),
    OTLP + "TIMEOUT": Variable("timeout", milliseconds),
    OTLP + "COMPRESSION": Variable("compression", _compression),
    OTLP + "METRICS_TEMPORALITY_PREFERENCE": Variable("temporality", _lower),
    **dict(_signal_variables()),
}
SAMPLER = "OTEL_TRACES_SAMPLER"
RATIO = "OTEL_TRACES_SAMPLER_ARG"
FILE = "OTEL_CONFIG_FILE"
BOUNDS: Mapping[str, str] = {
    "OTEL_BSP_EXPORT_TIMEOUT": "traces",
    "OTEL_METRIC_EXPORT_TIMEOUT": "metrics",
    "OTEL_BLRP_EXPORT_TIMEOUT": "logs",
}
"""A second limit on the exports of a signal: the lower one counts."""
SECURITY: Mapping[str, str] = {f"{OTLP}{signal.upper()}_INSECURE": signal for signal in SIGNALS}
"""Says what an endpoint of a signal means that names no scheme."""


_LIMITED, _PARTS = ("", "SPAN_", "LOGRECORD_"), ("EVENT_", "LINK_")
ELSEWHERE: Mapping[str, tuple[tuple[str, ...], str]] = {
    "OTEL_PROPAGATORS": (
        ("tracecontext", "tracecontext,baggage", "baggage,tracecontext"),
        "W3C trace context is passed on, with the caller's baggage",
    ),
    "OTEL_LOG_LEVEL": (("info",), "log.level is"),
    "OTEL_METRICS_EXEMPLAR_FILTER": (("trace_based",), "exemplars are traced calls"),
    OTLP + "METRICS_DEFAULT_HISTOGRAM_AGGREGATION": (("explicit_bucket_histogram",), "buckets are explicit"),
    **{f"OTEL_{of}ATTRIBUTE_VALUE_LENGTH_LIMIT": ((), "text is cut after 1024 characters") for of in _LIMITED},
    **{f"OTEL_{of}ATTRIBUTE_COUNT_LIMIT": (("128",), "there are never more than 30") for of in (*_LIMITED, *_PARTS)},
    "OTEL_SPAN_EVENT_COUNT_LIMIT": (("128",), "a span has none"),
    "OTEL_SPAN_LINK_COUNT_LIMIT": (("128",), "a span has one at most"),
    "OTEL_EXPORTER_PROMETHEUS_HOST": ((), "listen.metrics is"),
    "OTEL_EXPORTER_PROMETHEUS_PORT": ((), "listen.metrics is"),
    "OTEL_EXPERIMENTAL_CONFIG_FILE": ((), f"{FILE} is"),
}
"""What is not for us to choose: the values that say what is done anyway, and what is done."""


def ratio(sampler: str, argument: str) -> str:
    """The sidecar's sampler is always parent-based, so both spellings of a name mean the same."""
    name = sampler.removeprefix("parentbased_")
    if name == "traceidratio":
        return argument or "1"
    if name in _RATIOS:
        return _RATIOS[name]
    known = ", ".join((*_RATIOS, "traceidratio"))
    raise ValueError(f"{quoted(sampler)} is not a choice; choices: {known}, each also as parentbased_…")
