"""`python -m bench.sessions`: what clients of the 2025 era cost that have a session and do nothing in it.

The exit code is 1 when a target is missed or a session did not come about.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from bench.footprint import resident
from bench.report import tables
from bench.results import MeasurementFailed, Section, Verdict
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Legacy
from tests.support.sidecar_process import SidecarProcess, sidecar_process

SESSIONS = 1000
FIRST = 20  # sessions before those that are counted: with them comes what all share
SETTLE = 2.0  # seconds
MOST = 20.0  # KiB a session


def main() -> int:
    """Measures, prints and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.sessions", description=__doc__)
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="how many there are at once (default 1000)")
    try:
        section = asyncio.run(_measure(parser.parse_args().sessions))
    except MeasurementFailed as error:
        print(f"FAILED {error}")
        return 1
    print("\n".join(tables([section])))
    return 0 if all(one.met for one in section.verdicts) else 1


async def _measure(count: int) -> Section:
    section = Section(f"{count} idle sessions of 2025-era clients", ("server", "KiB a session"))
    for title, server in (("2026-07-28", FakeServer()), ("2025-11-25", FakeServer("legacy"))):
        async with server:
            with sidecar_process({"up": server.url}) as sidecar:
                await _begin(sidecar, FIRST)
                before = resident(sidecar.process.pid)
                await _begin(sidecar, count)
                cost = (resident(sidecar.process.pid) - before) * 1024 / count
        section.rows.append((title, cost))
        section.verdicts.append(Verdict(f"an idle session, server of {title}", cost, "<=", MOST, "KiB"))
    return section


async def _begin(sidecar: SidecarProcess, count: int) -> None:
    """Sessions that began, asked for the tools once, and stay."""
    for _ in range(count):
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        reply = await client.request("tools/list")
        if not client.session or "result" not in reply.messages[-1]:
            raise MeasurementFailed(f"a session did not come about: {reply.messages[-1]}")
    await asyncio.sleep(SETTLE)


if __name__ == "__main__":
    sys.exit(main())
