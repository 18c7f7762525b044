"""The event loop comes first: every other thread of a serving process waits for it (docs/decisions/0011)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import grpc.aio

from mcp_sidecar import priority
from mcp_sidecar.v1 import engine_pb2, engine_pb2_grpc
from tests.support.fake_server import FakeServer
from tests.support.sidecar_process import sidecar_process

ECHO = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"}}}'


def policies_of(process: int) -> dict[int, int]:
    """The scheduling policy of each thread."""
    threads = [int(thread.name) for thread in Path(f"/proc/{process}/task").iterdir()]
    return {thread: os.sched_getscheduler(thread) for thread in threads}


async def test_all_threads_but_the_event_loops_are_helpers():
    async with FakeServer() as up:
        with sidecar_process({"up": up.url}) as sidecar:
            async with grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
                stub = engine_pb2_grpc.MCPEngineStub(channel)
                await asyncio.gather(*(stub.Call(engine_pb2.CallRequest(message_json=ECHO)) for _ in range(50)))
            policies = policies_of(sidecar.process.pid)
            assert policies.pop(sidecar.process.pid) == os.SCHED_OTHER
            assert len(policies) >= 3
            assert set(policies.values()) == {os.SCHED_BATCH}


def test_a_thread_that_started_helpers_is_what_it_was_before():
    before = os.sched_getscheduler(0)
    priority.start_helpers()
    assert os.sched_getscheduler(0) == os.SCHED_BATCH
    priority.end_helpers()
    assert os.sched_getscheduler(0) == before
