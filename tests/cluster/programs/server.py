"""An MCP server on the official SDK whose tools write into a ledger that they ran."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import FrameType

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.cluster.programs.ledger import Ledger

UNREADY = Path("/tmp/unready")
PORT = int(os.environ.get("PORT", "8080"))
_LEAVING_SECONDS = 1.0


class Server(uvicorn.Server):
    """Says in every answer that the connection closes, for a second before it does.

    uvicorn alone closes connections unannounced: a call that is being written to one is lost, whoever the client is.
    """

    leaving = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.leaving:
            self.leaving = True
            asyncio.get_running_loop().call_later(_LEAVING_SECONDS, super().handle_exit, sig, frame)

    def announcing(self, application: ASGIApp) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            async def announce(message: Message) -> None:
                if self.leaving and message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
                await send(message)

            await application(scope, receive, announce)

        return serve


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
    config = uvicorn.Config(application, host="0.0.0.0", port=PORT, log_level="warning")
    uvicorn_server = Server(config)
    config.app = uvicorn_server.announcing(application)
    uvicorn_server.run()
    ledger.note("server ended")


main()
