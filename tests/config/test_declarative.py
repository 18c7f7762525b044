"""OpenTelemetry's declarative file says what our own keys say, and nothing in it is overlooked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mcp_sidecar.config import BadConfiguration, load
from mcp_sidecar.config.declared_shape import leaves
from mcp_sidecar.config.load import Loaded
from mcp_sidecar.settings import TelemetrySettings
from tests.support.sidecar_process import environment

WHOLE = """\
file_format: "1.0"
disabled: false
resource:
  attributes:
    - {name: service.name, value: shop}
    - {name: team, value: "${TEAM}", type: string}
    - {name: nobody, value: null}
  attributes_list: team=other,region=x%2Cy
tracer_provider:
  processors:
    - batch:
        schedule_delay: 250
        export_timeout: 4000
        max_queue_size: 100
        max_export_batch_size: 50
        exporter:
          otlp_grpc:
            endpoint: traces:4317
            headers: [{name: api-key, value: "${env:KEY:-none}"}]
            headers_list: api-key=old,tenant=t
            compression: gzip
            timeout: 9000
            tls: {insecure: true}
  sampler: {parent_based: {root: {trace_id_ratio_based: {ratio: 0.25}}}}
meter_provider:
  readers:
    - periodic:
        interval: 2500
        timeout: 1500
        exporter:
          otlp_http:
            endpoint: https://metrics/otlp/v1/metrics
            temporality_preference: low_memory
            default_histogram_aggregation: explicit_bucket_histogram
logger_provider:
  processors: [{batch: {exporter: {otlp_http: }}}]
"""
LEAST = 'file_format: "1.0"\n'
TRACES = LEAST + "tracer_provider: {processors: [{batch: {exporter: {otlp_grpc: {%s}}}}]}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "otel.yaml"


def loaded(file: Path, text: str, own: Path | None = None, **environ: str) -> Loaded:
    file.write_text(text)
    return load(own, {"OTEL_CONFIG_FILE": str(file), **environ})


def telemetry(file: Path, text: str, own: Path | None = None, **environ: str) -> TelemetrySettings:
    return loaded(file, text, own, **environ).settings.telemetry


def problems(file: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(BadConfiguration) as raised:
        loaded(file, text, None, **environ)
    return [str(one).removeprefix(f"{file}:") for one in raised.value.problems]


@pytest.mark.covers("B-350")
def test_the_file_says_all_that_our_own_keys_say(file: Path):
    found = telemetry(file, WHOLE, TEAM="a", KEY="s=1")
    assert dict(found.resource) == {"service.name": "shop", "team": "a", "region": "x,y"}
    traces, metrics, logs = map(found.of, ("traces", "metrics", "logs"))
    assert (traces.endpoint, traces.protocol, traces.compression) == ("http://traces:4317", "grpc", "gzip")
    assert (traces.timeout, dict(traces.headers)) == (4.0, {"api-key": "s=1", "tenant": "t"})
    assert (found.traces_to.delay, found.traces_to.queue, found.traces_to.batch) == (0.25, 100, 50)
    assert (found.sample, found.interval, found.temporality) == (0.25, 2.5, "lowmemory")
    assert (metrics.endpoint, metrics.protocol) == ("https://metrics/otlp/v1/metrics", "http/protobuf")
    assert (metrics.timeout, dict(metrics.headers)) == (1.5, {})
    assert (logs.endpoint, logs.timeout, found.logs_to.delay) == ("http://localhost:4318/v1/logs", 10.0, 1.0)
    assert found.endpoints.keys() == {"traces", "metrics", "logs"}
    assert "s=1" not in repr(found)


@pytest.mark.covers("B-350")
def test_what_is_left_out_is_what_the_schema_says(file: Path):
    assert telemetry(file, LEAST).endpoints == {}
    assert telemetry(file, TRACES % "").endpoints == {"traces": "http://localhost:4317"}
    found = telemetry(
        file, TRACES % "endpoint: c:4317" + "meter_provider: {readers: [{periodic: {exporter: {otlp_grpc: }}}]}"
    )
    assert (found.sample, found.interval, found.of("traces").timeout) == (1.0, 60.0, 10.0)
    assert (found.traces_to.delay, found.traces_to.queue, found.traces_to.batch) == (5.0, 2048, 512)
    assert found.endpoints == {"traces": "c:4317", "metrics": "http://localhost:4317"}
    assert (
        telemetry(file, TRACES % "" + "disabled: ${OTEL_SDK_DISABLED:-false}", OTEL_SDK_DISABLED="true").endpoints == {}
    )


@pytest.mark.covers("B-350")
@pytest.mark.parametrize(
    ("root", "sample"),
    [
        ("always_on: {}", 1.0),
        ("always_off: ", 0.0),
        ("trace_id_ratio_based: {ratio: 0.5}", 0.5),
        ("trace_id_ratio_based: ", 1.0),
    ],
)
def test_the_root_sampler_is_the_share_of_what_nobody_has_decided(file: Path, root: str, sample: float):
    text = TRACES % "" + f"  sampler: {{parent_based: {{root: {{{root}}}}}}}\n"
    text = text.replace("}}]}\n", "}}]\n").replace("tracer_provider: {processors:", "tracer_provider:\n  processors:")
    assert telemetry(file, text).sample == sample


@pytest.mark.covers("B-350")
def test_other_variables_are_ignored_and_said_to_be(file: Path):
    said = loaded(
        file,
        TRACES % "endpoint: '${OTEL_EXPORTER_OTLP_ENDPOINT}'",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4317",
        OTEL_EXPORTER_OTLP_HEADERS="api-key=secret",
        OTEL_SDK_DISABLED="true",
        OTEL_TRACES_SAMPLER="no such sampler",
        POD_NAME="web-0",
    )
    found = said.settings.telemetry
    assert (found.endpoints, dict(found.headers), found.sample) == ({"traces": "http://c:4317"}, {}, 1.0)
    assert dict(found.resource) == {"k8s.pod.name": "web-0"}
    (warning,) = (one for one in said.warnings if "OTEL_" in one)
    assert warning.endswith("ignored: OTEL_EXPORTER_OTLP_HEADERS, OTEL_SDK_DISABLED, OTEL_TRACES_SAMPLER")


@pytest.mark.covers("B-350")
def test_our_own_keys_win_over_the_file(file: Path, tmp_path: Path):
    own = tmp_path / "config.yaml"
    own.write_text("telemetry: {sample: 0.5, traces_to: {endpoint: http://own:4317}}\n")
    found = telemetry(file, TRACES % "endpoint: c:4317", own)
    assert (found.sample, found.endpoints) == (0.5, {"traces": "http://own:4317"})


@pytest.mark.covers("B-350")
def test_the_usual_start_of_such_a_file_is_taken_with_all_its_defaults(file: Path):
    limits = "{attribute_value_length_limit: , attribute_count_limit: 128}"
    text = (
        WHOLE
        + f"log_level: info\nattribute_limits: {limits}\n"
        + "propagator: {composite: [{tracecontext: }, {baggage: }]}\n"
    )
    text = text.replace("meter_provider:\n", "meter_provider:\n  exemplar_filter: trace_based\n")
    text = text.replace("logger_provider:\n", f"logger_provider:\n  limits: {limits}\n")
    text = text.replace("tracer_provider:\n", f"tracer_provider:\n  limits: {limits}\n  id_generator: {{random: }}\n")
    assert telemetry(file, text, TEAM="a").endpoints.keys() == {"traces", "metrics", "logs"}


@pytest.mark.covers("B-352")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("disabled: true", "1: file_format: is missing"),
        ("[]", "1: expected a map of keys, beginning with file_format"),
        ("", "1: expected a map of keys, beginning with file_format"),
        ('file_format: "2.0"', '1: file_format: "2.0" is not a format that is known here; 1.0 and'),
        ('file_format: "0.3"\ntracer_provider: {x: y}', '1: file_format: "0.3" is not a format'),
        (LEAST + "tracer_providr: {}", '2: tracer_providr: key is not supported; did you mean "tracer_provider"?'),
        (LEAST + "tracer_provider: {}", "2: tracer_provider.processors: is missing"),
        (
            LEAST + "tracer_provider:\n  processors:\n    - bach: {exporter: {otlp_grpc: }}",
            '4: tracer_provider.processors[0].bach: type is not supported; did you mean "batch"?',
        ),
        (
            LEAST + "tracer_provider: {processors: [{simple: {exporter: {console: }}}]}",
            "2: tracer_provider.processors[0].simple: type is not supported; known here: batch",
        ),
        (
            LEAST + "tracer_provider: {processors: [{batch: {exporter: {otlp_gprc: }}}]}",
            '2: tracer_provider.processors[0].batch.exporter.otlp_gprc: type is not supported; did you mean "otlp_gr',
        ),
        (
            LEAST + "tracer_provider: {processors: [{batch: {}}]}",
            "2: tracer_provider.processors[0].batch.exporter: is missing",
        ),
        (TRACES % "timeout: 0" + "disabled: x", "3: disabled: expected true or false"),
        (TRACES % 'timeout: "5000"', "2: {otlp}.timeout: expected a whole number"),
        (TRACES % f"timeout: {'9' * 5000}", "2: {otlp}.timeout: expected a duration"),
        (TRACES % "timeout: -5", "2: {otlp}.timeout: expected a duration"),
        (TRACES % "timout: 5", '2: {otlp}.timout: key is not supported; did you mean "timeout"?'),
        (TRACES % "endpoint: ftp://c", "2: {otlp}.endpoint: expected a URL beginning with http://"),
        (TRACES % "compression: deflate", '2: {otlp}.compression: "deflate" is not a choice'),
        (TRACES % "headers_list: secret", "2: {otlp}.headers_list: expected name=value,name=value"),
        (TRACES % "headers: {a: b}", "2: {otlp}.headers: expected a list of 1 to 1000"),
        (TRACES % "headers: [{name: a, value: 1}]", "2: {otlp}.headers[0].value: expected text; put it in quotes"),
        (TRACES % "tls: {ca_file: /no/such}", "2: {otlp}.tls.ca_file: there is no such file"),
        (TRACES % "encoding: protobuf", "2: {otlp}.encoding: key is not supported"),
        (TRACES % "endpoint: '${X:?no}'", "2: expected ${VARIABLE}"),
        (
            LEAST + "tracer_provider: {sampler: {always_on: }, processors: [{batch: {exporter: {otlp_grpc: }}}]}",
            "2: tracer_provider.sampler.always_on: type is not supported; known here: parent_based",
        ),
        (LEAST + "meter_provider: {readers: [{pull: {}}]}", "2: meter_provider.readers[0].pull: type is not supported"),
        (
            LEAST + "attribute_limits: {attribute_count_limit: 5}",
            '2: attribute_limits.attribute_count_limit: "5" is not',
        ),
        (
            LEAST + "resource: {attributes: [{name: a, value: 5, type: int}]}",
            "2: resource.attributes[0].value: expected",
        ),
        (LEAST + "distribution: {}", "2: distribution: key is not supported"),
        (LEAST + "disabled: true\ndisabled: false", "3: disabled: the key is given twice"),
        (LEAST + "propagator: {composite: [{b3: }]}", "2: propagator.composite[0].b3: type is not supported"),
    ],
)
def test_what_is_not_honoured_is_a_problem_with_its_path_and_line(file: Path, text: str, problem: str):
    problem = problem.replace("{otlp}", "tracer_provider.processors[0].batch.exporter.otlp_grpc")
    assert problems(file, text)[0].startswith(problem), problems(file, text)


@pytest.mark.covers("B-352")
def test_an_export_without_any_limit_is_refused(file: Path):
    assert telemetry(file, TRACES % "timeout: 0").of("traces").timeout == 30.0  # that of the processor
    text = (
        LEAST + "tracer_provider: {processors: [{batch: {export_timeout: 0, exporter: {otlp_grpc: {timeout: 0}}}}]}\n"
    )
    (problem,) = problems(file, text)
    assert problem.endswith("otlp_grpc.timeout: an export without a limit is not for a sidecar")


@pytest.mark.covers("B-352")
def test_a_file_that_is_not_there_or_no_yaml_is_a_problem(file: Path):
    with pytest.raises(BadConfiguration, match="cannot be read: No such file"):
        load(None, {"OTEL_CONFIG_FILE": str(file)})
    assert problems(file, "a: [")[0].startswith("2: not valid YAML")


@pytest.mark.covers("B-352")
def test_serve_ends_with_64_before_it_binds_a_port(file: Path):
    file.write_text(TRACES % "endpont: http://c:4317")
    command = [sys.executable, "-m", "mcp_sidecar", "serve", "--grpc", "no address"]
    environ = environment({"OTEL_CONFIG_FILE": str(file)})
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environ)
    assert (ran.returncode, ran.stdout) == (64, "")
    assert f"{file}:2: tracer_provider.processors[0].batch.exporter.otlp_grpc.endpont: key is not" in ran.stderr


def test_every_value_of_the_shape_has_a_path_of_its_own():
    paths = [path for path, _ in leaves()]
    assert len(paths) == len(set(paths))
