"""Every name that spans carry, in one table: no other leaves the process. Knows no span.

Names without our own prefix are those of the OpenTelemetry conventions: MCP and GenAI (development), RPC, network.
"""

from __future__ import annotations

from typing import Final

CLIENT_ADDRESS: Final = "client.address"
CLIENT_PORT: Final = "client.port"
CONNECTION_ID: Final = "mcp_sidecar.connection.id"
ERROR_TYPE: Final = "error.type"
EXECUTION: Final = "mcp_sidecar.execution"
LEGS_LOST: Final = "mcp_sidecar.legs.lost"
MCP_METHOD: Final = "mcp.method.name"
MCP_VERSION: Final = "mcp.protocol.version"
MESSAGE_ID: Final = "jsonrpc.request.id"
OPERATION: Final = "gen_ai.operation.name"
PROMPT: Final = "gen_ai.prompt.name"
PROTOCOL_NAME: Final = "network.protocol.name"
PROTOCOL_VERSION: Final = "network.protocol.version"
REQUEST_ID: Final = "mcp_sidecar.request.id"
RESOURCE_URI: Final = "mcp.resource.uri"
# Of MCP spans. The core conventions renamed it after 1.44, those of GenAI pin this one (docs/decisions/0032).
RPC_STATUS: Final = "rpc.response.status_code"
# A session's id lets its holder speak in it: this is a digest of it (docs/decisions/0032).
SESSION_ID: Final = "mcp.session.id"
SERVER: Final = "mcp_sidecar.server"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
TOOL: Final = "gen_ai.tool.name"
TRANSPORT: Final = "network.transport"

NAMED: Final = {
    "tools/call": TOOL,
    "prompts/get": PROMPT,
    "resources/read": RESOURCE_URI,
    "resources/subscribe": RESOURCE_URI,
    "resources/unsubscribe": RESOURCE_URI,
}
"""By method, what it is that a message names; ids of tasks are no such thing."""

SPAN_ATTRIBUTES: Final = frozenset(
    value for name, value in list(globals().items()) if name.isupper() and isinstance(value, str)
)
"""What a span may carry."""
