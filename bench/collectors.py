"""`python -m bench.collectors`: calls a second behind a collector that is well, and behind sick ones.

Takes some minutes. The exit code is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial

from bench.measure import interleave, section_of
from bench.peers import SIDECAR, Peer, start_telling, start_upstream
from bench.plan import Plan
from bench.processes import Placement, Stage, free_port
from bench.report import tables
from bench.results import Sample, Section, Verdict, ratio
from bench.telemetry import load_grpc, load_http
from bench.tools import build, compile_sidecar

WELL = "ok"
SICK = ("slow", "hung", "busy", "down")
SHARE = 0.95  # of the calls a second behind a collector that is well
LOADS: Mapping[str, Callable[[Plan, Peer], Sample]] = {"HTTP": load_http, "gRPC": load_grpc}


def main() -> int:
    """Measures, prints and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.collectors", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds (default 9)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each run (default 1)")
    given = parser.parse_args()
    build()
    compile_sidecar()
    plan = Plan(SIDECAR, Placement.choose(), given.rounds, starts=0, seconds=given.seconds, warm=0.2)
    sections = [_measure(plan, protocol) for protocol in ("http/protobuf", "grpc")]
    print("\n".join(tables(sections)))
    return 0 if all(verdict.met for section in sections for verdict in section.verdicts) else 1


def _measure(plan: Plan, protocol: str) -> Section:
    with Stage(plan.placement) as stage:
        upstream = start_upstream(stage)
        peers = {mode: _behind(stage, plan, upstream, mode, protocol) for mode in (WELL, *SICK)}
        runs = interleave(
            {
                f"{face}, {mode}": partial(load, plan, peer)
                for face, load in LOADS.items()
                for mode, peer in peers.items()
            },
            plan.rounds,
        )
    section = section_of(f"Collectors, well and sick, told by {protocol}", runs)
    for face in LOADS:
        well = [sample.rate for sample in runs[f"{face}, {WELL}"]]
        for mode in SICK:
            share = ratio([sample.rate for sample in runs[f"{face}, {mode}"]], well)
            what = f"{face} calls/s, collector ({protocol}) {mode}, share of ok"
            section.verdicts.append(Verdict(what, share, ">=", SHARE))
    return section


def _behind(stage: Stage, plan: Plan, upstream: Peer, mode: str, protocol: str) -> Peer:
    """A sidecar and its collector. Of those that listen, each takes connections; over gRPC the sick ones alone."""
    port = free_port()
    if mode != "down":
        module = "bench.sink" if protocol != "grpc" else "bench.grpc_sink"
        sink = stage.start(f"sink {mode}", [sys.executable, "-m", module, str(port), mode], measured=False)
        stage.wait_until_listening(f"sink {mode}", sink, port)
    return start_telling(stage, plan.sidecar, upstream, port, name=f"telling {mode}", protocol=protocol)


if __name__ == "__main__":
    sys.exit(main())
