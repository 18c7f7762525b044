"""What can be set, with its sentence, unit, default and range; knows neither files nor what a setting does.

Every duration is seconds as `float` and every size bytes as `int`, whatever unit was written. The parser, the reference
page and the JSON Schema all read the `Doc` of each field, so a setting is described here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Literal

MIB = 1024 * 1024
LARGEST = 2**31 - 1
"""gRPC takes its numbers, also its milliseconds, as signed 32-bit integers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a value must keep to; both ends inclusive."""

    unit: Literal["", "seconds", "bytes"] = ""
    low: float = 0
    high: float = LARGEST
    choices: tuple[str, ...] = ()
    form: Literal["", "name", "url", "jwks", "file", "folder", "listen", "tcp", "separator"] = ""
    """The grammar of a text."""
    required: bool = False
    later: tuple[str, ...] = ()
    """Values that belong to the format but that this version cannot honour."""
    only_default: bool = False
    """The key belongs to the format, but this version honours nothing but its default."""


@dataclass(frozen=True, slots=True)
class Doc(Limits):
    """One setting in a sentence, with its limits."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds(Doc):
    """A duration; the upper end is what fits gRPC's milliseconds."""

    unit: Literal["", "seconds", "bytes"] = "seconds"
    high: float = LARGEST // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes(Doc):
    """A size."""

    unit: Literal["", "seconds", "bytes"] = "bytes"
    low: float = 1


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Where to listen: `host:port`, `[v6]:port`, `off`, or `unix:///path` (gRPC and HTTP). Port 0 picks a free one."""

    grpc: Annotated[
        tuple[str, ...], Doc("The gRPC API; one address or a list, `off` is the empty list.", form="listen")
    ] = ("127.0.0.1:15051",)
    http: Annotated[str, Doc("MCP Streamable HTTP and the admin page.", form="listen")] = "127.0.0.1:15080"
    health: Annotated[str, Doc("Plaintext gRPC health service for the kubelet.", form="tcp")] = "0.0.0.0:15081"
    metrics: Annotated[str, Doc("`/metrics` and the HTTP probes.", form="tcp")] = "0.0.0.0:15090"


@dataclass(frozen=True, slots=True)
class KeepaliveSettings:
    """When gRPC connections are pinged and retired. Idle and age limits never apply to loopback and unix sockets."""

    max_connection_idle: Annotated[
        float, Seconds("A connection without calls is closed after this long.", low=0.001)
    ] = 900.0
    max_connection_age: Annotated[
        float, Seconds("A connection this old is asked to go, so that clients spread over new replicas.", low=0.001)
    ] = 1800.0
    max_connection_age_grace: Annotated[
        float, Seconds("How long the calls of a connection that was asked to go may still take.", low=0.001)
    ] = 300.0
    time: Annotated[float, Seconds("A connection that was silent for this long is pinged.", low=0.001)] = 300.0
    timeout: Annotated[float, Seconds("A ping unanswered for this long ends the connection.", low=0.001)] = 60.0
    min_time: Annotated[float, Seconds("Clients that ping more often than this are sent away.")] = 300.0
    permit_without_stream: Annotated[bool, Doc("Pings are sent and accepted while no call is open.")] = True


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """The gRPC API."""

    reflection: Annotated[bool, Doc("Answer server reflection (grpcurl without proto files).")] = False
    keepalive: KeepaliveSettings = KeepaliveSettings()
    send_queue: Annotated[
        int, Doc("Frames a stream holds for a client that reads slowly, before it is ended.", low=1)
    ] = 100
    send_queue_bytes: Annotated[int, Bytes("Bytes a stream holds for a client that reads slowly.")] = 8 * MIB
    max_concurrent_streams: Annotated[int, Doc("Calls open at once on one connection.", low=1)] = 256
    max_message: Annotated[int, Bytes("Largest message taken from a client.")] = 4 * MIB


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The HTTP listener."""

    max_body: Annotated[int, Bytes("Largest request body.")] = 4 * MIB
    header_timeout: Annotated[float, Seconds("A request's head must be complete after this long.", low=0.001)] = 10.0
    idle_timeout: Annotated[
        float, Seconds("A connection between two requests is closed after this long.", low=0.001)
    ] = 75.0
    max_sessions: Annotated[int, Doc("Sessions of 2025-era clients at once.", low=1)] = 10_000
    session_idle: Annotated[
        float, Seconds("A session of a 2025-era client that is not used for this long is ended.", low=0.001)
    ] = 1800.0
    allowed_hosts: Annotated[
        tuple[str, ...],
        Doc("Values of the `Host` header to accept besides loopback names and the address listened on."),
    ] = ()
    allowed_origins: Annotated[
        tuple[str, ...], Doc("Values of the `Origin` header to accept besides loopback ones.")
    ] = ()


@dataclass(frozen=True, slots=True)
class UpstreamAuthSettings:
    """How the sidecar proves itself to an upstream."""

    bearer_file: Annotated[
        str, Doc("File with the bearer token to send; must be readable when the configuration is.", form="file")
    ] = ""


@dataclass(frozen=True, slots=True)
class TimeoutSettings:
    """How long an upstream may take."""

    call: Annotated[float, Seconds("Longest a call may take; a client's shorter deadline wins.", low=0.001)] = 60.0
    connect: Annotated[float, Seconds("Longest it may take to open a connection.", low=0.001)] = 1.0


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """Which tools of an upstream may be called, as names or patterns with `*`."""

    allow: Annotated[tuple[str, ...], Doc("Tools that are listed and may be called.")] = ("*",)
    deny: Annotated[tuple[str, ...], Doc("Tools that are hidden and refused, whatever `allow` says.")] = ()
    retry: Annotated[
        tuple[str, ...], Doc("Tools that are safe to run twice and may be sent again after a failure.")
    ] = ()
    trusted: Annotated[
        bool, Doc("Believe the upstream's own annotations about which tools are safe to repeat.", only_default=True)
    ] = False


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """One MCP server."""

    name: Annotated[
        str,
        Doc("`[a-z0-9-]`, at most 63, unique; also the prefix when several are merged.", form="name", required=True),
    ]
    url: Annotated[
        str,
        Doc(
            "Where it is: `http(s)://…`, `sse+http(s)://…` (servers of 2024-11-05), or `grpc(s)://host:port/name`"
            " (upstream `name` of another sidecar).",
            form="url",
        ),
    ] = ""
    protocol: Annotated[
        str,
        Doc(
            "MCP revision to speak; `auto` asks the server, `sse` is the HTTP+SSE of 2024-11-05.",
            choices=("auto", "2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "sse"),
        ),
    ] = "auto"
    auth: UpstreamAuthSettings = UpstreamAuthSettings()
    timeout: TimeoutSettings = TimeoutSettings()
    tools: ToolSettings = ToolSettings()
    command: Annotated[
        tuple[str, ...],
        Doc("Program and arguments of a server to start and to speak to over stdio, in the place of `url`."),
    ] = ()
    # Values may be secrets: they stay out of the repr, and so out of logs.
    env: Annotated[
        Mapping[str, str],
        Doc(
            "Environment of `command`. Of the sidecar's own it gets only `PATH`, `HOME`, `USER`, `LANG`, `LC_*`, `TZ`"
            " and `TMPDIR`."
        ),
    ] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    cwd: Annotated[str, Doc("Directory to start `command` in; empty is the sidecar's own.", form="folder")] = ""


@dataclass(frozen=True, slots=True)
class MergeSettings:
    """How the names of several upstreams are kept apart on `/mcp`."""

    prefix: Annotated[
        str,
        Doc(
            "When a tool's name gets its upstream's in front.",
            choices=("always", "on-conflict", "never"),
        ),
    ] = "on-conflict"
    separator: Annotated[str, Doc("What stands between the two names.", form="separator")] = "__"


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """How upstreams are found in a cluster."""

    mode: Annotated[
        str, Doc("Where to look.", choices=("off", "dns", "namespace", "hub"), later=("dns", "namespace", "hub"))
    ] = "off"
    namespace: Annotated[str, Doc("Namespace to look in; empty is the pod's own.", only_default=True)] = ""
    selectors: Annotated[tuple[str, ...], Doc("Label selectors of the Services to take.", only_default=True)] = (
        "mcp-sidecar.dev/server=true",
    )


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Connections to upstreams."""

    max_connections: Annotated[int, Doc("Connections open at once, over all upstreams.", low=1)] = 256
    max_per_endpoint: Annotated[
        int, Doc("Connections open at once to one address, and so processes of one program.", low=1)
    ] = 64
    idle: Annotated[float, Seconds("An unused connection is closed after this long.")] = 3.0
    session_idle: Annotated[float, Seconds("An unused MCP session is deleted after this long.")] = 900.0


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """The watch over the connections in use."""

    interval: Annotated[float, Seconds("Time between two looks.", low=0.01)] = 10.0


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """How much work is let in."""

    in_flight: Annotated[int, Doc("Calls running at once; more are refused.", low=1)] = 512
    per_endpoint: Annotated[int, Doc("Calls running at once on one address.", low=1, only_default=True)] = 64
    queue: Annotated[int, Doc("Calls that may wait for a free place.", only_default=True)] = 128
    queue_wait: Annotated[float, Seconds("Longest a call waits for a free place.", only_default=True)] = 1.0


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """Sending a call again that cannot have run, or is safe to run twice."""

    attempts: Annotated[int, Doc("How often a call is sent at most; 1 never repeats.", low=1, high=10)] = 2
    budget: Annotated[float, Doc("Repeated calls as a share of all calls.", high=1, only_default=True)] = 0.2


@dataclass(frozen=True, slots=True)
class HoldSettings:
    """Calls to 2025-era servers that wait while a client of 2026-07-28 answers what the server asks."""

    expire: Annotated[float, Seconds("How long a client may take to answer; then the call is cancelled.", low=0.01)] = (
        300.0
    )
    most: Annotated[int, Doc("Calls that may wait at once; more are refused.", low=1)] = 256


@dataclass(frozen=True, slots=True)
class StartSettings:
    """When the sidecar calls itself started."""

    require: Annotated[
        tuple[str, ...],
        Doc("Upstreams that must have listed their tools before startup is SERVING.", only_default=True),
    ] = ()
    timeout: Annotated[float, Seconds("How long to wait for them.", only_default=True)] = 60.0
    warm: Annotated[bool, Doc("List the tools of every upstream once, so that the first client need not wait.")] = True


@dataclass(frozen=True, slots=True)
class DrainSettings:
    """Leaving without losing a call; both together must fit the pod's termination grace period."""

    lame_duck: Annotated[float, Seconds("Still serving while already reported as not ready.")] = 5.0
    grace: Annotated[float, Seconds("How long running calls may take to finish.")] = 15.0


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Who may call."""

    mode: Annotated[
        str,
        Doc("What a client must show.", choices=("none", "token", "jwt", "kubernetes"), later=("kubernetes",)),
    ] = "none"
    token_file: Annotated[str, Doc("File with one token a line, for mode `token`.", form="file")] = ""
    jwks_url: Annotated[
        str, Doc("Where the signing keys are, for mode `jwt`: https, or a loopback host.", form="jwks")
    ] = ""
    jwks_file: Annotated[str, Doc("File with the signing keys, for mode `jwt`.", form="file")] = ""
    audience: Annotated[str, Doc("Audience that a JWT must be for; needed in mode `jwt`.")] = ""
    issuer: Annotated[str, Doc("Issuer that a JWT must come from; empty accepts any that the keys verify.")] = ""
    algorithms: Annotated[
        tuple[str, ...],
        # Only asymmetric ones: a shared-secret algorithm would let anybody sign with the public key (RFC 8725 §2.1).
        Doc(
            "Signature algorithms to accept.",
            choices=("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"),
        ),
    ] = ("RS256", "ES256", "EdDSA")


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """The page at `/` of the HTTP listener; never served where others could reach it without authentication."""

    enabled: Annotated[bool, Doc("Serve the page and its API.")] = True
    actions: Annotated[bool, Doc("Let the page call tools and close connections; otherwise it only shows.")] = False
    payloads: Annotated[
        bool,
        Doc("Keep arguments and results of recent calls (4 KiB of each) and show them to whoever may see the page."),
    ] = False


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Traces and metrics sent out with OpenTelemetry."""

    otlp_endpoint: Annotated[str, Doc("Collector to send to; empty sends nothing.", only_default=True)] = ""
    sample: Annotated[float, Doc("Share of calls that are traced.", high=1, only_default=True)] = 0.05


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log on standard output."""

    level: Annotated[str, Doc("Least important level to write.", choices=("debug", "info", "warning", "error"))] = (
        "info"
    )
    format: Annotated[
        str, Doc("`auto` is text on a terminal and JSON elsewhere.", choices=("auto", "json", "text"))
    ] = "auto"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything; each part is handed its own section."""

    listen: ListenSettings = ListenSettings()
    grpc: GrpcSettings = GrpcSettings()
    http: HttpSettings = HttpSettings()
    upstreams: tuple[UpstreamSettings, ...] = ()
    merge: MergeSettings = MergeSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    pool: PoolSettings = PoolSettings()
    monitor: MonitorSettings = MonitorSettings()
    admission: AdmissionSettings = AdmissionSettings()
    retry: RetrySettings = RetrySettings()
    hold: HoldSettings = HoldSettings()
    start: StartSettings = StartSettings()
    drain: DrainSettings = DrainSettings()
    auth: AuthSettings = AuthSettings()
    admin: AdminSettings = AdminSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()
