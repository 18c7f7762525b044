"""What telemetry costs: the same sidecar with and without a collector, in calls a second and in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from bench.footprint import resident
from bench.measure import interleave, section_of
from bench.peers import Peer, start_sidecar, start_telling, start_upstream
from bench.plan import Plan
from bench.processes import Stage, free_port
from bench.results import Sample, Section, Verdict, ratio
from bench.tools import grpc_load, http_load

SHARE = 0.75  # of the calls a second without telemetry
MEMORY = 16.0  # MiB more


def measure_telemetry(plan: Plan) -> Section:
    """Metrics, and traces of 5 % of the calls, beside nothing; over HTTP with 16 connections and over gRPC."""
    with Stage(plan.placement) as stage:
        upstream = start_upstream(stage)
        port = free_port()
        sink = stage.start("sink", [sys.executable, "-m", "bench.sink", str(port)], measured=False)
        stage.wait_until_listening("sink", sink, port)
        off = start_sidecar(stage, plan.sidecar, upstream)
        on = start_telling(stage, plan.sidecar, upstream, port)
        contestants: dict[str, Callable[[], Sample]] = {}
        for face, load in (("HTTP", load_http), ("gRPC", load_grpc)):
            contestants |= {f"{face}, off": partial(load, plan, off), f"{face}, on": partial(load, plan, on)}
        runs = interleave(contestants, plan.rounds)
        more = resident(on.process.pid) - resident(off.process.pid)
    section = section_of("Telemetry: metrics and 5 % of the traces, or none", runs)
    for face in ("HTTP", "gRPC"):
        share = ratio(*([sample.rate for sample in runs[f"{face}, {name}"]] for name in ("on", "off")))
        section.verdicts.append(Verdict(f"{face} calls/s with telemetry, share of those without", share, ">=", SHARE))
    section.verdicts.append(Verdict("memory that telemetry takes", more, "<=", MEMORY, "MiB"))
    return section


def load_http(plan: Plan, peer: Peer) -> Sample:
    """One run with 16 connections."""
    pids = (f"px:{peer.process.pid}",)
    return http_load(peer.http, peer.path, connections=16, seconds=plan.seconds, warm=plan.warm, pids=pids)


def load_grpc(plan: Plan, peer: Peer) -> Sample:
    """One run with 16 calls in flight."""
    pids = (f"px:{peer.process.pid}",)
    return grpc_load(peer.grpc, in_flight=16, seconds=plan.seconds, warm=plan.warm, pids=pids)
