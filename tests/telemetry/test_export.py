"""A sidecar process and a collector: what was called is what arrives there, whatever the two speak."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mcp_sidecar.attributes import SPAN_ATTRIBUTES
from mcp_sidecar.inbound.instruments import TABLE
from mcp_sidecar.v1 import engine_pb2, engine_pb2_grpc
from tests.inbound.waiting import eventually
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.otlp import Collector, Mode, attributes
from tests.support.raw_mcp import Legacy, Modern
from tests.support.sidecar_process import SidecarProcess, run
from tests.telemetry.driving import PARENT, TRACE, ended, of_legacy, telling

SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
ROOT = Path(__file__).parents[2]
NOBODY = "http://127.0.0.1:9/mcp"
CANARY = "canary-7f3a"


@pytest.mark.covers("B-300")
@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_a_call_is_a_server_span_and_a_client_span_at_the_collector(way: str):
    async with Collector() as collector, FakeServer() as server:
        with telling(collector, {"up": server.url}, way=way) as sidecar:
            assert (await Modern(sidecar.url("up")).call("echo", {"text": "hi"})).status == 200
            await ended(sidecar)
            (line,) = sidecar.calls(method="tools/call")
    found = {span.kind: span for span in collector.spans if span.trace_id.hex() == line["trace_id"]}
    ours, sent = found[SERVER], found[CLIENT]
    assert sent.parent_span_id == ours.span_id
    assert ours.name == sent.name == "tools/call echo"
    assert attributes(ours)["mcp_sidecar.request.id"] == line["request_id"]
    assert collector.resources[0]["service.name"] == "mcp-sidecar"


def counts(collector: Collector, name: str) -> dict[tuple[str, ...], int]:
    """How many samples a histogram has, by tool (or method) and error."""
    found: Counter[tuple[str, ...]] = Counter()
    for point in collector.metrics[name].histogram.data_points:
        said = attributes(point)
        found[said.get("gen_ai.tool.name", said.get("mcp.method.name", "")), said.get("error.type", "")] += point.count
        assert point.count == sum(point.bucket_counts)
        assert not point.HasField("min") and not point.HasField("max")
    return dict(found)


@pytest.mark.covers("B-304")
async def test_the_histograms_hold_each_call_once_and_say_which_tools_fail():
    async with Collector() as collector, FakeServer() as server:
        with telling(collector, {"up": server.url, "down": NOBODY}) as sidecar:
            up, down = Modern(sidecar.url("up")), Modern(sidecar.url("down"))
            for number in range(7):
                await up.call("echo", {"text": str(number)})
            await up.call("fail", {})
            await up.call("no such tool", {})
            await down.call("echo", {"text": "hi"})
            await ended(sidecar)
            lines = sidecar.calls(method="tools/call")
    assert len(lines) == 10
    served = counts(collector, "mcp.server.operation.duration")
    assert sum(served.values()) == 10
    assert served["echo", ""] == 7
    assert served["fail", "tool_error"] == served["_OTHER", "UNAVAILABLE"] == 1
    sent = counts(collector, "mcp.client.operation.duration")
    assert sent["echo", ""] == 7
    assert (sent["fail", "tool_error"], sent["_OTHER", "-32602"]) == (1, 1)
    assert sum(number for (tool, _), number in sent.items() if tool in {"echo", "fail", "_OTHER"}) == 9
    overhead = collector.metrics["mcp_sidecar.overhead.duration"].histogram.data_points[0]
    assert overhead.count >= 9
    calls = sum(point.as_double for point in collector.metrics["mcp_sidecar.calls"].sum.data_points)
    assert calls == 10


@pytest.mark.covers("B-302")
@pytest.mark.parametrize("mode", ["ok", "partial", "hang", "UNAVAILABLE", "RESOURCE_EXHAUSTED"])
@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_spans_that_ended_have_arrived_or_are_counted_as_dropped(mode: Mode, way: str):
    async with Collector(mode) as collector, FakeServer() as server:
        with telling(
            collector,
            {"up": server.url},
            way=way,
            OTEL_METRICS_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
            OTEL_EXPORTER_OTLP_TIMEOUT="300",
        ) as sidecar:
            client = Modern(sidecar.url("up"))
            for number in range(20):
                assert (await client.call("echo", {"text": str(number)})).status == 200
            await ended(sidecar)
            last = [line for line in sidecar.lines if line["event"] == "telemetry"][-1:]
    if mode == "ok":
        assert (len(collector.spans), last) == (40, [])
    else:
        assert len(collector.spans) + last[0]["dropped"] == 40
        assert len(collector.spans) == (40 - len(collector.requests) if mode == "partial" else 0)


@pytest.mark.covers("B-303")
async def test_calls_go_on_behind_a_collector_that_hangs_and_the_end_is_in_time():
    async with Collector("hang") as collector, FakeServer() as server:
        with telling(collector, {"up": server.url}, MCP_SIDECAR_POD_GRACE_SECONDS="4") as sidecar:
            client = Modern(sidecar.url("up"))
            for number in range(600):  # more than a batch: the thread is at it
                assert (await client.call("echo", {"text": str(number)})).status == 200
            await collector.until(lambda found: found.asked)
            assert (await client.call("echo", {"text": "still"})).status == 200
            await ended(sidecar)
            assert len([line for line in sidecar.lines if line["event"] == "telemetry"]) <= 6


@pytest.mark.covers("B-300")
async def test_a_failed_call_has_a_span_that_says_so():
    async with Collector() as collector:
        with telling(collector, {"down": NOBODY}) as sidecar:
            async with grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
                request = engine_pb2.CallToolRequest(server="down", tool="echo", arguments_json=b"{}")
                with pytest.raises(grpc.aio.AioRpcError):
                    await engine_pb2_grpc.MCPEngineStub(channel).CallTool(request)
            await ended(sidecar)
            (line,) = sidecar.calls(method="tools/call")
    (span,) = (span for span in collector.spans if span.kind == SERVER and span.name == "tools/call echo")
    assert span.trace_id.hex() == line["trace_id"]
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert attributes(span)["error.type"] == "UPSTREAM_UNAVAILABLE"
    assert attributes(span)["mcp_sidecar.execution"] == "none"


@pytest.mark.covers("B-300")
async def test_a_call_that_is_refused_before_anybody_read_it_has_a_span_too():
    async with Collector() as collector, FakeServer() as server:
        with telling(collector, {"up": server.url}) as sidecar:
            async with grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
                request = engine_pb2.CallRequest(server="up", message_json=b"{")
                with pytest.raises(grpc.aio.AioRpcError):
                    await engine_pb2_grpc.MCPEngineStub(channel).Call(request, metadata=(("traceparent", PARENT),))
            await ended(sidecar)
            (line,) = (line for line in sidecar.calls() if line["code"] == "INVALID_ARGUMENT")
    (span,) = (span for span in collector.spans if span.trace_id.hex() == TRACE)
    assert line["trace_id"] == TRACE
    assert (span.name, attributes(span)["error.type"]) == ("mcp_sidecar.v1.MCPEngine/Call", "MALFORMED_MESSAGE")


@pytest.mark.covers("B-311")
async def test_log_records_carry_the_ids_of_their_calls():
    async with Collector() as collector, FakeServer() as server:
        with telling(collector, {"up": server.url}) as sidecar:
            await Modern(sidecar.url("up")).call("echo", {"text": "hi"})
            await ended(sidecar)
            (line,) = sidecar.calls(method="tools/call")
    (record,) = (one for one in collector.records if attributes(one).get("mcp_sidecar.name") == "echo")
    assert record.trace_id.hex() == line["trace_id"]
    assert record.span_id in {span.span_id for span in collector.spans}
    assert attributes(record)["mcp_sidecar.request_id"] == line["request_id"]
    assert (record.severity_text, record.flags) == ("INFO", 1)


@pytest.mark.covers("B-311")
@pytest.mark.parametrize("server", ["up", "nobody"])
@pytest.mark.parametrize("parent", [f"00-{TRACE}-00f067aa0ba902b7-00", None])
async def test_the_record_of_a_call_that_is_not_traced_leads_to_its_trace_too(parent: str | None, server: str):
    async with Collector() as collector, FakeServer() as up:
        with telling(collector, {"up": up.url}, OTEL_TRACES_SAMPLER="parentbased_always_off") as sidecar:
            meta = {"traceparent": parent} if parent else {}
            await Modern(sidecar.url(server)).call("crash", {}, **meta)
            await ended(sidecar)
            (line,) = sidecar.calls(method="tools/call")
    (record,) = (one for one in collector.records if attributes(one).get("mcp_sidecar.name") == "crash")
    assert record.trace_id.hex() == line["trace_id"] != ""
    assert line["trace_id"] == TRACE or parent is None
    assert (record.span_id, record.flags) == (b"", 0)


@pytest.mark.covers("B-308")
async def test_a_pod_is_named_as_collectors_expect_it():
    pod: dict[str, Any] = {"POD_NAME": "web-0", "POD_UID": "u-1", "NAMESPACE": "shop", "NODE_NAME": "n1"}
    async with Collector() as collector:
        pod["OTEL_RESOURCE_ATTRIBUTES"] = "team=a%20b,k8s.pod.name=own"
        with telling(collector, {"up": NOBODY}, **pod) as sidecar:
            await collector.until(lambda found: found.metrics)
            await ended(sidecar)
    found = collector.resources[0]
    assert (found["k8s.pod.name"], found["k8s.pod.uid"], found["team"]) == ("own", "u-1", "a b")
    assert (found["k8s.namespace.name"], found["k8s.node.name"]) == ("shop", "n1")


async def test_headers_reach_the_collector():
    async with Collector() as collector:
        for way in ("grpc", "http"):
            collector.headers = {}
            with telling(collector, {"up": NOBODY}, way=way, OTEL_EXPORTER_OTLP_HEADERS="api-key=s%3Dx") as sidecar:
                await eventually(lambda: "api-key" in collector.headers)
                await ended(sidecar)
            assert collector.headers["api-key"] == "s=x"


@pytest.mark.covers("B-370")
async def test_sessions_that_are_open_at_the_stop_are_counted_with_it():
    async with Collector() as collector, FakeServer("legacy") as server:
        with telling(collector, {"up": server.url}) as sidecar:
            for number in range(3):
                client = Legacy(sidecar.url("up"))
                await client.initialize()
                assert (await client.call("echo", {"text": str(number)})).status == 200
            await client.close()
            await ended(sidecar)
    for side in ("server", "client"):
        (point,) = collector.metrics[f"mcp.{side}.session.duration"].histogram.data_points
        # At the server one more: the sidecar's own, of which it knows the tools.
        assert point.count == (3 if side == "server" else 4)
        assert point.sum > 0


@pytest.mark.covers("B-426")
async def test_calls_with_long_names_fill_no_memory_while_a_collector_hangs():
    uri = "fake://item/" + "m" * 1_500_000

    async def read(sidecar: SidecarProcess, engine: Any, times: int) -> None:
        meta = {"traceparent": PARENT}
        for number in range(times):
            params = {"uri": f"{uri}{number}", "_meta": meta}
            message = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": params}
            await engine.Call(engine_pb2.CallRequest(server="up", message_json=json.dumps(message).encode()))

    async with Collector("hang") as collector, FakeServer() as server:
        with telling(collector, {"up": server.url}) as sidecar:
            async with asyncio.timeout(60), grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
                engine = engine_pb2_grpc.MCPEngineStub(channel)
                await read(sidecar, engine, 20)
                before = sidecar.resident_bytes
                await read(sidecar, engine, 60)
                assert sidecar.resident_bytes - before < 60 * 1024 * 1024


@pytest.mark.covers("B-309", "B-427", "B-428")
async def test_no_secret_gets_into_log_metrics_spans_records_pages_or_commands():
    async with Collector() as collector, FakeServer(authorization=True) as server:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "token").write_text(f"{CANARY}-bearer")
            config = Path(folder) / "config.yaml"
            auth = f"auth: {{bearer_file: {folder}/token}}"
            there = f"{{name: up, url: '{server.url}?api_key={CANARY}', {auth}}}"
            gone = f"{{name: gone, url: '{NOBODY}?api_key={CANARY}'}}"
            config.write_text(f"upstreams: [{there}, {gone}]\nlog: {{level: debug}}\n")
            keys = {
                "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={CANARY}-key",
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"api-key={CANARY}-own",
            }
            with telling(collector, {}, "-c", str(config), **keys) as sidecar:
                await _call_with_secrets(sidecar)
                shown = await _pages_and_commands(sidecar)
                await collector.until(lambda found: found.metrics)
                await ended(sidecar)
                written = sidecar.out.read_text() + sidecar.err.read_text()
    assert any(CANARY in str(received.body) for received in server.requests), "the server was told"
    assert any(f"api_key={CANARY}" in str(received.http) for received in server.requests), "the URL is used whole"
    assert f"{NOBODY}?…" in shown
    assert "fake://item/1?…" in written
    assert "fake://item/1?…" in "".join(_uris(collector))
    assert CANARY not in written + shown + "".join(map(str, collector.requests))


async def _call_with_secrets(sidecar: SidecarProcess) -> None:
    for server in ("up", "gone", ""):
        client = Modern(sidecar.url(server))
        for tool in ("echo", "fail", "no such tool"):
            await client.call(tool, {"text": f"{CANARY}-argument"}, traceparent=PARENT)
        for mark in "?#":
            await client.request("resources/read", {"uri": f"fake://item/1{mark}{CANARY}"}, traceparent=PARENT)
    session = Legacy(sidecar.url("up"))
    await session.initialize()
    await session.request("resources/subscribe", {"uri": f"fake://item/1?{CANARY}"}, traceparent=PARENT)
    await session.close()


async def _pages_and_commands(sidecar: SidecarProcess) -> str:
    page = f"http://{sidecar.bound['http']}/api"
    urls = [sidecar.probe(path) for path in ("/metrics", "/readyz", "/startupz")] + [f"{page}/state", f"{page}/tools"]
    said = [(await raw_http.request("GET", url)).body.decode() for url in urls]
    async with raw_http.opened("GET", f"{page}/events") as exchange:
        said += [str(await anext(exchange.events())) for _ in range(2)]
    for words in (("status",), ("status", "-o", "json"), ("tools", "up")):
        code, out, err = await run(*words, "--address", sidecar.bound["grpc"])
        assert code == 0
        said.append(out + err)
    return "".join(said)


def _uris(collector: Collector) -> list[str]:
    """The URIs that spans name."""
    return [str(attributes(span).get("mcp.resource.uri", "")) for span in collector.spans]


@pytest.mark.covers("B-305")
async def test_every_name_that_arrives_stands_in_the_table():
    known = {row.otlp: {*row.attributes.values(), *row.always} for row in TABLE.values()}
    async with Collector() as collector, FakeServer() as modern, FakeServer("legacy") as legacy:
        with telling(collector, {"modern": modern.url, "legacy": legacy.url, "down": NOBODY}) as sidecar:
            for server in ("modern", "legacy", "down"):
                for tool in ("echo", "fail", "no such tool"):
                    await Modern(sidecar.url(server)).call(tool, {"text": "hi"}, traceparent=PARENT)
            await Modern(sidecar.url()).request("tools/list")
            await of_legacy(sidecar, "legacy")
            await ended(sidecar)
    for span in collector.spans:
        assert SPAN_ATTRIBUTES.issuperset(attributes(span)), span.name
    seldom = {"mcp_sidecar.retries", "mcp_sidecar.shed", "rpc.server.call.duration", "rpc.client.call.duration"}
    seldom |= {"mcp_sidecar.discovery.age", "mcp_sidecar.watch.restarts", "mcp_sidecar.catalogue.changes"}
    assert collector.metrics.keys() >= known.keys() - seldom
    for name, metric in collector.metrics.items():
        for point in getattr(metric, str(metric.WhichOneof("data"))).data_points:
            assert known[name].issuperset(attributes(point)), name
