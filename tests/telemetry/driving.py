"""A sidecar process that tells a collector everything, and what it is asked. Knows no signal's meaning."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping

import grpc.aio

from mcp_sidecar.v1 import engine_pb2, engine_pb2_grpc
from tests.support.otlp import Collector
from tests.support.raw_mcp import Legacy, Modern
from tests.support.sidecar_process import SidecarProcess, sidecar_process

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE = PARENT[3:35]


@contextlib.contextmanager
def telling(
    collector: Collector, upstreams: Mapping[str, str], *words: str, way: str = "grpc", **environ: str
) -> Iterator[SidecarProcess]:
    """A sidecar that traces every call and exports metrics often."""
    usual = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": getattr(collector, way),
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if way == "grpc" else "http/protobuf",
        "OTEL_TRACES_SAMPLER": "parentbased_always_on",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "OTEL_LOGS_EXPORTER": "otlp",
    }
    with sidecar_process(upstreams, *words, environ={**usual, **environ}) as sidecar:
        yield sidecar


async def ended(sidecar: SidecarProcess) -> None:
    """It is told to go, and has gone well."""
    sidecar.signal(signal.SIGTERM)
    assert await sidecar.ended() == 0
    assert sidecar.err.read_text() == ""


async def of_modern(sidecar: SidecarProcess) -> None:
    assert (await Modern(sidecar.url("up")).call("echo", {"text": "hi"}, traceparent=PARENT)).status == 200


async def of_legacy(sidecar: SidecarProcess, server: str = "up") -> None:
    client = Legacy(sidecar.url(server))
    await client.initialize()
    assert (await client.call("echo", {"text": "hi"}, traceparent=PARENT)).status == 200
    await client.close()


async def of_grpc(sidecar: SidecarProcess) -> None:
    async with grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
        request = engine_pb2.CallToolRequest(server="up", tool="echo", arguments_json=b'{"text": "hi"}')
        await engine_pb2_grpc.MCPEngineStub(channel).CallTool(request, metadata=(("traceparent", PARENT),))


CALLERS: dict[str, Callable[[SidecarProcess], Awaitable[None]]] = {
    "modern": of_modern,
    "legacy": of_legacy,
    "grpc": of_grpc,
}
