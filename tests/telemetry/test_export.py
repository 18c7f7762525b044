"""A sidecar process and a collector: what was called is what arrives there, whatever the two speak."""

from __future__ import annotations

import signal

import pytest

from tests.support.fake_server import FakeServer
from tests.support.otlp import Collector, attributes
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import sidecar_process


@pytest.mark.covers("B-300")
@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_a_call_is_a_server_span_and_a_client_span_at_the_collector(way: str):
    async with Collector() as collector, FakeServer() as server:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": getattr(collector, way), "OTEL_TRACES_SAMPLER": "always_on"}
        if way == "http":
            environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
        with sidecar_process({"up": server.url}, environ=environ) as sidecar:
            assert (await Modern(sidecar.url("up")).call("echo", {"text": "hi"})).status == 200
            sidecar.signal(signal.SIGTERM)
            assert await sidecar.ended() == 0
            (line,) = sidecar.calls(method="tools/call")
            assert sidecar.err.read_text() == ""
        found = {int(span.kind): span for span in collector.spans if span.trace_id.hex() == line["trace_id"]}
        ours, sent = found[2], found[3]
        assert sent.parent_span_id == ours.span_id
        assert ours.name == sent.name == "tools/call echo"
        assert attributes(ours)["mcp_sidecar.request.id"] == line["request_id"]
        assert "mcp.server.operation.duration" in collector.metrics
        assert collector.resources[0]["service.name"] == "mcp-sidecar"
