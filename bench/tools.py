"""Builds the C programs and runs the load generators; knows their options and their reports, not what they measure."""

from __future__ import annotations

import compileall
import json
import shutil
import subprocess
from pathlib import Path

from bench.results import MeasurementFailed, Sample

HERE = Path(__file__).parent
BIN = HERE / "bin"
SOURCES = {
    "mcpup": ("mcpup.c", "mcpup_answers.c"),
    "mcpload": ("mcpload.c", "load.c"),
    "grpcload": ("grpcload.c", "load.c"),
    "pump": ("pump.c",),
}
PAYLOAD = 200  # bytes of text that a call carries and that its answer has to hold
WRONG_ANSWERS = 5  # exit code of the load generators


def build() -> None:
    """Compiles what is older than its sources. Raises MeasurementFailed without a compiler."""
    if shutil.which("gcc") is None:
        raise MeasurementFailed("gcc is missing; on Debian: apt-get install gcc libc6-dev")
    BIN.mkdir(exist_ok=True)
    newest = max(path.stat().st_mtime for path in HERE.glob("*.[ch]"))
    for name, sources in SOURCES.items():
        target = BIN / name
        if target.exists() and target.stat().st_mtime > newest:
            continue
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-o", str(target), *(str(HERE / source) for source in sources)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MeasurementFailed(f"{name} does not compile:\n{done.stderr}")


def compile_sidecar() -> None:
    """Have the sidecar's bytecode there, as every installation has and a checkout need not have."""
    compileall.compile_dir(HERE.parent / "mcp_sidecar", quiet=2)


def http_load(
    port: int,
    path: str,
    *,
    connections: int,
    seconds: float,
    warm: float,
    calls: int = 0,
    pids: tuple[str, ...] = (),
    mode: str = "modern",
) -> Sample:
    """Calls `echo` over Streamable HTTP, each connection again and again; `legacy` is 2025-11-25 with sessions."""
    options = ["--path", path, "--mode", mode, "--conns", str(connections)]
    return _run("mcpload", port, options, seconds, warm, calls, pids)


def grpc_load(
    port: int, *, in_flight: int, seconds: float, warm: float, calls: int = 0, pids: tuple[str, ...] = ()
) -> Sample:
    """Calls `echo` through mcp_sidecar.v1.MCPEngine/Call on one connection, `in_flight` at a time."""
    options = ["--conns", "1", "--inflight", str(in_flight), "--server", "up"]
    return _run("grpcload", port, options, seconds, warm, calls, pids)


def _run(
    tool: str, port: int, options: list[str], seconds: float, warm: float, calls: int, pids: tuple[str, ...]
) -> Sample:
    command = [str(BIN / tool), "--port", str(port), "--size", str(PAYLOAD), *options]
    command += ["--secs", str(seconds), "--warm", str(warm)]
    if calls:
        command += ["--max", str(calls)]
    for group in pids:
        command += ["--pids", group]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + warm + 90)
    except subprocess.TimeoutExpired as error:
        raise MeasurementFailed(f"{tool} did not end") from error
    if done.returncode not in {0, WRONG_ANSWERS}:
        raise MeasurementFailed(f"{tool} gave up: {done.stderr.strip()} {done.stdout.strip()}")
    report = json.loads(done.stdout)
    if not report["n"]:
        raise MeasurementFailed(f"{tool} got no right answer: {report.get('lasterr', 'silence')}")
    return Sample(
        calls=report["n"],
        wrong=report["errs"],
        rate=report["rps"],
        p50=report["p50"],
        p99=report["p99"],
        cpu=report.get("px_cpu_us"),
        foreign=report["foreign"],
    )
