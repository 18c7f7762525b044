"""An MCP server on the official SDK whose tools write into a ledger that they ran."""

from __future__ import annotations

import os

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from tests.cluster.programs.ledger import Ledger

PORT = int(os.environ.get("PORT", "8080"))


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
    ledger.note("server started")
    uvicorn.run(application, host="0.0.0.0", port=PORT, log_level="warning")
    ledger.note("server ended")


main()
