"""Calls that fail with large messages and large answers, on the live ports: what they weighed does not stay."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import grpc.aio
import msgspec
import pytest

from mcp_sidecar.v1 import engine_pb2 as pb
from mcp_sidecar.v1 import engine_pb2_grpc
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Legacy, Modern
from tests.support.sidecar_process import SidecarProcess, sidecar_process

TIMES = 6
MAX_GROWTH = 60 * 1024 * 1024
HEAVY = {"text": "x" * 3_500_000}
LONG = "n" * 3_500_000
LONGEST_ANSWER = 4096
VERSION = "io.modelcontextprotocol/protocolVersion"
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


async def _refusals(sidecar: SidecarProcess, engine: Any) -> None:
    """Of calls that name what is not there by the megabyte, on every face."""
    requests = (
        engine.Call(pb.CallRequest(server=LONG, message_json=_request("tools/list"))),
        engine.Call(pb.CallRequest(server="up", message_json=_request("tools/list", _meta={VERSION: LONG}))),
        engine.Call(pb.CallRequest(message_json=_request("tools/call", name=LONG))),
        engine.CallTool(pb.CallToolRequest(server=LONG, tool="echo")),
        engine.CallTool(pb.CallToolRequest(server="up", tool=LONG, arguments_json=b"{}")),
        engine.Call(pb.CallRequest(server="up", message_json=_request("resources/read", uri=f"fake://item/{LONG}"))),
    )
    for request in requests:
        with suppress(grpc.aio.AioRpcError):
            await request
    stream = engine.BiDiStream()
    await stream.write(pb.ClientFrame(message_json=_request("tools/list", _meta={VERSION: LONG})))
    assert len((await stream.read()).message_json) < LONGEST_ANSWER
    await stream.done_writing()
    client = Legacy(sidecar.url())
    await client.initialize()
    for reply in (
        await client.call(LONG),
        await Modern(sidecar.url("up")).request("tools/list", None, **{VERSION: LONG}),
        await raw_http.post(sidecar.url("up"), {"jsonrpc": LONG, "id": 1, "method": "ping"}),
    ):
        assert len(reply.body) < LONGEST_ANSWER
    await client.close()


def _request(method: str, **params: Any) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


@pytest.mark.covers("B-425")
async def test_long_names_in_refused_calls_stay_neither_in_memory_nor_among_the_last_calls():
    async with FakeServer() as one, FakeServer() as other:
        with sidecar_process({"up": one.url, "other": other.url}) as sidecar:
            async with asyncio.timeout(60), grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
                engine = engine_pb2_grpc.MCPEngineStub(channel)
                for _ in range(TIMES):  # what the allocator holds back is not what stays
                    await _refusals(sidecar, engine)
                before = sidecar.resident_bytes
                for _ in range(3 * TIMES):  # 18 MB stayed of each
                    await _refusals(sidecar, engine)
                assert sidecar.resident_bytes - before < 2 * MAX_GROWTH
                async with raw_http.opened("GET", f"http://{sidecar.bound['http']}/api/events") as watching:
                    told = [await anext(watching.events()) for _ in range(2)]
                assert sum(len(str(event)) for event in told) < 400_000
                assert max(map(len, sidecar.out.read_text().splitlines())) < LONGEST_ANSWER
