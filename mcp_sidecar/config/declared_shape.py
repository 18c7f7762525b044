"""What of OpenTelemetry's declarative configuration (file_format 1.x) is honoured, as a table. Reads no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "int", "float", "bool"]


@dataclass(frozen=True, slots=True)
class Value:
    """One value, kept under `name`. With `only`, no other is honoured, and there is nothing to keep."""

    name: str = ""
    kind: Kind = "text"
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pairs:
    """A list of items with `name` and `value`, kept under `name`; `typed` ones may say that they are text."""

    name: str
    typed: bool = False


@dataclass(frozen=True, slots=True)
class Keys:
    """A map: keys that may be in it, or just one of them, as a type and its details. `name` keeps where it was."""

    parts: Mapping[str, Shape] = field(default_factory=dict)
    one: bool = False
    needed: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """A list of at least one and at most `most` items."""

    item: Shape
    most: int = 1


Shape = Value | Pairs | Keys | Items
_NOTHING = Keys()
_ON, _OFF = Keys({"always_on": _NOTHING}, one=True), Keys({"always_off": _NOTHING}, one=True)
_LIMITS = {"attribute_value_length_limit": Value(only=("",)), "attribute_count_limit": Value(only=("128",))}


def _exporter(signal: str, more: Mapping[str, Shape]) -> Keys:
    tls: dict[str, Shape] = {
        "ca_file": Value(f"{signal}.certificate"),
        "key_file": Value(f"{signal}.client_key"),
        "cert_file": Value(f"{signal}.client_certificate"),
    }
    common: dict[str, Shape] = {
        "endpoint": Value(f"{signal}.endpoint"),
        "headers": Pairs(f"{signal}.headers"),
        "headers_list": Value(f"{signal}.headers_list"),
        "compression": Value(f"{signal}.compression"),
        "timeout": Value(f"{signal}.timeout", "int"),
        **more,
    }
    http: dict[str, Shape] = {**common, "tls": Keys(tls), "encoding": Value(only=("protobuf",))}
    grpc: dict[str, Shape] = {**common, "tls": Keys({**tls, "insecure": Value(f"{signal}.insecure", "bool")})}
    return Keys(
        {"otlp_grpc": Keys(grpc, name=f"{signal}.grpc"), "otlp_http": Keys(http, name=f"{signal}.http")}, one=True
    )


def _batch(signal: str) -> Keys:
    parts: dict[str, Shape] = {
        "schedule_delay": Value(f"{signal}.delay", "int"),
        "export_timeout": Value(f"{signal}.export_timeout", "int"),
        "max_queue_size": Value(f"{signal}.queue", "int"),
        "max_export_batch_size": Value(f"{signal}.batch", "int"),
        "exporter": _exporter(signal, {}),
    }
    return Keys({"batch": Keys(parts, needed="exporter")}, one=True)


_PERIODIC = Keys(
    {
        "interval": Value("interval", "int"),
        "timeout": Value("metrics.export_timeout", "int"),
        "exporter": _exporter(
            "metrics",
            {
                "temporality_preference": Value("temporality"),
                "default_histogram_aggregation": Value(only=("explicit_bucket_histogram",)),
            },
        ),
    },
    needed="exporter",
)
_ROOT = Keys(
    {
        "always_on": _NOTHING,
        "always_off": Keys(name="always_off"),
        "trace_id_ratio_based": Keys({"ratio": Value("ratio", "float")}),
    },
    one=True,
)
_SAMPLER = Keys(
    {
        "parent_based": Keys(
            {
                "root": _ROOT,
                # A caller's decision counts: that is what the trace of a sidecar is for.
                "remote_parent_sampled": _ON,
                "remote_parent_not_sampled": _OFF,
                "local_parent_sampled": _ON,
                "local_parent_not_sampled": _OFF,
            }
        )
    },
    one=True,
)
_SPAN_LIMITS = {
    name: Value(only=("128",))
    for name in ("event_count_limit", "link_count_limit", "event_attribute_count_limit", "link_attribute_count_limit")
}
SHAPE = Keys(
    {
        "file_format": Value(),
        "disabled": Value("disabled", "bool"),
        "log_level": Value(only=("info",)),
        "attribute_limits": Keys(_LIMITS),
        "propagator": Keys(
            {
                "composite": Items(Keys({"tracecontext": _NOTHING, "baggage": _NOTHING}, one=True), most=2),
                "composite_list": Value(only=("tracecontext", "tracecontext,baggage", "baggage,tracecontext")),
            }
        ),
        "resource": Keys({"attributes": Pairs("attributes", typed=True), "attributes_list": Value("attributes_list")}),
        "tracer_provider": Keys(
            {
                "processors": Items(_batch("traces")),
                "sampler": _SAMPLER,
                "limits": Keys({**_LIMITS, **_SPAN_LIMITS}),
                "id_generator": Keys({"random": _NOTHING}, one=True),
            },
            needed="processors",
        ),
        "meter_provider": Keys(
            {
                "readers": Items(Keys({"periodic": _PERIODIC}, one=True)),
                "exemplar_filter": Value(only=("trace_based",)),
            },
            needed="readers",
        ),
        "logger_provider": Keys(
            {"processors": Items(_batch("logs")), "limits": Keys(_LIMITS)},
            needed="processors",
        ),
    },
    needed="file_format",
)


def leaves(shape: Shape = SHAPE, path: str = "") -> Iterator[tuple[str, Value | Pairs | Keys]]:
    """Yield the path of each value, and of each type that has no details."""
    if isinstance(shape, Keys) and shape.parts:
        for name, part in shape.parts.items():
            yield from leaves(part, f"{path}.{name}" if path else name)
    elif isinstance(shape, Items):
        yield from leaves(shape.item, f"{path}[]")
    else:
        yield path, shape
