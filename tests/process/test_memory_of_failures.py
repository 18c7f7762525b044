"""Calls that fail with large messages and large answers, on the live ports: what they weighed does not stay."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import grpc.aio
import pytest

from mcp_sidecar.v1 import engine_pb2 as pb
from mcp_sidecar.v1 import engine_pb2_grpc
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import SidecarProcess, sidecar_process

TIMES = 6
MAX_GROWTH = 60 * 1024 * 1024
HEAVY = {"text": "x" * 3_500_000}
RUDE = ("oversized", "closes_mid_sse", "wrong_id")


async def _over_grpc(engine: Any, server: str, tool: str, arguments: dict[str, Any], timeout: float = 10.0) -> None:
    with suppress(grpc.aio.AioRpcError):
        request = pb.CallToolRequest(server=server, tool=tool, arguments_json=json.dumps(arguments).encode())
        await engine.CallTool(request, timeout=timeout)
        raise AssertionError(f"{tool} went well")


async def _over_http(sidecar: SidecarProcess, server: str, tool: str) -> None:
    assert (await Modern(sidecar.url(server)).call(tool, HEAVY)).status in (404, 502)


async def _failures(sidecar: SidecarProcess, engine: Any) -> None:
    for tool in RUDE:
        await _over_grpc(engine, "up", tool, HEAVY)
        await _over_http(sidecar, "up", tool)
    await _over_grpc(engine, "up", "never_answers", HEAVY, timeout=0.1)
    await _over_grpc(engine, "nobody", "echo", HEAVY)
    await _over_http(sidecar, "nobody", "echo")


@pytest.mark.covers("B-410")
async def test_what_failed_calls_weighed_does_not_stay_in_memory():
    async with FakeServer(script={tool: tool for tool in (*RUDE, "never_answers")}) as up:
        with sidecar_process({"up": up.url}) as sidecar:
            async with asyncio.timeout(60), grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
                engine = engine_pb2_grpc.MCPEngineStub(channel)
                await _failures(sidecar, engine)
                before = sidecar.resident_bytes
                for _ in range(TIMES):
                    await _failures(sidecar, engine)
                assert sidecar.resident_bytes - before < MAX_GROWTH
