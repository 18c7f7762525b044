"""An MCP server on the official Python SDK 2.x, which speaks both eras: `python -m … PORT` or `… stdio`.

Without event ids.
"""

from __future__ import annotations

import sys

import uvicorn
from mcp.server import MCPServer

from tests.support.servers.sdk2_dialogue import furnish_dialogue
from tests.support.servers.sdk_tools import furnish


def main() -> None:
    server = MCPServer("sdk2", log_level="WARNING")
    furnish(server)
    furnish_dialogue(server)
    if sys.argv[1] == "stdio":
        server.run("stdio")
        return
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
