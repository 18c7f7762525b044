"""What one turn of the event loop writes: together, in order, and never much of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from mcp_sidecar.wire.outbox import Outbox
from tests.wire.loopback import BOUND


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.Transport]]:
    ours, theirs = socket.socketpair()
    reader, far = await asyncio.open_connection(sock=theirs)
    _, near = await asyncio.open_connection(sock=ours)
    try:
        yield reader, cast("asyncio.Transport", near.transport)
    finally:
        for writer in (near, far):
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(
    "sizes", [(1,), (1, 2, 3), (0, 1), (65_536, 1, 1), (1, 65_536, 1), (65_537, 1), (70_000, 70_000)]
)
async def test_writes_of_a_turn_arrive_in_order(sizes: tuple[int, ...]):
    outbox = Outbox(asyncio.get_running_loop())
    pieces = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    async with pair() as (first, one), pair() as (second, other), asyncio.timeout(BOUND):
        for piece in pieces:
            outbox.write(one, piece, alone=False)
            outbox.write(other, piece.lower(), alone=False)
        assert await first.readexactly(sum(sizes)) == b"".join(pieces)
        assert await second.readexactly(sum(sizes)) == b"".join(pieces).lower()


async def test_what_waits_goes_before_what_would_leave_at_once():
    outbox = Outbox(asyncio.get_running_loop())
    async with pair() as (reader, transport), asyncio.timeout(BOUND):
        outbox.write(transport, b"first", alone=False)
        outbox.write(transport, b"second", alone=True)
        assert outbox.holds(transport)
        assert await reader.readexactly(11) == b"firstsecond"
        assert not outbox.holds(transport)
        outbox.write(transport, b"third", alone=True)
        assert not outbox.holds(transport)


@pytest.mark.parametrize("sizes", [(65_537,), (65_536, 1), (1, 1, 65_535)])
async def test_more_than_64_kib_for_one_peer_does_not_wait(sizes: tuple[int, ...]):
    outbox = Outbox(asyncio.get_running_loop())
    async with pair() as (_, transport), pair() as (_, other):
        outbox.write(other, b"x", alone=False)
        for size in sizes[:-1]:
            outbox.write(transport, b"x" * size, alone=False)
            assert outbox.holds(transport)
        outbox.write(transport, b"x" * sizes[-1], alone=False)
        assert not outbox.holds(transport)
        assert outbox.holds(other)


async def test_a_piece_that_waits_is_not_changed_by_the_next():
    outbox = Outbox(asyncio.get_running_loop())
    shared = b"the same for all"
    async with pair() as (first, one), pair() as (second, other), asyncio.timeout(BOUND):
        outbox.write(one, shared, alone=False)
        outbox.write(other, shared, alone=False)
        outbox.write(one, b", and more", alone=False)
        assert await first.readexactly(len(shared) + 10) == shared + b", and more"
        assert await second.readexactly(len(shared)) == shared
