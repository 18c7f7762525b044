"""What is sent to collectors, and how. Knows no exporter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated

from mcp_sidecar.documented import Doc, Seconds


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
    traces_endpoint: Annotated[
        str, Doc("Collector for traces, where it is another one; over HTTP the whole URL.", form="collector")
    ] = ""
    metrics_endpoint: Annotated[
        str, Doc("Collector for metrics, where it is another one; over HTTP the whole URL.", form="collector")
    ] = ""
    logs_endpoint: Annotated[
        str, Doc("Collector for logs, where it is another one; over HTTP the whole URL.", form="collector")
    ] = ""
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

    @property
    def endpoints(self) -> Mapping[str, str]:
        """Where each signal that is wanted goes."""
        ways = {
            "traces": (self.traces, self.traces_endpoint),
            "metrics": (self.metrics, self.metrics_endpoint),
            "logs": (self.logs, self.logs_endpoint),
        }
        found = {signal: own or self.otlp_endpoint for signal, (wanted, own) in ways.items() if wanted and self.enabled}
        return {signal: endpoint for signal, endpoint in found.items() if endpoint}
