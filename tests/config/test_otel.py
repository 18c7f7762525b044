"""OpenTelemetry's environment variables set what their own keys set, below everything that is ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcp_sidecar.config import BadConfiguration, load
from mcp_sidecar.config.otel import VARIABLES
from mcp_sidecar.config.schema import Key, schema
from mcp_sidecar.settings import TelemetrySettings

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}


def telemetry(**environ: str) -> TelemetrySettings:
    return load(None, {**ENDPOINT, **environ}).settings.telemetry


def problem(**environ: str) -> str:
    with pytest.raises(BadConfiguration) as raised:
        load(None, {**ENDPOINT, **environ})
    (found,) = raised.value.problems
    return str(found)


def test_every_variable_is_for_a_key_that_there_is():
    section = schema().parts["telemetry"]
    assert not isinstance(section, Key)
    assert {key for key, _ in VARIABLES.values()} <= set(section.parts)


@pytest.mark.covers("B-306")
def test_nothing_is_sent_unless_there_is_somewhere_to_send_it():
    assert load(None, {}).settings.telemetry.endpoints == {}
    assert telemetry().endpoints == dict.fromkeys(("traces", "metrics"), ENDPOINT["OTEL_EXPORTER_OTLP_ENDPOINT"])
    assert telemetry(OTEL_SDK_DISABLED="true").endpoints == {}
    assert telemetry(OTEL_TRACES_EXPORTER="none").endpoints.keys() == {"metrics"}
    assert telemetry(OTEL_METRICS_EXPORTER="prometheus", OTEL_LOGS_EXPORTER="otlp").endpoints.keys() == {
        "traces",
        "logs",
    }
    own = load(None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:4318/v1/traces"}).settings.telemetry
    assert own.endpoints == {"traces": "http://t:4318/v1/traces"}


@pytest.mark.covers("B-306")
def test_the_variables_say_what_they_say_to_every_sdk():
    found = telemetry(
        OTEL_SERVICE_NAME="shop",
        OTEL_RESOURCE_ATTRIBUTES="a=1,b=x%2Cy",
        OTEL_EXPORTER_OTLP_HEADERS="api-key=s%3D1, tenant=t",
        OTEL_METRIC_EXPORT_INTERVAL="2500",
        OTEL_EXPORTER_OTLP_TIMEOUT="750",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_EXPORTER_OTLP_INSECURE="TRUE",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )
    assert (found.service, dict(found.resource)) == ("shop", {"a": "1", "b": "x,y"})
    assert dict(found.headers) == {"api-key": "s=1", "tenant": "t"}
    assert (found.interval, found.timeout, found.compression) == (2.5, 0.75, "gzip")
    assert (found.insecure, found.protocol) == (True, "http/protobuf")
    assert "s=1" not in repr(found)


@pytest.mark.covers("B-306")
@pytest.mark.parametrize(
    ("sampler", "argument", "sample"),
    [
        ("always_on", "", 1.0),
        ("parentbased_always_off", "", 0.0),
        ("traceidratio", "0.25", 0.25),
        ("parentbased_traceidratio", "0.01", 0.01),
        ("parentbased_traceidratio", "", 1.0),
    ],
)
def test_samplers_are_shares_of_what_nobody_has_decided(sampler: str, argument: str, sample: float):
    assert telemetry(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument).sample == sample


@pytest.mark.covers("B-306")
@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, 'telemetry.sample: "jaeger_remote" is not a choice'),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, 'telemetry.traces: "zipkin" is not a choice'),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, 'telemetry.protocol: "http/json" is not a choice'),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://x"}, "telemetry.otlp_endpoint: expected a URL beginning with http://"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "telemetry.timeout: expected a duration"),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such"}, "telemetry.certificate: there is no such file"),
        ({"OTEL_CONFIG_FILE": "/etc/otel.yaml"}, "declarative configuration is not read"),
    ],
)
def test_what_cannot_be_honoured_is_a_problem_that_names_the_variable(environ: dict[str, str], said: str):
    (name,) = environ
    assert problem(**environ).startswith(f"environment {name}: ")
    assert said in problem(**environ)


@pytest.mark.covers("B-306")
def test_our_own_keys_win_over_the_variables(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text("telemetry: {otlp_endpoint: http://own:4317, resource: {a: own}}\n")
    environ = {**ENDPOINT, "OTEL_TRACES_SAMPLER": "always_on", "POD_NAME": "web-0", "OTEL_RESOURCE_ATTRIBUTES": "a=1"}
    found = load(file, environ).settings.telemetry
    assert (found.otlp_endpoint, found.sample) == ("http://own:4317", 1.0)
    assert dict(found.resource) == {"k8s.pod.name": "web-0", "a": "own"}


@pytest.mark.covers("B-306")
def test_a_variable_that_is_not_honoured_is_warned_of_where_telemetry_is_on():
    name = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
    assert any(
        name in one and "OTEL_EXPORTER_OTLP_HEADERS is" in one for one in load(None, {**ENDPOINT, name: "a=b"}).warnings
    )
    assert not any(name in one for one in load(None, {name: "a=b"}).warnings)


@pytest.mark.covers("B-307")
@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.common"])
def test_what_has_to_be_installed_is_said_with_the_command_for_it(missing: str):
    program = (
        f"import sys; sys.modules[{missing!r}] = None; from mcp_sidecar.cli import main; sys.exit(main(['check']))"
    )
    command = [sys.executable, "-c", program]
    environ = {**os.environ, **ENDPOINT}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environ)
    assert ran.returncode == 64, ran.stderr
    assert "pip install 'mcp-sidecar[otel]'" in ran.stderr and "Traceback" not in ran.stderr
    environ["OTEL_SDK_DISABLED"] = "true"
    quiet = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environ)
    assert quiet.returncode == 0, quiet.stderr
