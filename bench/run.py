"""`make bench`: argv → report. Joins the measures and decides the exit code; knows no figure.

Exit code 0, however slow the sidecar is; 1 if a measure failed or an answer was wrong.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Callable

from bench.bridging import measure_bridging
from bench.footprint import measure_memory, measure_start
from bench.measure import LineUp, measure_grpc, measure_http, measure_latency
from bench.peers import SIDECAR
from bench.plan import Plan
from bench.processes import Placement, Stage
from bench.report import as_json, as_table
from bench.results import MeasurementFailed, Section
from bench.telemetry import measure_telemetry
from bench.tools import build, compile_sidecar

FULL = {"rounds": 5, "starts": 9, "seconds": 2.0, "warm": 0.5}
QUICK = {"rounds": 3, "starts": 3, "seconds": 0.5, "warm": 0.2}


def main() -> int:
    """Runs every measure, prints the report and returns the exit code."""
    arguments = _parse()
    if not sys.platform.startswith("linux"):
        print("the load generators need Linux (epoll)", file=sys.stderr)
        return 1
    try:
        build()
        compile_sidecar()
    except MeasurementFailed as error:
        print(error, file=sys.stderr)
        return 1
    # Unwinds the stack, so that a terminated benchmark leaves no process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    plan = _plan(arguments)
    try:
        sections, failures = _measure(plan)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    failures += [f"{section.title}: {section.wrong} wrong answers" for section in sections if section.wrong]
    print((as_json if arguments.output == "json" else as_table)(plan, sections, failures))
    return 1 if failures else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description="Measures the sidecar next to its peers.")
    parser.add_argument("--quick", action="store_true", help="a short look: fewer and shorter rounds, rough figures")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 5, with --quick 3)")
    parser.add_argument("--seconds", type=float, help="length of each run (default 2, with --quick 0.5)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument("--sidecar", help="command to run instead of the installed mcp-sidecar, without `serve`")
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> Plan:
    preset = QUICK if arguments.quick else FULL
    return Plan(
        sidecar=shlex.split(arguments.sidecar) if arguments.sidecar else SIDECAR,
        placement=Placement.choose(),
        rounds=max(1, arguments.rounds or int(preset["rounds"])),
        starts=int(preset["starts"]),
        seconds=arguments.seconds or preset["seconds"],
        warm=preset["warm"],
    )


def _measure(plan: Plan) -> tuple[list[Section], list[str]]:
    sections: list[Section] = []
    failures: list[str] = []

    def attempt(name: str, measure: Callable[[], Section]) -> None:
        print(f"measuring {name} …", file=sys.stderr)
        try:
            sections.append(measure())
        except MeasurementFailed as error:
            failures.append(f"{name}: {error}")

    # Footprint first: pages that other Python processes share with the sidecar would lower its proportional memory.
    attempt("memory", lambda: measure_memory(plan))
    attempt("start", lambda: measure_start(plan))
    with Stage(plan.placement) as stage:
        try:
            line_up = LineUp.start(plan, stage)
        except MeasurementFailed as error:
            return sections, [*failures, f"line-up: {error}"]
        attempt("HTTP throughput", lambda: measure_http(line_up))
        attempt("gRPC throughput", lambda: measure_grpc(line_up))
        attempt("latency", lambda: measure_latency(line_up))
    attempt("bridging", lambda: measure_bridging(plan))
    attempt("telemetry", lambda: measure_telemetry(plan))
    return sections, failures


if __name__ == "__main__":
    sys.exit(main())
