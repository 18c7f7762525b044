"""An MCP server on the official Python SDK 1.x, 2025 only: `python -m … PORT [stateless|sse]`, or `… stdio`.

Over Streamable HTTP with event ids and `retry`, unless it keeps no sessions.

Runs in an environment of its own, in which that version is installed; type checkers see the other one.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

from tests.support.servers.sdk1_dialogue import furnish_dialogue
from tests.support.servers.sdk_tools import Events, furnish

_RETRY_MS = 20


def main() -> None:
    from mcp.server import fastmcp  # only this version has it

    module: Any = fastmcp
    if sys.argv[2:] == ["stateless"]:
        server = module.FastMCP("sdk1", log_level="WARNING", stateless_http=True)
    else:
        server = module.FastMCP("sdk1", log_level="WARNING", event_store=Events(), retry_interval=_RETRY_MS)
    furnish(server)
    furnish_dialogue(server)
    if sys.argv[1] == "stdio":
        server.run("stdio")
        return
    app = server.sse_app() if sys.argv[2:] == ["sse"] else server.streamable_http_app()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
