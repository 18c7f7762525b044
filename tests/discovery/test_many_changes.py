"""Servers and endpoints that come and go for days: nothing of them is kept."""

from __future__ import annotations

import asyncio
import gc

import pytest

from mcp_sidecar.discovery.blend import Blend, blend
from mcp_sidecar.discovery.source import Address, Found
from mcp_sidecar.errors import SidecarError, Unavailable
from mcp_sidecar.outbound.credentials import NO_CREDENTIAL
from mcp_sidecar.outbound.probe import Verdict, legacy
from mcp_sidecar.settings import UpstreamAuthSettings
from tests.engine.engines import Bench, bench, request, tool
from tests.inbound.waiting import eventually
from tests.support.fake_server import FakeServer

CHANGES = 10_000
NO_AUTH = UpstreamAuthSettings()


def found(name: str, port: int, path: str = "/mcp") -> Found:
    return Found(name, "http", False, path, name, (Address("127.0.0.1", port),))


def kept(over: Bench) -> dict[str, int]:
    """How much is known of servers and endpoints, by who knows it."""
    dialer, offers = over.dialer, over.engine.offers
    return {
        "verdicts": len(dialer.prober.verdicts),
        "retired": len(dialer.prober.retired),
        "broken": len(dialer.balancer.broken),
        "health": len(dialer._health),
        "connections": len(dialer.pool.connections()),
        "connections by endpoint": len(dialer.pool._at),
        "homes": len(dialer.pool._homes),
        "lists": len(offers.inventory._last),
        "failures": len(offers.inventory._failed),
        "changes": len(offers.inventory._changes._counts) + len(offers._shelf._changes._counts),
        "results": len(offers._shelf._kept),
        "mirrors": len(offers.mirrors.known),
    }


@pytest.mark.covers("B-229")
async def test_ten_thousand_changes_leave_nothing_behind():
    async def ask() -> Verdict:
        return legacy()

    async with bench({}) as over:
        now = Blend()
        failure = Unavailable("it broke")
        before = kept(over)
        for number in range(CHANGES):
            now = blend(now, (), [found(f"up-{number}", 1), found("stays", 1 + number % 60_000)], NO_AUTH)
            over.directory.replace(now.upstreams.values())
            for upstream in now.upstreams.values():
                (endpoint,) = upstream.endpoints
                over.dialer._failed(upstream, endpoint, failure)
                over.dialer.prober.verdicts[endpoint, ""] = legacy()
            if number % 1000 == 0:
                await over.dialer.prober.verdict(endpoint, NO_CREDENTIAL, ask)
        del endpoint, upstream
        over.directory.replace(())
        now = Blend()
        # What is closing holds its endpoint for a moment longer, and cycles hold theirs until somebody looks.
        await eventually(lambda: gc.collect() >= 0 and kept(over) == before)


@pytest.mark.covers("B-229")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_calls_between_the_changes_leave_nothing_behind_either(era):
    async with FakeServer(era) as a, FakeServer(era) as b, bench({}) as over:
        before = kept(over)
        for number in range(20):
            up = (a, b)[number % 2]
            now = blend(Blend(), (), [found(f"up-{number}", up.port), found("nobody", 9)], NO_AUTH)
            over.directory.replace(now.upstreams.values())
            await over.result(tool("echo", text="x"), f"up-{number}")
            await over.result(request("tools/list"), f"up-{number}")
            with pytest.raises(SidecarError):
                await over.run(request("tools/list"), "nobody")
        del now
        over.directory.replace(())
        # What is closing holds its endpoint for a moment longer, and cycles hold theirs until somebody looks.
        await eventually(lambda: gc.collect() >= 0 and kept(over) == before)
        assert len(a.executions) == len(b.executions) == 10


async def test_a_probe_that_ends_after_its_endpoint_is_gone_leaves_no_verdict():
    asked, answer = asyncio.Event(), asyncio.Event()

    async def ask() -> Verdict:
        asked.set()
        await answer.wait()
        return legacy()

    async with bench({}) as over:
        now = blend(Blend(), (), [found("up", 9)], NO_AUTH)
        over.directory.replace(now.upstreams.values())
        endpoint = now.upstreams["up"].endpoints[0]
        probing = asyncio.create_task(over.dialer.prober.verdict(endpoint, NO_CREDENTIAL, ask))
        await asked.wait()
        over.directory.replace(())
        answer.set()
        await probing
        assert not over.dialer.prober.verdicts
