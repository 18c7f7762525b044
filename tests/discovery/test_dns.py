"""Every address of a name: `mcp_sidecar.discovery.dns`, with a resolver that says what the test wants."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_sidecar.directory import Endpoint, configured
from mcp_sidecar.discovery.dns import DnsSource, resolve, to_resolve
from mcp_sidecar.discovery.source import Found
from mcp_sidecar.logs import Log
from mcp_sidecar.settings import UpstreamSettings
from tests.inbound.waiting import eventually

FOR_EVER = 3600.0


class Resolver:
    """Answers with what `says` has for a host: addresses, or an exception."""

    def __init__(self, **says: Sequence[str] | Exception) -> None:
        self.says = says
        self.asked: Counter[str] = Counter()

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked[host] += 1
        said = self.says[host]
        if isinstance(said, Exception):
            raise said
        return said


class Running:
    """A source that runs, and what it has published."""

    def __init__(self) -> None:
        self.published: list[tuple[Found, ...]] = []
        self.lines: list[dict[str, Any]] = []
        self.source: DnsSource

    def hosts(self) -> dict[str, list[str]]:
        return {found.name: [one.host for one in found.ready] for found in self.published[-1]}


@asynccontextmanager
async def running(resolver: Resolver, interval: float = 0.1) -> AsyncIterator[Running]:
    it = Running()
    names = [Endpoint(host, "http", host, 8080, f"{host}:8080", "/mcp") for host in resolver.says]
    log = Log(lambda line: it.lines.append(json.loads(line)), "debug")
    it.source = DnsSource(names, interval, log, resolver, lambda low, high: 1.0)
    task = asyncio.create_task(it.source.run(it.published.append))
    try:
        yield it
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.covers("B-230")
async def test_every_address_is_an_endpoint_that_keeps_the_name():
    async with running(Resolver(w=["10.0.0.2", "10.0.0.1", "10.0.0.2", "fd00::1"]), FOR_EVER) as it:
        await eventually(lambda: it.published)
        (found,) = it.published[-1]
        assert [(one.host, one.port) for one in found.ready] == [
            ("10.0.0.1", 8080), ("10.0.0.2", 8080), ("fd00::1", 8080),
        ]  # fmt: skip
        assert (found.authority, found.path, found.transport, found.secure) == ("w:8080", "/mcp", "http", False)


async def test_nothing_is_published_before_every_name_was_asked_for_and_then_one_failure_holds_up_nobody():
    resolver = Resolver(w=["10.0.0.1"], x=TimeoutError())
    async with running(resolver, FOR_EVER) as it:
        await eventually(lambda: it.published)
        assert it.hosts() == {"w": ["10.0.0.1"]}
        assert resolver.asked == {"w": 1, "x": 1}


@pytest.mark.covers("B-230")
async def test_changes_are_published_and_what_stays_is_not():
    resolver = Resolver(w=["10.0.0.1"])
    async with running(resolver) as it:
        await eventually(lambda: resolver.asked["w"] > 2)
        assert len(it.published) == 1
        resolver.says["w"] = ["10.0.0.1", "10.0.0.2"]
        await eventually(lambda: len(it.published) == 2)
        assert it.hosts() == {"w": ["10.0.0.1", "10.0.0.2"]}


@pytest.mark.covers("B-231")
async def test_a_resolver_that_fails_changes_nothing_and_is_told_of_once():
    resolver = Resolver(w=["10.0.0.1"])
    async with running(resolver) as it:
        await eventually(lambda: it.published)
        resolver.says["w"] = socket.gaierror(socket.EAI_AGAIN, "try again")
        seen = resolver.asked["w"]
        await eventually(lambda: resolver.asked["w"] > seen + 2)
        resolver.says["w"] = ["10.0.0.1"]
        await eventually(lambda: len(it.lines) == 2)
        assert len(it.published) == 1
        assert [line["level"] for line in it.lines] == ["warning", "info"]


@pytest.mark.covers("B-231")
async def test_a_name_that_is_no_more_has_no_endpoints():
    resolver = Resolver(w=["10.0.0.1"])
    async with running(resolver) as it:
        await eventually(lambda: it.published)
        resolver.says["w"] = []
        await eventually(lambda: len(it.published) == 2)
        assert it.hosts() == {"w": []}


@pytest.mark.covers("B-230")
async def test_a_name_is_looked_up_at_once_when_its_endpoint_was_found_broken_and_no_other_is():
    resolver = Resolver(w=["10.0.0.1"], x=["10.0.0.9"])
    async with running(resolver, FOR_EVER) as it:
        await eventually(lambda: it.published)
        resolver.says["w"] = ["10.0.0.2"]
        it.source.hurry("w")
        it.source.hurry("nobody")
        await eventually(lambda: it.hosts()["w"] == ["10.0.0.2"])
        assert resolver.asked == {"w": 2, "x": 1}


async def test_without_names_nothing_is_found_and_that_is_published():
    async with running(Resolver()) as it:
        await eventually(lambda: it.published == [()])


async def answer(host: str) -> Sequence[str] | int | None:
    """What the machine's resolver says, or the number of its error."""
    try:
        return await resolve(host)
    except socket.gaierror as error:
        return error.errno


async def test_the_systems_resolver_knows_localhost_and_not_a_name_that_nobody_has():
    assert set(await resolve("localhost")) <= {"127.0.0.1", "::1"}
    # A machine without any resolver cannot tell.
    assert await answer("no-such-host.invalid") in ((), socket.EAI_AGAIN)


def test_only_names_lose_their_endpoint():
    urls = {"name": "http://weather/mcp", "address": "http://127.0.0.1/mcp", "peer": "grpc://weather:1/x"}
    everybody = tuple(configured(UpstreamSettings(name, url)) for name, url in urls.items())
    upstreams, names = to_resolve(everybody)
    assert [len(one.endpoints) for one in upstreams] == [0, 1, 1]
    assert upstreams[1:] == everybody[1:]
    assert names == everybody[0].endpoints
