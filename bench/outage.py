"""`python -m bench.outage`: an API server that is down while calls run, with the ledgers of callers and of servers.

Takes five minutes (`--seconds`), a third for each way to be down. The exit code is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench.discovery import SLICES, sidecar_of, slice_of, until
from bench.report import tables
from bench.results import Section, Verdict
from mcp_sidecar.client import SidecarClient
from mcp_sidecar.errors import SidecarError
from tests.support.fake_server import FakeServer
from tests.support.kube_api import Fault, KubeApi, Refusal, kube_api

SECONDS = 300.0
CALLERS, PAUSE = 16, 0.1  # about 150 calls a second
SERVERS = 2
WAYS: tuple[Fault | Refusal, ...] = (Fault.CLOSE, Fault.STALL, Refusal(500))
MOST = 1.0  # requests a second


@dataclass(slots=True)
class Ledger:
    """What the callers asked for, and what they were told."""

    asked: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def main() -> int:
    """Measures, prints and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the API server is down (default 300)")
    section = asyncio.run(_measure(parser.parse_args().seconds))
    print("\n".join(tables([section])))
    return 0 if all(one.met for one in section.verdicts) else 1


async def _measure(seconds: float) -> Section:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        async with kube_api() as api, FakeServer() as one, FakeServer("legacy") as other:
            servers = (one, other)
            for number, server in enumerate(servers):
                port = urlsplit(server.url).port or 0
                api.put(SLICES, slice_of(f"server-{number}", 0, 1, shift=0, network="127", port=port))
            async with sidecar_of(api, Path(name)) as sidecar, SidecarClient(sidecar.grpc) as client:
                await until(client, f"server-{SERVERS - 1}")
                ledger = Ledger()
                async with asyncio.TaskGroup() as tasks:
                    callers = [tasks.create_task(_call(client, ledger, number)) for number in range(CALLERS)]
                    requests = await _be_down(api, seconds)
                    for caller in callers:
                        caller.cancel()
            return _judge(ledger, [run.arguments["text"] for server in servers for run in server.executions], requests)


async def _call(client: SidecarClient, ledger: Ledger, number: int) -> None:
    """Call for as long as the measure lasts; a call under way when it ends is in no ledger of its own."""
    turn = 0
    while True:
        nonce, turn = f"{number}-{turn}", turn + 1
        try:
            await client.call_tool(f"server-{number % SERVERS}", "echo", {"text": nonce})
        except SidecarError as error:
            ledger.failed.append(f"{nonce}: {error.message}")
        ledger.asked.append(nonce)
        await asyncio.sleep(PAUSE)


async def _be_down(api: KubeApi, seconds: float) -> list[float]:
    """Requests a second that the API server saw, for each way to be down."""
    rates = []
    for way in WAYS:
        before, api.fault = len(api.asked), way
        api.end_streams()
        await asyncio.sleep(seconds / len(WAYS))
        rates.append((len(api.asked) - before) / (seconds / len(WAYS)))
    api.fault = None
    return rates


def _judge(ledger: Ledger, executed: list[str], requests: list[float]) -> Section:
    ran = Counter(executed)
    lost = [nonce for nonce in ledger.asked if ran[nonce] != 1]
    section = Section("The API server is down, calls run", ("", "value"))
    section.rows += [("calls", len(ledger.asked)), ("failed", len(ledger.failed)), ("not run exactly once", len(lost))]
    section.rows += [
        (f"requests/s: {way.value if isinstance(way, Fault) else f'every answer is {way.status}'}", rate)
        for way, rate in zip(WAYS, requests, strict=True)
    ]
    section.notes += ledger.failed[:5]
    section.verdicts += [
        Verdict("lost calls", float(len(ledger.failed) + len(lost)), "<=", 0.0),
        Verdict("requests/s to the API server", max(requests), "<=", MOST),
    ]
    return section


if __name__ == "__main__":
    sys.exit(main())
