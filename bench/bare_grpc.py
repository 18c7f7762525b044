"""A grpc.aio server on uvloop whose Call returns a ready answer at once: the floor of the gRPC face. Knows no MCP.

Usage: python -m bench.bare_grpc PORT PAYLOAD_BYTES
"""

from __future__ import annotations

import asyncio
import sys

import grpc.aio
import uvloop

from mcp_sidecar.v1 import engine_pb2

SERVICE = "mcp_sidecar.v1.MCPEngine"
ANSWER = (
    b'{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[{"type":"text","text":"%s"}],"isError":false,'
    b'"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"mcpup","version":"1"}}}}'
)


async def serve(port: int, payload: int) -> None:
    """Serves until it is killed."""
    ready = engine_pb2.CallResponse(message_json=ANSWER % (b"a" * payload))

    async def call(
        _request: engine_pb2.CallRequest, _context: grpc.aio.ServicerContext[object, object]
    ) -> engine_pb2.CallResponse:
        return ready

    method = grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=engine_pb2.CallRequest.FromString,
        response_serializer=engine_pb2.CallResponse.SerializeToString,
    )
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    # Generic registration only: the registered methods of generated code cost a few percent in the accept loop.
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Call": method}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), int(sys.argv[2])))
