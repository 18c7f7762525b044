"""An MCP server on the official SDK whose tools write into a ledger that they ran."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import Response

from tests.cluster.programs.ledger import Ledger

UNREADY = Path("/tmp/unready")
PORT = int(os.environ.get("PORT", "8080"))


def ready(_: Request) -> Response:
    """Whether it wants calls; a file says no."""
    return Response(status_code=503 if UNREADY.exists() else 200)


def main() -> None:
    ledger = Ledger()
    server = MCPServer("record", log_level="WARNING")

    @server.tool()
    async def record(call: str, seconds: float = 0.0) -> str:
        """Write the name of the call into the ledger, after so many seconds."""
        await anyio.sleep(seconds)
        ledger.note("ran", id=call)
        return call

    # The sidecar calls it by a pod's address, a Service's name, or loopback.
    anybody = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    application = server.streamable_http_app(host="0.0.0.0", transport_security=anybody)
    application.add_route("/ready", ready)
    ledger.note("server started")
    uvicorn.run(application, host="0.0.0.0", port=PORT, log_level="warning")
    ledger.note("server ended")


main()
