"""What the kubelet and gRPC clients learn of the process's health, on every port, through its life."""

from __future__ import annotations

import asyncio
import signal

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import SidecarProcess, sidecar_process

SERVICES = ("", "startup", "readiness", "liveness", "mcp_sidecar.v1.MCPEngine", "upstream/up")


async def told(address: str) -> dict[str, str]:
    """What the health service on this port says of each service."""
    async with grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answers = [await health.Check(health_pb2.HealthCheckRequest(service=service)) for service in SERVICES]
    return {
        service: health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        for service, answer in zip(SERVICES, answers, strict=True)
    }


async def pages(sidecar: SidecarProcess) -> dict[str, int]:
    paths = ("/livez", "/readyz", "/startupz")
    return {path: (await raw_http.request("GET", sidecar.probe(path))).status for path in paths}


@pytest.mark.covers("B-61", "B-62")
async def test_every_port_tells_the_same_truth_through_the_whole_life():
    async with FakeServer() as up:
        with sidecar_process({"up": up.url}, environ={"MCP_SIDECAR_DRAIN_LAME_DUCK": "400ms"}) as sidecar:
            for port in ("grpc", "health"):
                assert set((await told(sidecar.bound[port])).values()) == {"SERVING"}
            assert set((await pages(sidecar)).values()) == {200}

            await up.stop()
            assert (await Modern(sidecar.url("up")).call("echo", {"text": "hi"})).status == 502
            for port in ("grpc", "health"):
                said = await told(sidecar.bound[port])
                assert said.pop("upstream/up") == "NOT_SERVING"
                assert set(said.values()) == {"SERVING"}
            assert set((await pages(sidecar)).values()) == {200}
            await up.start()
            assert (await Modern(sidecar.url("up")).call("echo", {"text": "hi"})).status == 200
            assert (await told(sidecar.bound["grpc"]))["upstream/up"] == "SERVING"

            sidecar.signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                while (await pages(sidecar))["/readyz"] != 503:
                    pass
            assert await pages(sidecar) == {"/livez": 200, "/readyz": 503, "/startupz": 200}
            for port in ("grpc", "health"):
                said = await told(sidecar.bound[port])
                assert {said[service] for service in ("", "readiness", "mcp_sidecar.v1.MCPEngine")} == {"NOT_SERVING"}
                assert {said[service] for service in ("startup", "liveness", "upstream/up")} == {"SERVING"}
            # Whoever has not heard of it yet is still served.
            assert (await Modern(sidecar.url("up")).call("echo", {"text": "hi"})).status == 200
            assert await sidecar.ended() == 0
            assert up.violations == []
