"""Keeps the directory at what a source publishes, beside what is configured; knows neither DNS nor Kubernetes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from mcp_sidecar.directory import Directory
from mcp_sidecar.discovery.blend import Blend, blend
from mcp_sidecar.discovery.source import Found, Source
from mcp_sidecar.logs import Log
from mcp_sidecar.settings import UpstreamAuthSettings

# What follows from a change costs more than the change: a hundred in a second are taken together.
_BETWEEN_SECONDS = 0.1
_LONGEST_SECONDS = 30.0  # before a source that failed is run again


class Feed:
    """The one writer of a directory, which begins with what is configured. `auth` is for what is found.

    `known` is set once the source has published for the first time.
    """

    def __init__(self, source: Source, directory: Directory, auth: UpstreamAuthSettings, log: Log) -> None:
        self._source = source
        self._directory = directory
        self._configured = tuple(directory.snapshot.values())
        self._auth = auth
        self._log = log
        self._blend = Blend(directory.snapshot)
        self._latest: Iterable[Found] = ()
        self._published = asyncio.Event()
        self.known = asyncio.Event()

    async def run(self) -> None:
        """Follow the source for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_source(), name="source")
            while True:
                await self._published.wait()
                self._published.clear()
                self._apply(self._latest)
                self.known.set()
                await asyncio.sleep(_BETWEEN_SECONDS)

    async def _run_source(self) -> None:
        """A source raises nothing; one that does all the same must not end calls to servers that are known."""
        failures = 0
        while True:
            try:
                return await self._source.run(self._publish)
            except Exception as error:  # noqa: BLE001
                failures += 1
                self._log.error("discovery", state="failed", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(min(_LONGEST_SECONDS, failures))

    def _publish(self, found: tuple[Found, ...]) -> None:
        self._latest = found
        self._published.set()

    def _apply(self, found: Iterable[Found]) -> None:
        before = self._blend
        after = self._blend = blend(before, self._configured, found, self._auth)
        self._tell(before, after)
        if list(after.upstreams.values()) != list(before.upstreams.values()):
            self._directory.replace(after.upstreams.values())

    def _tell(self, before: Blend, after: Blend) -> None:
        """A line for every upstream that came, went or was left alone, and a quiet one for those that changed."""
        for name in sorted(after.shadowed - before.shadowed):
            self._log.warning(
                "discovery", server=name, state="ignored", why="the configuration has a server of this name"
            )
        for name in before.upstreams.keys() - after.upstreams.keys():
            self._log.info("discovery", server=name, state="gone")
        for name, upstream in after.upstreams.items():
            if upstream is (old := before.upstreams.get(name)):
                continue
            loud = old is None or bool(old.all) != bool(upstream.all)
            tell = self._log.info if loud else self._log.debug
            state = "found" if old is None else "changed"
            counts = {"endpoints": len(upstream.endpoints), "leaving": len(upstream.leaving)}
            tell("discovery", server=name, state=state, origin=upstream.origin, **counts)
