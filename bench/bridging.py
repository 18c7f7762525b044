"""What a call costs whose client and server are of different eras, beside calls of one era; measures nothing else."""

from __future__ import annotations

from functools import partial

from bench.measure import interleave, section_of
from bench.peers import Peer, start_bridge, start_upstream
from bench.plan import Plan
from bench.processes import Stage
from bench.results import Sample, Section, Verdict, ratio
from bench.tools import http_load

MOST = 2.0  # times slower than a call of one era
CONNECTIONS = 16
# Era of the client, and the name of the upstream, which is taken for a server of an era.
PAIRS = {
    "2026 to 2026": ("modern", "up"),
    "2026 to 2025": ("modern", "old"),
    "2025 to 2026": ("legacy", "up"),
    "2025 to 2025": ("legacy", "old"),
}
BRIDGED = {"2026 to 2025": "2026 to 2026", "2025 to 2026": "2026 to 2026"}


def measure_bridging(plan: Plan) -> Section:
    """Calls a second over HTTP with 16 connections, by the eras of client and server."""
    with Stage(plan.placement) as stage:
        bridge = start_bridge(stage, plan.sidecar, start_upstream(stage))
        runs = interleave({name: partial(_load, plan, bridge, *pair) for name, pair in PAIRS.items()}, plan.rounds)
    section = section_of("Bridging: HTTP in, HTTP out, 16 connections, by era of client and server", runs)
    for bridged, plain in BRIDGED.items():
        slower = ratio([sample.rate for sample in runs[plain]], [sample.rate for sample in runs[bridged]])
        section.verdicts.append(Verdict(f"{bridged}, times a call of one era", slower, "<=", MOST, "x"))
    return section


def _load(plan: Plan, bridge: Peer, mode: str, upstream: str) -> Sample:
    return http_load(
        bridge.http,
        f"/servers/{upstream}/mcp",
        connections=CONNECTIONS,
        seconds=plan.seconds,
        warm=plan.warm,
        pids=(f"px:{bridge.process.pid}",),
        mode=mode,
    )
