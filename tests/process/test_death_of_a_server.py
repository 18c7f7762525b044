"""An MCP server that is killed in the middle of calls: what its callers are told, how soon, and what happens later."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc.aio
import pytest

from mcp_sidecar.v1 import connections_pb2, connections_pb2_grpc, engine_pb2, engine_pb2_grpc
from tests.inbound.http.posts import META, message
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import run, sidecar_process

ROOT = Path(__file__).resolve().parents[2]
# The promise is 100 ms; the rest is the machine's: it may be busy with other things.
PROMISED, PATIENCE = 0.1, 0.4


@contextmanager
def server(era: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A fake server in a process of its own, and its port."""
    command = [sys.executable, "-m", "tests.support.servers.fake_process", era, str(port)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@pytest.mark.covers("B-15", "B-22", "B-23", "B-53")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_server_killed_in_mid_call_is_told_at_once_and_found_again_later(era):
    with server(era) as (process, port), sidecar_process({"up": f"http://127.0.0.1:{port}/mcp"}) as sidecar:
        async with grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel, asyncio.TaskGroup() as tasks:
            engine = engine_pb2_grpc.MCPEngineStub(channel)
            params = {"name": "hold", "arguments": {"gate": "never"}}
            body = message(params={**params, "_meta": {**META, "progressToken": 1}})
            hold = engine_pb2.CallRequest(server="up", message_json=body)
            async with Modern(sidecar.url("up")).opened("tools/call", params, progressToken=1) as posted:
                messages = posted.messages()
                assert (await anext(messages))["method"] == "notifications/progress"
                stream = engine.CallStream(hold)
                assert (await stream.read()).WhichOneof("event") == "notification_json"  # type: ignore[attr-defined]
                plain = tasks.create_task(_failure(engine.Call(hold)))
                await asyncio.sleep(0.03)

                killed = time.monotonic()
                process.kill()
                assert await plain == "UNAVAILABLE unknown"
                assert await _failure(stream.read()) == "UNAVAILABLE unknown"
                error = (await anext(messages))["error"]
                took = time.monotonic() - killed
            assert error["data"]["execution"] == "unknown"
            assert took < PROMISED + PATIENCE

            # While it is down: nothing ran, and that is said quickly too. It ends its port last.
            await asyncio.to_thread(process.wait, 10)
            assert await _failure(engine.Call(hold)) == "UNAVAILABLE none"
            code, _, err = await run("tools", "up", "--address", sidecar.bound["grpc"])
            assert code == 69
            assert "up" in err

            connections = connections_pb2_grpc.ConnectionManagerStub(channel)
            assert await _state(connections) == "CONNECTION_STATE_DISCONNECTED"
            with server(era, port):
                async with asyncio.timeout(10):
                    while await _state(connections) != "CONNECTION_STATE_CONNECTED":  # noqa: ASYNC110 - in another process
                        await asyncio.sleep(0.02)
                reply = await Modern(sidecar.url("up")).call("echo", {"text": "back"})
                assert reply.status == 200
                answer = await engine.CallTool(
                    engine_pb2.CallToolRequest(server="up", tool="add", arguments_json=b'{"a":1,"b":2}')
                )
                assert b'"3"' in answer.result_json


async def _state(connections: connections_pb2_grpc.ConnectionManagerAsyncStub) -> str:
    """Of the one connection there is."""
    answer = await connections.ListConnections(connections_pb2.ListConnectionsRequest())
    (connection,) = answer.connections
    return connections_pb2.ConnectionState.Name(connection.state)


async def _failure(waiting: object) -> str:
    try:
        async with asyncio.timeout(5):
            await waiting  # type: ignore[misc]
    except grpc.aio.AioRpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        return f"{error.code().name} {trailers.get('mcp-sidecar-execution')}"
    return "OK"
