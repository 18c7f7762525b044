"""Wake-ups of gRPC looked at together, and calls accepted the short way, lose nothing (docs/decisions/0011)."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import grpc.aio

from mcp_sidecar.v1 import engine_pb2, engine_pb2_grpc
from tests.support.fake_server import FakeServer
from tests.support.sidecar_process import sidecar_process

ECHO = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"}}}'


async def test_a_thousand_calls_in_bursts_all_come_to_their_end():
    async with FakeServer() as up:
        with sidecar_process({"up": up.url}) as sidecar:
            async with grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel, asyncio.timeout(30):
                stub = engine_pb2_grpc.MCPEngineStub(channel)
                for _ in range(10):
                    request = engine_pb2.CallRequest(message_json=ECHO)
                    answers = await asyncio.gather(*(stub.Call(request) for _ in range(100)))
                    assert all(b'"hi"' in answer.message_json for answer in answers)


SPY = """
import asyncio, grpc.aio
from grpc._cython import cygrpc
from mcp_sidecar.inbound.grpc import accepting, wakeups

class Spy(wakeups.Loop):
    def add_reader(self, fd, callback, *args):
        print(wakeups._is_grpcs(callback))
        super().add_reader(fd, callback, *args)

async def wait(futures, **options):
    print(len(futures))
    return await accepting.wait(futures, **options)

async def serve():
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    cygrpc.asyncio.wait = wait
    await server.start()
    await asyncio.sleep(0.1)
    await server.stop(None)

with asyncio.Runner(loop_factory=Spy) as runner:
    runner.run(serve())
"""


def test_the_reader_of_this_grpc_is_one_that_was_looked_at():
    """Else a new release of grpcio is here: see that its reader still takes all events at once, and add its series."""
    ran = subprocess.run([sys.executable, "-c", SPY], capture_output=True, timeout=30, check=True)
    assert ran.stdout.split() == [b"True", b"1"], "the reader is known, and the accept loop waits for one future"
    assert ran.stderr == b""
