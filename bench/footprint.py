"""What the sidecar costs before and besides its calls: its start and its memory; knows nothing of other proxies."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.peers import Peer, start_sidecar, start_upstream
from bench.plan import Plan
from bench.processes import Stage, wait_for_exit
from bench.results import MeasurementFailed, Section, Verdict, ratio
from bench.tools import grpc_load, http_load

START = 3.5  # times `python -c "import grpc.aio"`
MEMORY = 56.0  # MiB
MEMORY_CALLS = 20_000
SETTLE = 2.0  # seconds between start and looking at the memory


def measure_start(plan: Plan) -> Section:
    """From spawning to a ready file and an accepting gRPC port, next to a process that imports grpc.aio and ends."""
    times: dict[str, list[float]] = {"import grpc.aio": [], "sidecar": []}
    with Stage(plan.placement) as stage:
        upstream = start_upstream(stage)
        for turn in range(plan.starts + 1):
            imported, listening = _time_import(stage), _time_start(stage, plan.sidecar, upstream)
            if turn == 0:
                continue  # reads files from disk and may compile them
            times["import grpc.aio"].append(imported)
            times["sidecar"].append(listening)
    section = Section("Start", ("", "median ms", "min ms", "max ms", "runs"))
    for name, values in times.items():
        ms = [value * 1000 for value in values]
        section.rows.append((name, statistics.median(ms), min(ms), max(ms), len(ms)))
    factor = ratio(times["sidecar"], times["import grpc.aio"])
    section.verdicts.append(Verdict('start, times python -c "import grpc.aio"', factor, "<=", START, "x"))
    return section


def measure_memory(plan: Plan) -> Section:
    """Resident memory of a fresh sidecar, idle and after calls over both faces."""
    section = Section("Memory of the sidecar", ("", "RSS MiB", "PSS MiB"))
    idle: list[tuple[float, float]] = []
    used: list[tuple[float, float]] = []
    for _ in range(min(3, plan.rounds)):
        with Stage(plan.placement) as stage:
            upstream = start_upstream(stage)
            sidecar = start_sidecar(stage, plan.sidecar, upstream)
            time.sleep(SETTLE)
            idle.append(_memory(sidecar.process.pid))
            section.wrong += _use(sidecar)
            used.append(_memory(sidecar.process.pid))
    for name, values in (("idle", idle), (f"after {MEMORY_CALLS} calls", used)):
        resident, proportional = (statistics.median(value[i] for value in values) for i in (0, 1))
        section.rows.append((name, resident, proportional))
        section.verdicts.append(Verdict(f"resident memory, {name}", resident, "<=", MEMORY, "MiB"))
    return section


def _use(sidecar: Peer) -> int:
    """Sends half of the calls over each face; returns how many came back wrong."""
    half = MEMORY_CALLS // 2
    over_http = http_load(sidecar.http, sidecar.path, connections=16, seconds=60, warm=0, calls=half)
    over_grpc = grpc_load(sidecar.grpc, in_flight=16, seconds=60, warm=0, calls=half)
    return over_http.wrong + over_grpc.wrong


def _time_import(stage: Stage) -> float:
    begin = time.perf_counter()
    process = stage.start("import", [sys.executable, "-c", "import grpc.aio"])
    if not wait_for_exit(process, 60) or process.returncode:
        raise MeasurementFailed(f"{sys.executable} cannot import grpc.aio; run `make setup`")
    return time.perf_counter() - begin


def _time_start(stage: Stage, command: Sequence[str], upstream: Peer) -> float:
    (stage.folder / "started.ready").unlink(missing_ok=True)
    begin = time.perf_counter()
    sidecar = start_sidecar(stage, command, upstream, "started")
    took = time.perf_counter() - begin
    stage.end(sidecar.process)
    return took


def resident(pid: int) -> float:
    """Resident memory in MiB."""
    return _memory(pid)[0]


def _memory(pid: int) -> tuple[float, float]:
    """Resident and proportional memory of a process in MiB."""
    return _field(pid, "status", "VmRSS:"), _field(pid, "smaps_rollup", "Pss:")


def _field(pid: int, file: str, name: str) -> float:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise MeasurementFailed(f"/proc/{pid}/{file} has no {name}")
