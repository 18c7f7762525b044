"""A sidecar process told by OpenTelemetry's own file, or by the variables of each signal, and what it lets out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import raw_http
from tests.support.certificates import Authority
from tests.support.fake_server import FakeServer
from tests.support.otlp import HOST, Collector, attributes
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import run, sidecar_process
from tests.telemetry.driving import ended, telling

CANARY = "canary-7f3a"
DECLARED = """\
file_format: "1.0"
resource: {{attributes: [{{name: service.name, value: shop}}]}}
tracer_provider:
  sampler: {{parent_based: {{root: {{always_on: }}}}}}
  processors:
    - batch:
        schedule_delay: 50
        exporter:
          otlp_grpc:
            endpoint: {grpc}
            headers_list: ${{KEYS}}
            compression: gzip
            tls: {{ca_file: {folder}/ca, cert_file: {folder}/cert, key_file: {folder}/key}}
meter_provider:
  readers:
    - periodic:
        interval: 50
        exporter:
          otlp_http:
            endpoint: {http}/v1/metrics
            headers:
              - name: api-key
                value: "${{env:KEY:-none}}"
            temporality_preference: delta
            tls: {{ca_file: {folder}/ca, cert_file: {folder}/cert, key_file: {folder}/key}}
logger_provider:
  processors:
    - batch:
        schedule_delay: 50
        exporter:
          otlp_http:
            endpoint: {http}/v1/logs
            headers_list: api-key={canary}-logs
            tls: {{ca_file: {folder}/ca, cert_file: {folder}/cert, key_file: {folder}/key}}
"""


def given(folder: Path, ours: Authority) -> Path:
    """What a kubelet would mount; the path is where the file goes."""
    issued = ours.issue("sidecar")
    for name, contents in (("ca", ours.certificate), ("cert", issued.certificate), ("key", issued.key)):
        (folder / name).write_bytes(contents)
    return folder / "otel.yaml"


@pytest.mark.covers("B-350", "B-354", "B-357")
async def test_a_declared_sidecar_sends_all_three_signals_and_tells_no_header(tmp_path: Path):
    ours = Authority()
    file = given(tmp_path, ours)
    async with Collector(issued=ours.issue(HOST), authorities=ours.certificate) as collector, FakeServer() as server:
        file.write_text(DECLARED.format(grpc=collector.grpc, http=collector.http, folder=tmp_path, canary=CANARY))
        environ = {"OTEL_CONFIG_FILE": str(file), "KEYS": f"api-key={CANARY}-traces", "KEY": f"{CANARY}-metrics"}
        with sidecar_process({"up": server.url}, "--log-level", "debug", environ=environ) as sidecar:
            collector.mode = "INVALID_ARGUMENT"
            assert (await Modern(sidecar.url("up")).call("echo", {"text": "lost"})).status == 200
            await collector.until(lambda found: len(found.headers_of) == 3)
            collector.mode = "ok"
            assert (await Modern(sidecar.url("up")).call("echo", {"text": "hi"})).status == 200
            page = await raw_http.request("GET", sidecar.probe("/metrics"))
            state = await raw_http.request("GET", f"http://{sidecar.bound['http']}/api/state")
            said = await run("status", "--address", sidecar.bound["grpc"], "-o", "json")
            checked = await run("check", environ=environ)
            await ended(sidecar)
            written = sidecar.out.read_text()
    found = {signal: headers["api-key"] for signal, headers in collector.headers_of.items()}
    assert found == {signal: f"{CANARY}-{signal}" for signal in ("traces", "metrics", "logs")}
    assert len(collector.spans) >= 2 and collector.records and collector.metrics
    assert {one["service.name"] for one in collector.resources} == {"shop"}
    assert (state.status, said[0], checked[0]) == (200, 0, 0)
    outputs = [written, page.body.decode(), state.body.decode(), str(said), str(checked), str(collector.requests)]
    assert not any(CANARY in one for one in outputs)
    assert "gRPC status INVALID_ARGUMENT" in written


@pytest.mark.covers("B-354")
async def test_problems_repeat_no_header_and_no_key(tmp_path: Path):
    file = tmp_path / "otel.yaml"
    file.write_text(
        'file_format: "1.0"\ntracer_provider:\n  processors:\n  - batch:\n      exporter:\n        otlp_grpc:\n'
        "          headers_list: ${KEYS}\n          headers: {name: ${KEY}}\n"
    )
    for environ in (
        {"OTEL_CONFIG_FILE": str(file), "KEYS": f"a b={CANARY}", "KEY": CANARY},
        {"OTEL_CONFIG_FILE": str(file), "KEYS": CANARY},
        {"OTEL_EXPORTER_OTLP_HEADERS": CANARY},
        {"OTEL_EXPORTER_OTLP_LOGS_HEADERS": f"a={CANARY}%00"},
        {"MCP_SIDECAR_TELEMETRY_TRACES_TO_HEADERS": f"a b={CANARY}"},
    ):
        code, out, err = await run("check", environ=environ)
        assert code == 64 and CANARY not in out + err, err


@pytest.mark.covers("B-353", "B-356")
async def test_variables_of_one_signal_change_that_one_only():
    async with Collector() as one, Collector() as two, FakeServer() as server:
        own = {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{two.http}/v1/metrics",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "api-key=own",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=common",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        with telling(one, {"up": server.url}, **own) as sidecar:
            for number in range(5):
                await Modern(sidecar.url("up")).call("echo", {"text": str(number)})
            await one.until(lambda found: len(found.spans) == 10)
            await ended(sidecar)
    assert {signal: said["api-key"] for signal, said in one.headers_of.items()} == dict.fromkeys(
        ("traces", "logs"), "common"
    )
    assert {signal: said["api-key"] for signal, said in two.headers_of.items()} == {"metrics": "own"}
    assert sum_of(two, "mcp_sidecar.calls") == 5


def sum_of(collector: Collector, name: str) -> float:
    """All deltas of a counter that have arrived, of calls that ended well."""
    metrics = [
        metric
        for request in collector.requests
        for metric in request.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == name
    ]
    points = [point for metric in metrics for point in metric.sum.data_points]
    return sum(float(point.as_double) for point in points if attributes(point).get("mcp_sidecar.code") == "OK")
