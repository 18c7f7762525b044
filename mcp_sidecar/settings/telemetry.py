"""What is sent to collectors, and how. Knows no exporter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated

from mcp_sidecar.documented import Doc, Seconds

SIGNALS = ("traces", "metrics", "logs")
_COMMON = ("protocol", "headers", "timeout", "compression", "certificate", "client_certificate", "client_key")


@dataclass(frozen=True, slots=True)
class SignalSettings:
    """Where one signal goes, and how, where that differs from the others; what is left out is as for all of them."""

    endpoint: Annotated[str, Doc("Its own collector; over HTTP the whole URL.", form="collector")] = ""
    protocol: Annotated[
        str, Doc("As `telemetry.protocol`; empty is the same.", choices=("", "auto", "grpc", "http/protobuf"))
    ] = ""
    headers: Annotated[Mapping[str, str], Doc("Sent in place of the common ones.")] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )
    timeout: Annotated[float, Seconds("Longest an export may take; `0` is the common one.", high=60)] = 0.0
    compression: Annotated[
        str, Doc("How what is sent is compressed; empty is as the common one.", choices=("", "none", "gzip"))
    ] = ""
    certificate: Annotated[str, Doc("File with the certificates to trust its collector by.", form="file")] = ""
    client_certificate: Annotated[str, Doc("File with the sidecar's own certificate for it.", form="file")] = ""
    client_key: Annotated[str, Doc("File with the key of that certificate.", form="file")] = ""


@dataclass(frozen=True, slots=True)
class QueuedSettings(SignalSettings):
    """Where one signal goes, and how, where that differs from the others, and how much of it waits meanwhile."""

    queue: Annotated[int, Doc("Spans or records that may wait; the newest are dropped then.", low=1, high=100_000)] = (
        2048
    )
    batch: Annotated[int, Doc("Most spans or records sent at once.", low=1, high=100_000)] = 512
    delay: Annotated[float, Seconds("Longest that one waits for others to be sent with.", low=0.001, high=3600)] = 5.0


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Traces, metrics and logs sent to an OpenTelemetry collector; the usual `OTEL_*` variables set these keys too."""

    enabled: Annotated[bool, Doc("Send anything at all; `OTEL_SDK_DISABLED=true` is false here.")] = True
    otlp_endpoint: Annotated[
        str,
        Doc("Collector to send to, such as `http://collector:4317`; empty sends nothing.", form="collector"),
    ] = ""
    protocol: Annotated[
        str,
        Doc(
            "`auto` is HTTP for port 4318 and for URLs with a path, gRPC else.",
            choices=("auto", "grpc", "http/protobuf"),
        ),
    ] = "auto"
    traces: Annotated[bool, Doc("Send spans.")] = True
    metrics: Annotated[bool, Doc("Send metrics; the Prometheus page is there in any case.")] = True
    logs: Annotated[bool, Doc("Send a log record for each call too.")] = False
    sample: Annotated[float, Doc("Share of calls that are traced, where the caller has not decided that.", high=1)] = (
        0.05
    )
    baggage: Annotated[
        tuple[str, ...],
        Doc(
            "Names of W3C baggage members that go on from callers to MCP servers, as header, metadata and in `_meta`,"
            " with or without a collector; none go on that are not named.",
            form="baggage",
        ),
    ] = ()
    interval: Annotated[float, Seconds("Between two exports of metrics.", low=0.01)] = 15.0
    temporality: Annotated[
        str,
        Doc(
            "Whether counters and histograms say what happened since the start, or since the last export (`delta`; "
            "`lowmemory`: not those that are read from elsewhere).",
            choices=("cumulative", "delta", "lowmemory"),
        ),
    ] = "cumulative"
    timeout: Annotated[float, Seconds("Longest an export may take.", low=0.01, high=60)] = 3.0
    compression: Annotated[str, Doc("How what is sent is compressed.", choices=("", "gzip"))] = ""
    headers: Annotated[
        Mapping[str, str], Doc("Sent with each export, such as an API key; in a variable, `name=value,name=value`.")
    ] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    insecure: Annotated[bool, Doc("No TLS to an endpoint that names neither `http://` nor `https://`.")] = False
    certificate: Annotated[
        str, Doc("File with the certificates to trust a collector by; the system's when empty.", form="file")
    ] = ""
    client_certificate: Annotated[str, Doc("File with the sidecar's own certificate for collectors.", form="file")] = ""
    client_key: Annotated[str, Doc("File with the key of that certificate.", form="file")] = ""
    service: Annotated[str, Doc("What the sidecar is called there (`service.name`).")] = "mcp-sidecar"
    resource: Annotated[
        Mapping[str, str],
        Doc("More about this process, as resource attributes; what the pod says of itself is added."),
    ] = field(default_factory=lambda: MappingProxyType({}))

    traces_to: QueuedSettings = QueuedSettings()  # frozen
    metrics_to: SignalSettings = SignalSettings()
    logs_to: QueuedSettings = QueuedSettings()

    @property
    def endpoints(self) -> Mapping[str, str]:
        """Where each signal that is wanted goes."""
        found = {signal: self.of(signal).endpoint for signal in SIGNALS if getattr(self, signal) and self.enabled}
        return {signal: endpoint for signal, endpoint in found.items() if endpoint}

    def of(self, signal: str) -> SignalSettings:
        """How a signal is sent: its own settings, filled up with the common ones."""
        own: SignalSettings = getattr(self, f"{signal}_to")
        common = {name: getattr(own, name) or getattr(self, name) for name in _COMMON}
        return replace(own, endpoint=own.endpoint or self.otlp_endpoint, **common)
