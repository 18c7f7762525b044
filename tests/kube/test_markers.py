"""Everybody's markers on Services."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mcp_sidecar.kube.markers import Marked, Reading, Seen, dns_label, read
from mcp_sidecar.kube.objects import Port

OURS = {"mcp-sidecar.dev/server": "true"}
KAGENT = {"kagent.dev/mcp-service": "true"}


def seen(
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    ports: tuple[Port, ...] = (Port(name="http", port=8080),),
    service_ports: tuple[Port, ...] = (),
) -> Seen:
    return Seen("weather", labels or {}, annotations or {}, ports, service_ports)


def one(reading: Reading) -> Marked:
    (marked,) = reading.servers
    return marked


def kinds(number: int, name: str = "", protocol: str | None = None) -> Port:
    return Port(name=name, port=number, app_protocol=protocol)


@pytest.mark.covers("B-210")
@pytest.mark.parametrize(
    ("labels", "annotations", "protocol", "name", "transport", "path"),
    [
        (OURS, {}, None, "weather", "http", "/mcp"),
        (
            OURS,
            {"mcp-sidecar.dev/path": "/x", "mcp-sidecar.dev/transport": "sse", "mcp-sidecar.dev/name": "rain"},
            None,
            "rain",
            "sse",
            "/x",
        ),
        ({}, {}, "agentgateway.dev/mcp", "weather", "http", "/mcp"),
        ({}, {}, "agentgateway.dev/mcp-sse", "weather", "sse", "/sse"),
        ({}, {}, "kgateway.dev/mcp", "weather", "http", "/mcp"),
        ({}, {}, "kgateway.dev/mcp-sse", "weather", "sse", "/sse"),
        ({}, {}, "MCP", "weather", "http", "/mcp"),
        ({}, {"agentgateway.dev/mcp-path": "/a", "kgateway.dev/mcp-path": "/k"}, "mcp", "weather", "http", "/a"),
        ({}, {"kgateway.dev/mcp-path": "/k"}, "mcp", "weather", "http", "/k"),
        ({}, {"agentgateway.dev/mcp-target-name": "rain"}, "mcp", "rain", "http", "/mcp"),
        (KAGENT, {}, None, "weather", "http", "/mcp"),
        (
            KAGENT,
            {"kagent.dev/mcp-service-path": "/k", "kagent.dev/mcp-service-protocol": "SSE"},
            None,
            "weather",
            "sse",
            "/k",
        ),
        ({"protocol.kagenti.io/mcp": ""}, {}, None, "weather", "http", "/mcp"),
        (
            {"protocol.kagenti.io/mcp": "true", "kagenti.io/transport": "streamable_http"},
            {},
            None,
            "weather",
            "http",
            "/mcp",
        ),
        ({"kagenti.io/protocol": "mcp"}, {}, None, "weather", "http", "/mcp"),
        ({"toolhive": "true", "app": "mcpserver", "toolhive-name": "rain"}, {}, None, "rain", "http", "/mcp"),
        ({"toolhive": "true", "app": "mcpremoteproxy"}, {}, None, "weather", "http", "/mcp"),
        ({"app": "mcp-server", "mcp-server": "rain"}, {}, None, "rain", "http", "/mcp"),
        ({"kmcp.kagent.dev/mcp-server": "rain"}, {}, None, "rain", "http", "/mcp"),
    ],
)
def test_each_project_is_understood(labels, annotations, protocol, name, transport, path):
    reading = read(seen(labels, annotations, (kinds(8080, "http", protocol),)), asked=False)
    marked = one(reading)
    assert (marked.name, marked.transport, marked.path) == (name, transport, path)
    assert not reading.complaints


def test_what_carries_no_marker_is_a_server_only_when_asked_for():
    plain = seen({"app.kubernetes.io/component": "mcp-server"})
    assert not read(plain, asked=False).servers
    assert one(read(plain, asked=True)).path == "/mcp"


@pytest.mark.covers("B-211")
@pytest.mark.parametrize(
    "opt_out", [{"kagent.dev/discovery": "disabled"}, {"mcp-sidecar.dev/server": "false"}], ids=str
)
@pytest.mark.parametrize("marker", [OURS, KAGENT, {"protocol.kagenti.io/mcp": ""}], ids=str)
def test_an_opt_out_wins_over_every_marker(marker: dict[str, str], opt_out: dict[str, str]):
    assert not read(seen(marker | opt_out, ports=(kinds(80, protocol="mcp"),)), asked=True).servers


@pytest.mark.covers("B-211")
def test_our_opt_out_may_be_an_annotation():
    assert not read(seen(KAGENT, {"mcp-sidecar.dev/server": "false"}), asked=True).servers


@pytest.mark.covers("B-211")
def test_a_gateway_is_not_followed_unless_it_is_named():
    gateway = {"toolhive": "true", "app": "virtualmcpserver"}
    assert not read(seen(gateway), asked=True).servers
    assert one(read(seen(gateway), asked=True, gateways=True)).path == "/mcp"
    assert one(read(seen(gateway | OURS), asked=True)).path == "/mcp"


@pytest.mark.covers("B-210")
def test_what_our_marker_says_wins_and_what_it_leaves_open_others_say():
    annotations = {
        "mcp-sidecar.dev/name": "ours",
        "kagent.dev/mcp-service-path": "/kagent",
        "agentgateway.dev/mcp-target-name": "theirs",
    }
    marked = one(read(seen(OURS | KAGENT, annotations, (kinds(80, protocol="mcp"),)), asked=True))
    assert (marked.name, marked.path, marked.rank) == ("ours", "/kagent", 1)


@pytest.mark.covers("B-212")
@pytest.mark.parametrize(
    ("labels", "annotations", "key", "transport", "path"),
    [
        (KAGENT, {"kagent.dev/mcp-service-protocol": "sse"}, "kagent.dev/mcp-service-protocol", "sse", "/sse"),
        (KAGENT, {"kagent.dev/mcp-service-protocol": "grpc"}, "kagent.dev/mcp-service-protocol", "http", "/mcp"),
        (KAGENT, {"kagent.dev/mcp-service-port": "http"}, "kagent.dev/mcp-service-port", "http", "/mcp"),
        (KAGENT, {"kagent.dev/mcp-service-port": "²"}, "kagent.dev/mcp-service-port", "http", "/mcp"),
        ({"kagent.dev/mcp-service": "True"}, {}, "kagent.dev/mcp-service", "http", "/mcp"),
        (OURS, {"mcp-sidecar.dev/path": "mcp/v1"}, "mcp-sidecar.dev/path", "http", "/mcp/v1"),
        (OURS, {"mcp-sidecar.dev/path": "/a b\r\nX: y"}, "mcp-sidecar.dev/path", "http", "/mcp"),
        (OURS, {"mcp-sidecar.dev/path": "http://x/mcp"}, "mcp-sidecar.dev/path", "http", "/mcp"),
        (OURS, {"mcp-sidecar.dev/transport": "stdio"}, "mcp-sidecar.dev/transport", "http", "/mcp"),
        (OURS, {"mcp-sidecar.dev/name": "My.Weather!"}, "mcp-sidecar.dev/name", "http", "/mcp"),
        (OURS, {"mcp-sidecar.dev/name": "!!"}, "mcp-sidecar.dev/name", "http", "/mcp"),
        ({"mcp-sidecar.dev/server": "yes"}, {}, "mcp-sidecar.dev/server", "http", "/mcp"),
        ({"mcp-sidecar.dev/server": "maybe"}, {}, "mcp-sidecar.dev/server", "http", "/mcp"),
    ],
)
def test_a_wrong_value_costs_a_complaint_that_names_its_key(labels, annotations, key, transport, path):
    reading = read(seen(labels, annotations), asked=True)
    marked = one(reading)
    assert (marked.transport, marked.path) == (transport, path)
    assert {complaint.key for complaint in reading.complaints} == {key}


def test_a_streamable_transport_is_understood_however_it_is_spelled():
    for spelling in ("http", "streamable-http", "STREAMABLE_HTTP", "streamableHttp"):
        reading = read(seen(OURS, {"mcp-sidecar.dev/transport": spelling}), asked=True)
        assert one(reading).transport == "http" and not reading.complaints


def test_the_port_is_the_one_whose_protocol_says_so():
    ports = (kinds(9090, "http"), kinds(8080, "tools", "agentgateway.dev/mcp"))
    assert one(read(seen(OURS, ports=ports), asked=True)).port.port == 8080


def test_a_server_of_both_transports_is_one_server():
    ports = (kinds(8081, "old", "kgateway.dev/mcp-sse"), kinds(8080, "new", "kgateway.dev/mcp"))
    assert one(read(seen(ports=ports), asked=False)).port.port == 8080
    sse = {"mcp-sidecar.dev/transport": "sse"}
    assert one(read(seen(OURS, sse, ports), asked=True)).port.port == 8081


def test_two_ports_of_one_transport_are_two_servers():
    ports = (kinds(1, "north", "mcp"), kinds(2, "south", "mcp"))
    assert [marked.name for marked in read(seen(ports=ports), asked=False).servers] == [
        "weather-north",
        "weather-south",
    ]


@pytest.mark.parametrize(("names", "chosen"), [(("web", "mcp", "http"), "mcp"), (("web", "http"), "http")])
def test_without_a_protocol_the_ports_names_decide(names: tuple[str, ...], chosen: str):
    ports = tuple(kinds(number, name) for number, name in enumerate(names, 1))
    reading = read(seen(OURS, ports=ports), asked=True)
    assert one(reading).port.name == chosen and not reading.complaints


def test_ports_that_say_nothing_are_complained_about_and_the_first_is_taken():
    reading = read(seen(OURS, ports=(kinds(1, "a"), kinds(2, "b"))), asked=True)
    assert one(reading).port.port == 1
    assert [complaint.key for complaint in reading.complaints] == ["ports"]


def test_kagents_port_is_that_of_the_service_where_it_is_known():
    ports = (kinds(8080, "a"), kinds(80, "b"))
    asked = {"kagent.dev/mcp-service-port": "80"}
    assert one(read(seen(KAGENT, asked, ports), asked=True)).port.name == "b"
    assert one(read(seen(KAGENT, asked, ports, (kinds(80, "a"),)), asked=True)).port.name == "a"


@pytest.mark.parametrize(
    ("text", "name"), [("weather", "weather"), ("a.b", "a-b"), ("A_B", "a-b"), ("x" * 70, "x" * 63), ("..", "")]
)
def test_names_of_kubernetes_become_names_of_servers(text: str, name: str):
    assert dns_label(text) == name
