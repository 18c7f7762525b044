"""How the client's channel behaves: limits, reconnects, and which RPCs are repeated; knows no message."""

from __future__ import annotations

import json

_MAX_MESSAGE = 16 * 1024 * 1024
_READ_ONLY = {
    "mcp_sidecar.v1.MCPEngine": ("ListTools",),
    "mcp_sidecar.v1.ConnectionManager": ("ListServers", "ListConnections", "GetConnection"),
}
_RETRY = {
    "maxAttempts": 3,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
# Only RPCs that change nothing are repeated: a CallTool that ended UNAVAILABLE may have run.
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {"name": [{"service": service, "method": method} for method in methods], "retryPolicy": _RETRY}
            for service, methods in _READ_ONLY.items()
        ]
    }
)
CHANNEL_OPTIONS = (
    ("grpc.service_config", _SERVICE_CONFIG),
    # A proxy named in the environment is meant for the internet, not for a neighbour on the loopback interface.
    ("grpc.enable_http_proxy", 0),
    # The sidecar is in the same pod: it is back within a second or not at all.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    # Bounds what a stream nobody reads can park in this process.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * 1024),
)
