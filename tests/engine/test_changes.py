"""Who is told that what a server offers has changed: `mcp_sidecar.engine.changes` and who reads lists."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.call import Call
from mcp_sidecar.directory import configured
from mcp_sidecar.engine.catalogue import TOOLS
from mcp_sidecar.engine.changes import Told
from mcp_sidecar.settings import UpstreamSettings
from tests.engine.engines import bench
from tests.outbound.sse_server import SseServer
from tests.support.fake_server import FakeServer

LISTS = [f"notifications/{name}/list_changed" for name in ("prompts", "tools")]


def test_what_all_hear_within_a_second_is_one_change_and_later_it_is_another():
    now, heard = 10.0, list[tuple[str, str]]()
    told = Told(lambda: now)
    told.notify = lambda server, how: heard.append((server, how))
    for server in ("a", "b"):
        for method in LISTS * 3:
            told.announced(server, method)
    assert heard == [("a", "announced")] * 2 + [("b", "announced")] * 2
    now = 11.0
    told.announced("a", LISTS[0])
    told.found("b")
    assert heard[4:] == [("a", "announced"), ("b", "found")]
    told.bury("a")
    told.announced("a", LISTS[0])
    assert heard[6:] == [("a", "announced")], "another server of that name"


@pytest.mark.covers("B-375")
async def test_a_list_that_is_another_than_before_is_a_change_and_one_that_is_the_same_is_none():
    heard: list[tuple[str, str]] = []
    async with FakeServer() as full, SseServer() as empty, bench({"up": full.url}) as over, asyncio.timeout(10):
        over.engine.offers.told.notify = lambda server, how: heard.append((server, how))
        inventory = over.engine.offers.inventory
        for number in range(4):
            if number == 2:
                other = UpstreamSettings(name="up", url=f"sse+{empty.url}", protocol="sse")
                over.directory.replace([configured(other)])
            inventory.forget("up")
            gathered = await inventory.gather(Call("/test/Run", f"r-{number}"), ("up",), TOOLS)
            assert not gathered.missing and not gathered.stale
        assert heard == [("up", "found")]
