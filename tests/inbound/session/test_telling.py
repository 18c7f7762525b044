"""Tests of `mcp_sidecar.inbound.session.telling`: order, limits, and who waits for whom."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.call import Client
from mcp_sidecar.inbound.session.telling import Telling, goes_on
from mcp_sidecar.protocol.jsonrpc import Request

CLIENT = Client(id="client", version="2025-11-25")
MIB = 1024 * 1024


class Servers:
    """Hear what they are told, one thing after the other, while their gate is open."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.gate = asyncio.Event()

    async def tell(self, client: Client, notification: Request) -> None:
        assert client is CLIENT
        await self.gate.wait()
        self.heard.append(notification.params["n"])


def said(number: int, size: int = 0) -> Request:
    return Request("notifications/x", params={"n": b"%d" % number, "more": b"1" * size})


async def test_what_is_told_is_passed_on_in_order_and_a_request_waits_for_what_came_before_it():
    servers = Servers()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        telling = Telling(CLIENT, servers, tasks)
        await telling.passed()
        for number in range(3):
            telling.put(said(number))
        request = tasks.create_task(telling.passed(), name="request")
        await asyncio.sleep(0)
        telling.put(said(3))
        servers.gate.set()
        await request
        assert servers.heard[:3] == [b"0", b"1", b"2"]
    assert servers.heard == [b"0", b"1", b"2", b"3"]


@pytest.mark.covers("B-133")
async def test_a_request_does_not_wait_for_ever():
    servers = Servers()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        telling = Telling(CLIENT, servers, tasks)
        telling.put(said(0))
        await telling.passed()
        assert servers.heard == []
        telling.stop()


@pytest.mark.covers("B-133")
@pytest.mark.parametrize(("size", "most"), [(0, 64), (MIB, 4), (5 * MIB, 1)])
async def test_what_there_is_no_room_for_is_dropped(size: int, most: int):
    servers = Servers()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        telling = Telling(CLIENT, servers, tasks)
        for number in range(100):
            telling.put(said(number, size - 2 if size else 0))
        servers.gate.set()
        await telling.passed()
        assert servers.heard == [b"%d" % number for number in range(most)]
        telling.put(said(100, size))
    assert servers.heard[-1] == b"100"


@pytest.mark.parametrize(
    ("method", "goes"),
    [
        ("notifications/roots/list_changed", True),
        ("notifications/anything", True),
        ("notifications/initialized", False),
        ("notifications/cancelled", False),
        ("tools/call", False),
        ("notification", False),
    ],
)
def test_notifications_go_on_that_are_a_servers_to_hear(method: str, goes: bool):
    assert goes_on(Request(method)) is goes
