"""The connection on which a server was asked for its era is that of the first call."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.directory import Endpoint
from mcp_sidecar.outbound.spares import Spares
from mcp_sidecar.wire.http_client import HttpClient, Origin
from mcp_sidecar.wire.limits import ClientLimits
from tests.outbound.calling import tool
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

WHOSE = Endpoint("up", "http", "127.0.0.1", 9, "127.0.0.1:9", "/mcp"), ""


def client() -> HttpClient:
    return HttpClient(Origin("127.0.0.1", 9, b"127.0.0.1:9", None), ClientLimits())


@pytest.mark.covers("B-145")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_the_first_call_goes_where_the_server_was_asked_for_its_era(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        assert await tool(sidecar, "echo", {"text": "hi"}) == "hi"
        assert up.count("server/discover") == 1
        assert up.connections == 1


async def test_a_client_is_taken_once_and_the_latest_is_kept():
    kept, (one, other) = Spares(), (client(), client())
    kept.keep(WHOSE, one)
    kept.keep(WHOSE, other)
    assert one._closed and not other._closed
    assert kept.take(WHOSE) is other
    assert kept.take(WHOSE) is None
    kept.close()
    assert not other._closed


async def test_a_client_that_nobody_takes_is_closed():
    kept, one = Spares(seconds=0.01), client()
    kept.keep(WHOSE, one)
    async with asyncio.timeout(5):
        while not one._closed:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert kept.take(WHOSE) is None
