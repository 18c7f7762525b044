"""An engine that notes what goes through it, for operators who want to see payloads. Knows no page.

Another class and not a question in the engine: without `admin.payloads` nothing is asked for any call.
"""

from __future__ import annotations

from collections.abc import Coroutine

from mcp_sidecar.call import Call, Payloads
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.outbound.link import Sink
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request, Response

MOST_BYTES = 4096
"""Of a request and of an answer; with 200 calls that is 1.6 MB."""


class Overheard(Engine):
    """Every call that a client made has its payloads."""

    def run(self, call: Call, request: Request, server: str, sink: Sink) -> Coroutine[None, None, Response]:
        if call.part:
            return super().run(call, request, server, sink)
        payloads = call.payloads = Payloads(jsonrpc.encode_object(request.params)[:MOST_BYTES])
        return _noted(super().run(call, request, server, sink), payloads)


async def _noted(running: Coroutine[None, None, Response], payloads: Payloads) -> Response:
    response = await running
    payloads.answer = (response.result or response.error or b"")[:MOST_BYTES]
    return response
