"""Servers that are child processes, and links to them; knows no test."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp_sidecar.call import Client
from mcp_sidecar.directory import Upstream, configured
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound.connection import Key
from mcp_sidecar.outbound.credentials import NO_CREDENTIAL
from mcp_sidecar.outbound.link import Link
from mcp_sidecar.outbound.probe import Verdict
from mcp_sidecar.outbound.ways import Ways
from mcp_sidecar.settings import UpstreamSettings
from tests.outbound.links import family

ROOT = Path(__file__).resolve().parents[2]
FAKE = ROOT / "tests/support/servers/stdio_server.py"
BOTH_ERAS = ("modern", "legacy")


def fake(era: str, *ways: str, **more: Any) -> UpstreamSettings:
    """The fake server with these ways (`stdio_server.main`)."""
    command = (sys.executable, "-IS", str(FAKE), era, *ways)
    return UpstreamSettings(name="up", **{"command": command, "env": {"PATH": os.environ["PATH"]}, **more})


def python(*words: str, program: str = sys.executable, **more: Any) -> UpstreamSettings:
    """A server of this repository that runs on an installed SDK."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    return UpstreamSettings(name="up", command=(program, *words), env=env, **more)


@dataclass
class Programs:
    """The ways to an upstream that is a program, and what was logged on them."""

    ways: Ways
    upstream: Upstream
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def verdict(self) -> Verdict:
        return await self.ways.to(self.upstream, self.upstream.endpoints[0], NO_CREDENTIAL).ask()

    def link(self, verdict: Verdict, client: Client | None = None) -> Link:
        key = Key(self.upstream.endpoints[0], "", b"{}" if client is None else client.capabilities)
        return self.ways.to(self.upstream, key.endpoint, NO_CREDENTIAL).link(verdict, key, client)

    def said(self, event: str) -> list[str]:
        """The words of the program in the log."""
        return [line["text"] for line in self.lines if line["event"] == event and "text" in line]


@asynccontextmanager
async def programs(settings: UpstreamSettings) -> AsyncIterator[Programs]:
    """Everything is ended with the block."""
    async with family() as tasks:
        lines: list[dict[str, Any]] = []
        ways = Ways(tasks, Log(lambda line: lines.append(json.loads(line)), "debug"))
        try:
            yield Programs(ways, configured(settings), lines)
        finally:
            await ways.close()


@asynccontextmanager
async def linked(settings: UpstreamSettings, client: Client | None = None) -> AsyncIterator[tuple[Programs, Any]]:
    """A link to a program, found out to be of its era and open."""
    async with programs(settings) as started:
        link = started.link(await started.verdict(), client)
        try:
            await link.open()
            yield started, link
        finally:
            await link.close()


def alive(pid: int) -> bool:
    """The process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(*pids: int, seconds: float = 10.0) -> None:
    """Wait until none of the processes is there."""
    async with asyncio.timeout(seconds):
        while any(alive(pid) for pid in pids):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
