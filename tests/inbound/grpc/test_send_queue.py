"""Tests of `mcp_sidecar.inbound.grpc.send_queue`."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.errors import SendQueueFull
from mcp_sidecar.inbound.grpc.send_queue import SendQueue


class Frame:
    def __init__(self, size: int) -> None:
        self.size = size

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's spelling
        return self.size


async def test_frames_come_out_in_the_order_they_went_in_and_then_the_end():
    queue: SendQueue[Frame] = SendQueue(10, 1000)
    frames = [Frame(size) for size in (5, 1, 3)]
    for frame in frames:
        queue.put(frame)
    queue.end()
    assert [await queue.take() for _ in range(4)] == [*frames, None]
    assert await queue.take() is None


async def test_a_taker_waits_for_the_next_frame_or_the_end():
    queue: SendQueue[Frame] = SendQueue(10, 1000)
    async with asyncio.timeout(1), asyncio.TaskGroup() as tasks:
        taken = tasks.create_task(queue.take())
        await asyncio.sleep(0)
        assert not taken.done()
        queue.put(frame := Frame(1))
        assert await taken is frame
        last = tasks.create_task(queue.take())
        await asyncio.sleep(0)
        queue.end()
        assert await last is None


@pytest.mark.covers("B-07")
async def test_the_frame_that_no_longer_fits_sets_full_and_room_made_later_does_not_undo_it():
    queue: SendQueue[Frame] = SendQueue(2, 1000)
    queue.put(Frame(1))
    queue.put(Frame(1))
    assert not queue.full.done()
    with pytest.raises(SendQueueFull):
        queue.put(Frame(1))
    assert queue.full.done()
    await queue.take()
    queue.put(Frame(1))
    assert queue.full.done()


@pytest.mark.covers("B-07")
@given(frames=st.integers(1, 5), size=st.integers(1, 100), puts=st.lists(st.integers(0, 150), max_size=20))
async def test_no_more_waits_than_the_limits_allow_or_one_frame(frames: int, size: int, puts: list[int]):
    queue: SendQueue[Frame] = SendQueue(frames, size)
    held: list[int] = []
    for one in puts:
        fits = len(held) < frames and (not held or sum(held) + one <= size)
        try:
            queue.put(Frame(one))
            held.append(one)
            assert fits
        except SendQueueFull:
            assert not fits
            taken = await queue.take()
            assert taken is not None
            assert taken.size == held.pop(0)
