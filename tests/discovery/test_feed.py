"""From what a source publishes to the directory: `mcp_sidecar.discovery.feed`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp_sidecar.directory import Directory, Snapshot, configured
from mcp_sidecar.discovery.feed import Feed
from mcp_sidecar.discovery.source import Address, Found, Publish
from mcp_sidecar.logs import Log
from mcp_sidecar.settings import UpstreamAuthSettings, UpstreamSettings
from tests.inbound.waiting import eventually
from tests.support.scripted_source import ScriptedSource


def one(name: str, *hosts: str) -> Found:
    addresses = tuple(Address(host, 80) for host in hosts)
    return Found(name, "http", False, "/mcp", name, addresses, origin=f"Service tools/{name}")


class Fed:
    """A directory with one configured upstream, what it was told, and the log."""

    def __init__(self, source: Any) -> None:
        self.lines: list[dict[str, Any]] = []
        self.snapshots: list[Snapshot] = []
        self.directory = Directory([configured(UpstreamSettings("ours", "http://127.0.0.1/mcp"))], settled=False)
        self.directory.subscribe(self.snapshots.append)
        log = Log(lambda line: self.lines.append(json.loads(line)), "debug")
        self.feed = Feed(source, self.directory, UpstreamAuthSettings(), log)

    def told(self, **fields: Any) -> list[dict[str, Any]]:
        return [line for line in self.lines if fields.items() <= line.items()]


@asynccontextmanager
async def fed(source: Any) -> AsyncIterator[Fed]:
    it = Fed(source)
    task = asyncio.create_task(it.feed.run())
    try:
        yield it
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_the_first_publication_makes_it_known_also_when_nothing_was_found():
    source = ScriptedSource()
    async with fed(source) as it:
        await asyncio.sleep(0)
        assert not it.feed.known.is_set()
        source.say()
        await eventually(it.feed.known.is_set)
        assert list(it.directory.snapshot) == ["ours"]
        assert it.snapshots == []  # nothing has changed


async def test_who_comes_and_goes_is_in_the_log_and_smaller_changes_at_debug_only():
    source = ScriptedSource()
    async with fed(source) as it:
        source.say(one("w", "10.0.0.1"))
        await eventually(lambda: it.told(server="w", state="found", level="info", endpoints=1))
        assert it.lines[-1]["origin"] == "Service tools/w"
        source.say(one("w", "10.0.0.1", "10.0.0.2"))
        await eventually(lambda: it.told(server="w", state="changed", level="debug", endpoints=2))
        source.say(one("w"))
        await eventually(lambda: it.told(server="w", state="changed", level="info", endpoints=0))
        source.say()
        await eventually(lambda: it.told(server="w", state="gone", level="info"))
        assert len(it.snapshots) == 4


async def test_many_changes_at_once_are_taken_together_and_the_last_one_counts():
    source = ScriptedSource()
    async with fed(source) as it:
        await asyncio.sleep(0)
        for number in range(200):
            source.say(one("w", f"10.0.0.{number}"))
        await eventually(lambda: it.directory.snapshot.get("w"))
        await eventually(lambda: it.directory.find("w").all[0].address == "10.0.0.199:80")
        assert len(it.snapshots) == 1


class Faulty:
    """A source that breaks its promise to raise nothing, once."""

    def __init__(self) -> None:
        self.runs = 0

    async def run(self, publish: Publish) -> None:
        self.runs += 1
        publish((one("w", f"10.0.0.{self.runs}"),))
        if self.runs == 1:
            raise RuntimeError("a bug")
        await asyncio.get_running_loop().create_future()


async def test_a_source_that_breaks_is_told_of_and_run_again_and_what_was_known_stays():
    source = Faulty()
    async with fed(source) as it:
        await eventually(lambda: it.told(event="discovery", level="error"))
        await eventually(lambda: "w" in it.directory.snapshot)
        await eventually(lambda: source.runs == 2, 10)
        await eventually(lambda: it.directory.find("w").all[0].address == "10.0.0.2:80")
