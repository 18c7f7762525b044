"""`bench.sink` over gRPC: a collector that keeps nothing, well or sick. Measures nothing.

Usage: python -m bench.grpc_sink PORT [ok|slow|hung|busy]
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from bench.sink import pause


class Sink(grpc.GenericRpcHandler):
    """Answers whatever is called with an empty message, late, never or with UNAVAILABLE."""

    def __init__(self, mode: str) -> None:
        self._mode = mode

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return grpc.unary_unary_rpc_method_handler(self._take)

    def _take(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        if self._mode == "busy":
            context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        pause(self._mode)
        return b""


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(64), handlers=[Sink((sys.argv[2:] or ["ok"])[0])])
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()
