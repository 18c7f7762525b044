"""What a serving process has in its memory after it has done a bit of everything."""

from __future__ import annotations

import signal
import sys

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mcp_sidecar.v1 import connections_pb2, connections_pb2_grpc, engine_pb2, engine_pb2_grpc
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import PROGRAM, sidecar_process
from tests.test_imports import FORBIDDEN

# On demand only, and nothing demands it here. (Python's own asyncio imports `ssl`: `_ssl` would be one with it.)
NOT_ASKED_FOR = {
    "cryptography",
    "grpc_reflection.v1alpha",
    "jwt",
    "yaml",
    "http.client",
    "urllib.request",
    "mcp_sidecar.client",
}


@pytest.mark.covers("B-66")
async def test_a_serving_process_has_imported_no_sdk_and_nothing_nobody_asked_for():
    async with FakeServer("modern") as modern, FakeServer("legacy") as legacy:
        program = (sys.executable, "-X", "importtime", *PROGRAM)
        with sidecar_process({"modern": modern.url, "legacy": legacy.url}, program=program) as sidecar:
            for server in ("modern", "legacy"):
                assert (await Modern(sidecar.url(server)).call("echo", {"text": "hi"})).status == 200
            async with grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
                engine = engine_pb2_grpc.MCPEngineStub(channel)
                request = engine_pb2.CallToolRequest(server="legacy", tool="echo", arguments_json=b'{"text": "hi"}')
                await engine.CallTool(request)
                await engine.ListTools(engine_pb2.ListToolsRequest(server="modern"))
                with pytest.raises(grpc.aio.AioRpcError):
                    await engine.CallTool(engine_pb2.CallToolRequest(server="nobody", tool="echo"))
                connections = connections_pb2_grpc.ConnectionManagerStub(channel)
                await connections.ListConnections(connections_pb2.ListConnectionsRequest())
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            for path in ("/metrics", "/readyz"):
                assert (await raw_http.request("GET", sidecar.probe(path))).status == 200
            sidecar.signal(signal.SIGTERM)
            assert await sidecar.ended() == 0
            imported = {line.rpartition("|")[2].strip() for line in sidecar.err.read_text().splitlines() if "|" in line}
    assert "mcp_sidecar.app" in imported
    tops = {name.partition(".")[0] for name in imported}
    needless = (set(FORBIDDEN) | NOT_ASKED_FOR) & (imported | tops)
    assert not needless
