"""Which protocol, host, port and path an endpoint means."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sidecar.settings import QueuedSettings, TelemetrySettings
from mcp_sidecar.telemetry.target import Target, target


@pytest.mark.covers("B-306")
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"otlp_endpoint": "http://c:4317"}, Target("grpc", False, "c", 4317)),
        ({"otlp_endpoint": "https://c"}, Target("grpc", True, "c", 4317)),
        ({"otlp_endpoint": "c:4317"}, Target("grpc", True, "c", 4317)),
        ({"otlp_endpoint": "c:4317", "insecure": True}, Target("grpc", False, "c", 4317)),
        ({"otlp_endpoint": "http://c:4318"}, Target("http", False, "c", 4318, "/v1/traces")),
        ({"otlp_endpoint": "http://c:4318", "protocol": "grpc"}, Target("grpc", False, "c", 4318)),
        ({"otlp_endpoint": "https://c/otlp/"}, Target("http", True, "c", 443, "/otlp/v1/traces")),
        ({"otlp_endpoint": "http://c", "protocol": "http/protobuf"}, Target("http", False, "c", 80, "/v1/traces")),
        ({"traces_to": QueuedSettings(endpoint="http://t:4318/own?x=y")}, Target("http", False, "t", 4318, "/own?x=y")),
        (
            {"otlp_endpoint": "http://c:4318", "traces_to": QueuedSettings(endpoint="http://t:4318")},
            Target("http", False, "t", 4318, "/"),
        ),
        (
            {"otlp_endpoint": "http://c:4317", "traces_to": QueuedSettings(protocol="http/protobuf")},
            Target("http", False, "c", 4317, "/v1/traces"),
        ),
    ],
)
def test_an_endpoint_is_read_as_the_exporters_of_opentelemetry_read_it(settings: dict[str, Any], expected: Target):
    assert target(TelemetrySettings(**settings), "traces") == expected


def test_an_ipv6_host_keeps_its_brackets_in_the_address():
    assert target(TelemetrySettings(otlp_endpoint="http://[::1]:4317"), "metrics").address == "[::1]:4317"
