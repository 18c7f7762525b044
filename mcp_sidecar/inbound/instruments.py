"""Every instrument in one table: its names on the Prometheus page and in OTLP, its unit, its labels. Measures nothing.

Names without our own prefix are those of OpenTelemetry's conventions (MCP, RPC, process) and of Prometheus's clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# Bounds in seconds, as the MCP and RPC semantic conventions of OpenTelemetry fix them.
OPERATION_BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
RPC_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
# What the sidecar adds is far below their first bound.
OVERHEAD_BOUNDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

OPERATION_SECONDS = "mcp_server_operation_duration_seconds"
CLIENT_SECONDS = "mcp_client_operation_duration_seconds"
SESSION_SECONDS = "mcp_server_session_duration_seconds"
RPC_SECONDS = "rpc_server_call_duration_seconds"
OVERHEAD_SECONDS = "mcp_sidecar_overhead_duration_seconds"
CALLS = "mcp_sidecar_calls_total"
RETRIES = "mcp_sidecar_retries_total"
SHED = "mcp_sidecar_shed_total"
TRACES_CAPPED = "mcp_sidecar_traces_capped_total"
TELEMETRY_DROPPED = "mcp_sidecar_telemetry_dropped_total"
LOG_LINES_DROPPED = "mcp_sidecar_log_lines_dropped"
IN_FLIGHT = "mcp_sidecar_inflight"
CONNECTIONS = "mcp_sidecar_connections"
SESSIONS = "mcp_sidecar_sessions"
UPSTREAMS = "mcp_sidecar_upstreams"
DRAIN_STATE = "mcp_sidecar_drain_state"
LOOP_LAG = "mcp_sidecar_loop_lag_seconds"
MEMORY = "process_resident_memory_bytes"
FILES = "process_open_fds"
CPU_SECONDS = "process_cpu_seconds_total"

Kind = Literal["histogram", "counter", "gauge"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument. `otlp` and `attributes` (by label) are its names in OTLP; `bounds` are those of a histogram."""

    kind: Kind
    otlp: str
    unit: str
    text: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()


_MCP = {
    "method": "mcp.method.name",
    "tool": "gen_ai.tool.name",
    "server": "mcp_sidecar.server",
    "code": "mcp_sidecar.code",
    "error": "error.type",
}

TABLE: Mapping[str, Instrument] = {
    OPERATION_SECONDS: Instrument(
        "histogram",
        "mcp.server.operation.duration",
        "s",
        "Duration of MCP requests, from arrival to answer.",
        _MCP,
        OPERATION_BOUNDS,
    ),
    CLIENT_SECONDS: Instrument(
        "histogram",
        "mcp.client.operation.duration",
        "s",
        "Duration of exchanges with MCP servers, each attempt by itself.",
        _MCP,
        OPERATION_BOUNDS,
    ),
    SESSION_SECONDS: Instrument(
        "histogram",
        "mcp.server.session.duration",
        "s",
        "How long sessions of 2025-era clients lasted.",
        {},
        OPERATION_BOUNDS,
    ),
    RPC_SECONDS: Instrument(
        "histogram",
        "rpc.server.call.duration",
        "s",
        "Duration of gRPC calls to the sidecar.",
        {"rpc_method": "rpc.method", "code": "rpc.response.status_code"},
        RPC_BOUNDS,
    ),
    OVERHEAD_SECONDS: Instrument(
        "histogram",
        "mcp_sidecar.overhead.duration",
        "s",
        "Time of MCP requests that was not spent waiting for a server.",
        {},
        OVERHEAD_BOUNDS,
    ),
    CALLS: Instrument(
        "counter",
        "mcp_sidecar.calls",
        "{call}",
        "Calls ended, by status code and by whether they may have run.",
        {"code": "mcp_sidecar.code", "execution": "mcp_sidecar.execution"},
    ),
    RETRIES: Instrument(
        "counter",
        "mcp_sidecar.retries",
        "{retry}",
        "Attempts after the first, by what failed.",
        {"reason": "error.type"},
    ),
    SHED: Instrument(
        "counter", "mcp_sidecar.shed", "{call}", "Calls refused for want of room, by reason.", {"reason": "error.type"}
    ),
    TRACES_CAPPED: Instrument(
        "counter", "mcp_sidecar.traces.capped", "{call}", "Calls not traced although their callers wanted it."
    ),
    TELEMETRY_DROPPED: Instrument(
        "counter",
        "mcp_sidecar.telemetry.dropped",
        "{item}",
        "Spans, metric exports and log records that no collector has taken.",
        {"signal": "mcp_sidecar.signal"},
    ),
    LOG_LINES_DROPPED: Instrument("gauge", "mcp_sidecar.log.lines.dropped", "{line}", "Log lines that nobody read."),
    IN_FLIGHT: Instrument("gauge", "mcp_sidecar.inflight", "{call}", "Calls admitted and not yet ended."),
    CONNECTIONS: Instrument("gauge", "mcp_sidecar.connections", "{connection}", "Connections to MCP servers."),
    SESSIONS: Instrument("gauge", "mcp_sidecar.sessions", "{session}", "Sessions of 2025-era clients."),
    UPSTREAMS: Instrument(
        "gauge",
        "mcp_sidecar.upstreams",
        "{upstream}",
        "MCP servers by state: up, down, or unknown as long as nobody has called them.",
        {"state": "mcp_sidecar.state"},
    ),
    DRAIN_STATE: Instrument(
        "gauge", "mcp_sidecar.drain.state", "1", "0 starting, 1 serving, 2 lame duck, 3 draining, 4 stopped."
    ),
    LOOP_LAG: Instrument("gauge", "mcp_sidecar.loop.lag", "s", "How late the event loop last came round."),
    MEMORY: Instrument("gauge", "process.memory.usage", "By", "Resident memory size in bytes."),
    FILES: Instrument(
        "gauge", "process.unix.file_descriptor.count", "{file_descriptor}", "Number of open file descriptors."
    ),
    CPU_SECONDS: Instrument("counter", "process.cpu.time", "s", "User and system CPU time spent, in seconds."),
}
"""By the name on the Prometheus page."""
