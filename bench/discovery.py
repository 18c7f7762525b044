"""`python -m bench.discovery`: what discovery in a Kubernetes namespace costs, against a fake API server on loopback.

Prints each figure next to its target; the exit code is 1 only when one could not be taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report import tables
from bench.results import MeasurementFailed, Section, Verdict
from mcp_sidecar.client import SidecarClient
from tests.support.kube_api import KubeApi, kube_api

SLICES = "endpointslices"
SERVICES, INSTANCES = 10, 100
CHANGES, SECONDS = 100, 10  # changes a second, for so long
SETTLE = 3.0
LIMIT = 30.0
STARTS = 5

MEMORY, MEMORY_ENDPOINTS = 96.0, 8.0  # MiB
CPU = 20.0  # percent of a core
CONVERGED, STARTED = 2.0, 1.2  # seconds


@dataclass(frozen=True, slots=True)
class Running:
    """A sidecar that has said on `/startupz` that it has started, and the seconds until then."""

    pid: int
    grpc: str
    took: float

    def memory(self) -> float:
        """Resident, in MiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))

    def cpu(self) -> float:
        """Seconds of CPU that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measures, prints and returns the exit code."""
    try:
        sections = asyncio.run(_measure())
    except MeasurementFailed as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(tables(sections)))
    return 0


async def _measure() -> list[Section]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        async with kube_api() as api:
            api.put(SLICES, _slice("first", 0, 1))
            return [
                await _measure_start(api, folder),
                await _measure_size(api, folder),
            ]


async def _measure_start(api: KubeApi, folder: Path) -> Section:
    times = []
    for _ in range(STARTS + 1):
        async with _sidecar(api, folder) as sidecar:
            times.append(sidecar.took)
    median = sorted(times[1:])[STARTS // 2]  # the first one reads files from disk
    section = Section("Start with discovery on", ("", "median s", "min s", "max s"))
    section.rows.append(("spawn to /startupz", median, min(times[1:]), max(times[1:])))
    section.verdicts.append(Verdict("start to startup SERVING", median, "<=", STARTED, "s"))
    return section


async def _measure_size(api: KubeApi, folder: Path) -> Section:
    section = Section("Discovery in a namespace", ("", "value", "unit"))
    async with _sidecar(api, folder) as sidecar, SidecarClient(sidecar.grpc) as client:
        await asyncio.sleep(SETTLE)
        idle = sidecar.memory()
        for number in range(SERVICES):
            api.put(SLICES, _slice(f"server-{number}", number, INSTANCES))
        await _until(client, f"server-{SERVICES - 1}")
        await asyncio.sleep(SETTLE)
        full = sidecar.memory()
        busy = await _churn(api, sidecar)
        begin = time.monotonic()
        api.put(SLICES, _slice("last", 0, 1, shift=200))
        await _until(client, "last")
        converged = time.monotonic() - begin
    count = SERVICES * INSTANCES
    for name, figure, target, unit in (
        ("idle memory", idle, MEMORY, "MiB"),
        (f"{count} endpoints, more", full - idle, MEMORY_ENDPOINTS, "MiB"),
        (f"{count} endpoints, {CHANGES} changes/s", busy, CPU, "% of a core"),
        ("right after the last change", converged, CONVERGED, "s"),
    ):
        section.rows.append((name, figure, unit))
        section.verdicts.append(Verdict(name, figure, "<=", target, unit))
    return section


async def _churn(api: KubeApi, sidecar: Running) -> float:
    """Percent of a core that the sidecar uses while endpoints come and go."""
    loop = asyncio.get_running_loop()
    begin, used = loop.time(), sidecar.cpu()
    for turn in range(CHANGES * SECONDS):
        number = turn % SERVICES
        api.put(SLICES, _slice(f"server-{number}", number, INSTANCES, unready=turn // SERVICES % INSTANCES))
        await asyncio.sleep(max(0.0, begin + (turn + 1) / CHANGES - loop.time()))
    return 100 * (sidecar.cpu() - used) / (loop.time() - begin)


async def _until(client: SidecarClient, name: str) -> None:
    """Wait until the sidecar knows a server. Raises `MeasurementFailed`."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if name in [server.name for server in await client.list_servers()]:
            return
        await asyncio.sleep(0.05)
    raise MeasurementFailed(f"the sidecar has not found {name} within {LIMIT:g} s")


@contextlib.asynccontextmanager
async def _sidecar(api: KubeApi, folder: Path) -> AsyncIterator[Running]:
    """A sidecar with discovery on, started and asked for its state until it says that it has started."""
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    config = {
        "listen": {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "health": "127.0.0.1:0", "metrics": "127.0.0.1:0"},
        "discovery": {"mode": "namespace", "kubeconfig": api.kubeconfig(folder)},
        "start": {"warm": False},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    words = ["-m", "mcp_sidecar", "serve", "-c", str(folder / "config.yaml"), "--ready-file", str(ready)]
    begin = time.monotonic()
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=log, stderr=log)
    try:
        while not ready.exists():
            _check(process, folder, begin)
            await asyncio.sleep(0.002)
        bound = json.loads(ready.read_text())
        while not await _has_started(bound["metrics"]):
            _check(process, folder, begin)
            await asyncio.sleep(0.005)
        grpc = bound["grpc"]
        yield Running(process.pid, grpc if isinstance(grpc, str) else grpc[0], time.monotonic() - begin)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _check(process: asyncio.subprocess.Process, folder: Path, begin: float) -> None:
    if process.returncode is not None or time.monotonic() - begin > LIMIT:
        raise MeasurementFailed(f"the sidecar does not start:\n{(folder / 'log').read_text()[-2000:]}")


async def _has_started(address: str) -> bool:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"GET /startupz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        return b" 200 " in await reader.readline()
    finally:
        writer.close()


def _slice(service: str, number: int, count: int, *, unready: int = -1, shift: int = 0) -> dict[str, Any]:
    """An EndpointSlice as the controller writes it, about 300 bytes an endpoint."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service}-abcde",
            "namespace": "tools",
            "labels": {"kubernetes.io/service-name": service, "mcp-sidecar.dev/server": "true"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "mcp", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [f"10.{shift + number}.0.{instance}"],
                "conditions": {"ready": instance != unready, "serving": instance != unready, "terminating": False},
                "nodeName": f"node-{instance % 10}",
                "targetRef": {
                    "kind": "Pod",
                    "name": f"{service}-{instance}",
                    "namespace": "tools",
                    "uid": f"{service}-{instance}",
                },
                "zone": "zone-a",
            }
            for instance in range(count)
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
