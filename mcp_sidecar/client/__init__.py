"""The Python client of the sidecar's gRPC API; knows its messages and errors, and nothing of what is behind them."""

from mcp_sidecar.client.conversation import Conversation
from mcp_sidecar.client.failures import McpError, SidecarUnreachable
from mcp_sidecar.client.messages import ToolResult
from mcp_sidecar.client.sidecar import DEFAULT_ADDRESS, SidecarClient
from mcp_sidecar.v1.connections_pb2 import Connection, ConnectionState, EndpointState, Server, ServerState
from mcp_sidecar.v1.engine_pb2 import CallInfo

__all__ = [
    "DEFAULT_ADDRESS",
    "CallInfo",
    "Connection",
    "ConnectionState",
    "Conversation",
    "EndpointState",
    "McpError",
    "Server",
    "ServerState",
    "SidecarClient",
    "SidecarUnreachable",
    "ToolResult",
]
