"""How the sidecar runs: connections, limits, start, drain, telemetry and log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mcp_sidecar.documented import Doc, Seconds


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Connections to upstreams."""

    max_connections: Annotated[int, Doc("Connections open at once, over all upstreams.", low=1)] = 256
    max_per_endpoint: Annotated[
        int,
        Doc(
            "Connections open at once to one address, and so processes of one program. A 2025-era client's own session"
            " over HTTP counts while it is busy.",
            low=1,
        ),
    ] = 64
    idle: Annotated[float, Seconds("An unused connection is closed after this long.")] = 3.0
    session_idle: Annotated[
        float,
        Seconds(
            "An unused MCP session is deleted after this long, unless it is a 2025-era client's own, which ends with"
            " that client's."
        ),
    ] = 900.0


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

    attempts: Annotated[
        int,
        Doc("How often a call is sent at most, and once more to a server that forgot its session.", low=1, high=10),
    ] = 2
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
        tuple[str, ...], Doc("Upstreams that must have listed their tools before startup is SERVING.", form="name")
    ] = ()
    timeout: Annotated[
        float,
        Seconds(
            "How long they may take before the log says who is missing and why. Startup stays NOT_SERVING until they"
            " are there: when to restart is for the kubelet's startup probe."
        ),
    ] = 60.0
    warm: Annotated[bool, Doc("List the tools of every upstream once, so that the first client need not wait.")] = True


@dataclass(frozen=True, slots=True)
class DrainSettings:
    """Leaving without losing a call; both together must fit the pod's termination grace period."""

    lame_duck: Annotated[
        float,
        Seconds("Still serving while others learn that it leaves; 0 where only the pod's own application calls."),
    ] = 5.0
    grace: Annotated[float, Seconds("How long running calls may take to finish.")] = 15.0


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log on standard output."""

    level: Annotated[str, Doc("Least important level to write.", choices=("debug", "info", "warning", "error"))] = (
        "info"
    )
    format: Annotated[
        str, Doc("`auto` is text on a terminal and JSON elsewhere.", choices=("auto", "json", "text"))
    ] = "auto"
