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

# From the pause of a thread to the longest that anybody waits for a connection.
WAIT_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

OPERATION_SECONDS = "mcp_server_operation_duration_seconds"
CLIENT_SECONDS = "mcp_client_operation_duration_seconds"
SESSION_SECONDS = "mcp_server_session_duration_seconds"
CLIENT_SESSION_SECONDS = "mcp_client_session_duration_seconds"
RPC_SECONDS = "rpc_server_call_duration_seconds"
CLIENT_RPC_SECONDS = "rpc_client_call_duration_seconds"
OVERHEAD_SECONDS = "mcp_sidecar_overhead_duration_seconds"
CALLS = "mcp_sidecar_calls_total"
RETRIES = "mcp_sidecar_retries_total"
SHED = "mcp_sidecar_shed_total"
QUEUE_DEPTH = "mcp_sidecar_queue_depth"
QUEUE_WAIT = "mcp_sidecar_queue_wait_seconds"
TRACES_CAPPED = "mcp_sidecar_traces_capped_total"
TELEMETRY_DROPPED = "mcp_sidecar_telemetry_dropped_total"
LOG_LINES_DROPPED = "mcp_sidecar_log_lines_dropped"
IN_FLIGHT = "mcp_sidecar_inflight"
CONNECTIONS = "mcp_sidecar_connections"
SESSIONS = "mcp_sidecar_sessions"
UPSTREAMS = "mcp_sidecar_upstreams"
ENDPOINTS = "mcp_sidecar_endpoints"
BREAKER = "mcp_sidecar_breaker_transitions_total"
DISCOVERY_AGE = "mcp_sidecar_discovery_age_seconds"
WATCH_RESTARTS = "mcp_sidecar_watch_restarts_total"
CATALOGUE = "mcp_sidecar_catalogue_changes_total"
CONFIG_GENERATION = "mcp_sidecar_config_generation"
RELOAD_FAILURES = "mcp_sidecar_config_reload_failures_total"
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
    always: Mapping[str, str] = field(default_factory=dict)
    """Attributes in OTLP that have one value only."""


# As the core conventions call it after 1.44; those of MCP spans have another name (docs/decisions/0032).
_RPC = {"rpc_method": "rpc.method", "code": "rpc.status_code"}
_GRPC = {"rpc.system.name": "grpc"}
_FILES = {"kind": "mcp_sidecar.config.kind"}
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
    CLIENT_SESSION_SECONDS: Instrument(
        "histogram",
        "mcp.client.session.duration",
        "s",
        "How long the sidecar's sessions at servers of the 2025 era lasted.",
        {},
        OPERATION_BOUNDS,
    ),
    RPC_SECONDS: Instrument(
        "histogram", "rpc.server.call.duration", "s", "Duration of gRPC calls to the sidecar.", _RPC, RPC_BOUNDS, _GRPC
    ),
    CLIENT_RPC_SECONDS: Instrument(
        "histogram",
        "rpc.client.call.duration",
        "s",
        "Duration of gRPC calls to other sidecars.",
        _RPC,
        RPC_BOUNDS,
        _GRPC,
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
        "Calls ended, those of kubelets that ask for health too, by status code and by whether they may have run.",
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
    QUEUE_DEPTH: Instrument("gauge", "mcp_sidecar.queue.depth", "{call}", "Calls that wait for a connection."),
    QUEUE_WAIT: Instrument(
        "histogram",
        "mcp_sidecar.queue.wait",
        "s",
        "How long calls waited that had to wait for a connection.",
        {},
        WAIT_BOUNDS,
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
    ENDPOINTS: Instrument(
        "gauge",
        "mcp_sidecar.endpoints",
        "{endpoint}",
        "Endpoints of MCP servers by state: ready, avoided because they failed a moment ago, or leaving.",
        {"state": "mcp_sidecar.state"},
    ),
    BREAKER: Instrument(
        "counter",
        "mcp_sidecar.breaker.transitions",
        "{transition}",
        "Endpoints that were found broken (avoided) or answered again (ready).",
        {"server": "mcp_sidecar.server", "state": "mcp_sidecar.state"},
    ),
    DISCOVERY_AGE: Instrument(
        "gauge",
        "mcp_sidecar.discovery.age",
        "s",
        "Time since the last good answer of whoever knows the servers, of several the oldest.",
    ),
    WATCH_RESTARTS: Instrument(
        "counter",
        "mcp_sidecar.watch.restarts",
        "{restart}",
        "Watches of the Kubernetes API that had to be begun anew.",
        {"reason": "error.type"},
    ),
    CATALOGUE: Instrument(
        "counter",
        "mcp_sidecar.catalogue.changes",
        "{change}",
        "Changes of what servers offer: announced by them, or found in a list that was read again.",
        {"server": "mcp_sidecar.server", "how": "mcp_sidecar.how"},
    ),
    CONFIG_GENERATION: Instrument(
        "gauge",
        "mcp_sidecar.config.generation",
        "{generation}",
        "How often files were read anew that others replace: credentials, tls, auth.",
        _FILES,
    ),
    RELOAD_FAILURES: Instrument(
        "counter",
        "mcp_sidecar.config.reload_failures",
        "{failure}",
        "Troubles with such files, each counted once; what was read before stays in force.",
        _FILES,
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
