"""OpenTelemetry's environment variables set what their own keys set, below everything that is ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcp_sidecar.config import BadConfiguration, load
from mcp_sidecar.config.otel_variables import BOUNDS, ELSEWHERE, SECURITY, VARIABLES
from mcp_sidecar.config.schema import Section, schema
from mcp_sidecar.settings import TelemetrySettings
from tests.support.certificates import Authority

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}


def telemetry(**environ: str) -> TelemetrySettings:
    return load(None, {**ENDPOINT, **environ}).settings.telemetry


def problem(**environ: str) -> str:
    with pytest.raises(BadConfiguration) as raised:
        load(None, {**ENDPOINT, **environ})
    (found,) = raised.value.problems
    return str(found)


def test_every_variable_is_for_a_key_that_there_is():
    for variable in VARIABLES.values():
        part = schema().parts["telemetry"]
        for name in variable.key.split("."):
            assert isinstance(part, Section)
            part = part.parts[name]
    assert not ELSEWHERE.keys() & (VARIABLES.keys() | BOUNDS.keys() | SECURITY.keys())


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
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "telemetry.timeout: expected a number of milliseconds above 0"),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such"}, "telemetry.certificate: there is no such file"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "0"}, "telemetry.timeout: expected a number of milliseconds above 0"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "99000"}, "telemetry.timeout: 99000ms is outside 0.01s to 60s"),
        ({"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "0"}, "telemetry.traces_to.timeout: expected a number of milliseconds"),
        ({"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/json"}, 'telemetry.logs_to.protocol: "http/json" is not a choice'),
        ({"OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "br"}, 'telemetry.metrics_to.compression: "br" is not a choice'),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "secret"}, "telemetry.headers: expected name=value,name=value"),
        ({"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta!"}, 'telemetry.temporality: "delta!" is not'),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "telemetry.traces_to.queue: 0 is outside 1 to 100000"),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "3000"}, "telemetry.traces_to.batch: 3000 do not fit a queue of 2048"),
        ({"OTEL_BSP_EXPORT_TIMEOUT": "9" * 5000}, "telemetry.traces_to.timeout: expected a number of milliseconds"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "9" * 5000}, "telemetry.timeout: expected a number of milliseconds"),
        ({"OTEL_BLRP_EXPORT_TIMEOUT": "soon"}, "telemetry.logs_to.timeout: expected a number of milliseconds"),
        ({"OTEL_CONFIG_FILE": "/no/such.yaml"}, "cannot be read"),
    ],
)
def test_what_cannot_be_honoured_is_a_problem_that_names_the_variable(environ: dict[str, str], said: str):
    (name,) = environ
    place = environ[name] if name == "OTEL_CONFIG_FILE" else f"environment {name}"
    assert problem(**environ).startswith(f"{place}: ")
    assert said in problem(**environ)


@pytest.mark.covers("B-306")
def test_our_own_keys_win_over_the_variables(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text("telemetry: {otlp_endpoint: http://own:4317, resource: {a: own}}\n")
    environ = {**ENDPOINT, "OTEL_TRACES_SAMPLER": "always_on", "POD_NAME": "web-0", "OTEL_RESOURCE_ATTRIBUTES": "a=1"}
    found = load(file, environ).settings.telemetry
    assert (found.otlp_endpoint, found.sample) == ("http://own:4317", 1.0)
    assert dict(found.resource) == {"k8s.pod.name": "web-0", "a": "own"}


@pytest.mark.covers("B-353")
@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_each_signal_has_variables_of_its_own_and_the_common_ones_where_it_has_none(signal: str, tmp_path: Path):
    issued, other = Authority().issue("c"), Authority().issue("c")
    for name, contents in (("cert", issued.certificate), ("key", issued.key), ("other", other.certificate)):
        (tmp_path / name).write_bytes(contents)
    common = {
        "OTEL_EXPORTER_OTLP_HEADERS": "a=common",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "5000",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "cert"),
        "OTEL_LOGS_EXPORTER": "otlp",
    }
    own = {
        "ENDPOINT": "https://own/v1",
        "PROTOCOL": "http/protobuf",
        "HEADERS": "b=own",
        "TIMEOUT": "750",
        "COMPRESSION": "none",
        "CERTIFICATE": str(tmp_path / "other"),
        "CLIENT_CERTIFICATE": str(tmp_path / "cert"),
        "CLIENT_KEY": str(tmp_path / "key"),
    }
    found = telemetry(**common, **{f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}": text for name, text in own.items()})
    way = found.of(signal)
    assert (way.endpoint, way.protocol, way.timeout, way.compression) == (
        "https://own/v1",
        "http/protobuf",
        0.75,
        "none",
    )
    assert (dict(way.headers), way.certificate) == ({"b": "own"}, own["CERTIFICATE"])
    assert (way.client_certificate, way.client_key) == (own["CLIENT_CERTIFICATE"], own["CLIENT_KEY"])
    for others in {"traces", "metrics", "logs"} - {signal}:
        way = found.of(others)
        assert (way.endpoint, way.protocol, way.timeout) == (ENDPOINT["OTEL_EXPORTER_OTLP_ENDPOINT"], "auto", 5.0)
        assert (way.compression, dict(way.headers), way.client_key) == ("gzip", {"a": "common"}, "")
    assert "'own'" not in repr(found)


@pytest.mark.covers("B-353")
def test_queues_have_variables():
    found = telemetry(
        OTEL_BSP_SCHEDULE_DELAY="250",
        OTEL_BSP_MAX_QUEUE_SIZE="100",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
        OTEL_BLRP_SCHEDULE_DELAY="125",
        OTEL_BLRP_MAX_QUEUE_SIZE="200",
    )
    assert (found.traces_to.delay, found.traces_to.queue, found.traces_to.batch) == (0.25, 100, 10)
    assert (found.logs_to.delay, found.logs_to.queue, found.logs_to.batch) == (0.125, 200, 512)


@pytest.mark.covers("B-353")
@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 3.0),
        ({"OTEL_BSP_EXPORT_TIMEOUT": "30000"}, 3.0),
        ({"OTEL_BSP_EXPORT_TIMEOUT": "0"}, 3.0),
        ({"OTEL_BSP_EXPORT_TIMEOUT": "1000"}, 1.0),
        ({"OTEL_BSP_EXPORT_TIMEOUT": "1000", "OTEL_EXPORTER_OTLP_TIMEOUT": "500"}, 0.5),
        ({"OTEL_BSP_EXPORT_TIMEOUT": "30000", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "10000"}, 10.0),
    ],
)
def test_of_two_limits_on_an_export_the_lower_one_counts(environ: dict[str, str], seconds: float):
    assert telemetry(**environ).of("traces").timeout == seconds


@pytest.mark.covers("B-353")
@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({"OTEL_EXPORTER_OTLP_TRACES_INSECURE": "true"}, "http://c:4317"),
        ({"OTEL_EXPORTER_OTLP_TRACES_INSECURE": "False"}, "https://c:4317"),
        ({"OTEL_EXPORTER_OTLP_TRACES_INSECURE": "true", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "t:1"}, "http://t:1"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_INSECURE": "true", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://t"},
            "https://t",
        ),
    ],
)
def test_a_signal_may_do_without_tls_where_no_scheme_is_named(environ: dict[str, str], endpoint: str):
    assert telemetry(**{"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317", **environ}).of("traces").endpoint == endpoint


@pytest.mark.covers("B-353")
@pytest.mark.parametrize("written", ["delta", "DELTA", "Delta"])
def test_a_preference_for_a_temporality_is_read_in_any_case(written: str):
    assert telemetry(OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=written).temporality == "delta"


@pytest.mark.covers("B-306")
@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_SPAN_HEADERS": "a=b"}, "OTEL_EXPORTER_OTLP_HEADERS is"),
        (
            {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram"},
            "explicit",
        ),
        ({"OTEL_PROPAGATORS": "b3"}, "W3C trace context"),
        ({"OTEL_LOG_LEVEL": "debug"}, "log.level is"),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.5"}, "has no effect without OTEL_TRACES_SAMPLER"),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "where a caller has not decided"),
        ({"OTEL_EXPERIMENTAL_CONFIG_FILE": "/x"}, "OTEL_CONFIG_FILE is"),
    ],
)
def test_a_variable_that_is_not_honoured_is_warned_of_where_telemetry_is_on(environ: dict[str, str], said: str):
    (name,) = environ
    (warning,) = (one for one in load(None, {**ENDPOINT, **environ}).warnings if name in one)
    assert said in warning
    assert not any(name in one for one in load(None, environ).warnings)


@pytest.mark.covers("B-306")
def test_what_is_done_anyway_is_not_warned_of():
    usual = {
        "OTEL_PROPAGATORS": "tracecontext,baggage",
        "OTEL_METRICS_EXEMPLAR_FILTER": "trace_based",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "128",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
        "OTEL_JAVA_SOMETHING": "x",
    }
    assert not any("OTEL" in one for one in load(None, {**ENDPOINT, **usual}).warnings)


@pytest.mark.covers("B-354")
@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ("a%20b=canary", "a name is letters"),
        ("host=canary", "none that the exporter sets itself"),
        ("a=canary%0d%0ax: y", "a value is visible ASCII"),
        ("a=canary%C3%A9", "a value is visible ASCII"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(headers: str, said: str):
    for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        assert said in problem(**{name: headers})
        assert "canary" not in problem(**{name: headers})


@pytest.mark.covers("B-354")
def test_certificates_that_cannot_be_used_are_refused(tmp_path: Path):
    first, second = Authority().issue("a"), Authority().issue("b")
    for name, contents in (("cert", first.certificate), ("key", first.key), ("other", second.key), ("no", b"x")):
        (tmp_path / name).write_bytes(contents)
    cert, key, other, no = (str(tmp_path / name) for name in ("cert", "key", "other", "no"))
    assert "go together" in problem(OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=cert)
    wrong = problem(OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=cert, OTEL_EXPORTER_OTLP_CLIENT_KEY=other)
    assert "the key does not belong to the certificate" in wrong
    assert "telemetry.traces_to.certificate" in problem(OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE=no)
    # A key of its own goes with the common certificate.
    mixed = {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": cert, "OTEL_EXPORTER_OTLP_CLIENT_KEY": key}
    assert "traces_to" in problem(**mixed, OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY=other)
    assert telemetry(**mixed, OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY=key).of("traces").client_certificate == cert


@pytest.mark.covers("B-354")
def test_certificates_for_plaintext_are_warned_of(tmp_path: Path):
    (tmp_path / "ca").write_bytes(Authority().certificate)
    found = load(None, {**ENDPOINT, "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "ca")}).warnings
    assert "certificates for traces have no effect: http://collector:4317 is plaintext" in found


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
