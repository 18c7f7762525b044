"""The fixture behind nothing but a BiDiStream, to prove the shim without a sidecar: `python -m … PORT`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import anyio
import grpc.aio
import mcp_types as types
from anyio.streams.memory import MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from mcp_sidecar.v1 import engine_pb2 as pb
from tests.conformance.fixture.dual import server


async def _converse(frames: AsyncIterator[pb.ClientFrame], context: Any) -> None:
    """One conversation with a server of its own."""
    heard, to_read = anyio.create_memory_object_stream[SessionMessage | Exception](16)
    to_write, said = anyio.create_memory_object_stream[SessionMessage](16)
    fixture = server()
    async with asyncio.TaskGroup() as tasks, said:
        tasks.create_task(_hear(frames, heard), name="hear")
        tasks.create_task(fixture.run(to_read, to_write, fixture.create_initialization_options()), name="serve")
        async for spoken in said:
            text = spoken.message.model_dump_json(by_alias=True, exclude_none=True)
            await context.write(pb.ServerFrame(message_json=text.encode()))


async def _hear(
    frames: AsyncIterator[pb.ClientFrame], heard: MemoryObjectSendStream[SessionMessage | Exception]
) -> None:
    async with heard:
        async for frame in frames:
            if frame.HasField("message_json"):
                message = types.jsonrpc_message_adapter.validate_json(frame.message_json)
                await heard.send(SessionMessage(message))


async def main(port: int) -> None:
    handler = grpc.stream_stream_rpc_method_handler(
        _converse,
        request_deserializer=pb.ClientFrame.FromString,
        response_serializer=pb.ServerFrame.SerializeToString,
    )
    engine = grpc.aio.server()
    engine.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("mcp_sidecar.v1.MCPEngine", {"BiDiStream": handler}),)
    )
    engine.add_insecure_port(f"127.0.0.1:{port}")
    await engine.start()
    await engine.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
