"""From objects of the API server to published servers, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mcp_sidecar.discovery.source import Address, Found
from mcp_sidecar.kube.discovery import KubeSource
from mcp_sidecar.logs import Log
from mcp_sidecar.settings import DiscoverySettings
from tests.kube.clock import BOUND, FakeTime
from tests.kube.objects import endpoint, piece
from tests.support.kube_api import KubeApi, kube_api

SLICES = "endpointslices"


class Publications:
    """What a source has published, and a way to wait for it."""

    def __init__(self) -> None:
        self.all: list[tuple[Found, ...]] = []
        self.log: list[bytes] = []
        self._news = asyncio.Event()

    def __call__(self, found: tuple[Found, ...]) -> None:
        self.all.append(found)
        self._news.set()

    async def when(self, is_it: Callable[[dict[str, Found]], bool]) -> dict[str, Found]:
        """The newest publication, once it is what it should be."""
        async with asyncio.timeout(BOUND):
            while True:
                newest = {one.name: one for one in self.all[-1]} if self.all else None
                if newest is not None and is_it(newest):
                    return newest
                self._news.clear()
                await self._news.wait()


@contextlib.asynccontextmanager
async def watching(api: KubeApi, folder: Path, clock: FakeTime | None = None, **keys) -> AsyncIterator[Publications]:
    """A source in mode namespace, running."""
    published = Publications()
    settings = DiscoverySettings(mode="namespace", kubeconfig=api.kubeconfig(folder, token=api.token), **keys)
    source = KubeSource(settings, Log(published.log.append), time=(clock or FakeTime()).time)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(source.run(published), name="source")
        try:
            yield published
        finally:
            task.cancel()


def hosts(found: Found) -> set[str]:
    return {address.host for address in found.ready}


@pytest.mark.covers("B-200")
@pytest.mark.parametrize("streaming_lists", [True, False])
async def test_servers_are_found_and_followed(tmp_path: Path, streaming_lists: bool):
    async with kube_api(streaming_lists=streaming_lists) as api:
        api.put(SLICES, piece("weather", [endpoint("10.0.0.1"), endpoint("10.0.0.2")]))
        api.put(SLICES, piece("other", [endpoint("10.0.0.9")], labels={}))
        async with watching(api, tmp_path) as published:
            found = await published.when(bool)
            assert found == {
                "weather": Found(
                    name="weather",
                    transport="http",
                    secure=False,
                    path="/mcp",
                    authority="weather.tools.svc:8080",
                    ready=(Address("10.0.0.1", 8080), Address("10.0.0.2", 8080)),
                    origin="Service tools/weather",
                )
            }
            api.put(SLICES, piece("weather", [endpoint("10.0.0.2"), endpoint("10.0.0.3")]))
            await published.when(lambda found: hosts(found["weather"]) == {"10.0.0.2", "10.0.0.3"})
            api.delete(SLICES, "weather-x1")
            await published.when(lambda found: not found)
