"""Tests of `mcp_sidecar.inbound.grpc.accepting`: what `asyncio.wait` promises for one future."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.inbound.grpc.accepting import wait


async def _first(*futures):
    return await wait(dict.fromkeys(futures).keys(), return_when=asyncio.FIRST_COMPLETED)


@pytest.mark.parametrize("end", ["result", "exception", "cancelled"])
@pytest.mark.parametrize("early", [True, False])
async def test_a_future_is_told_of_however_it_ended(end, early):
    future = asyncio.get_running_loop().create_future()

    def finish():
        if end == "cancelled":
            future.cancel()
        else:
            getattr(future, f"set_{end}")(ValueError("no") if end == "exception" else 1)

    if early:
        finish()
    else:
        asyncio.get_running_loop().call_soon(finish)
    done, pending = await _first(future)
    assert list(done) == [future]
    assert not pending
    assert future.cancelled() or (future.exception() is not None) is (end == "exception")


async def test_whoever_is_cancelled_while_waiting_leaves_the_future_alone():
    future = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(_first(future))
    await asyncio.sleep(0)
    waiting.cancel()
    future.set_result(1)  # in the same turn
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not future.cancelled()


async def test_of_several_the_first_is_told_of():
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
    first.set_result(1)
    done, pending = await _first(first, second)
    assert set(done) == {first}
    assert set(pending) == {second}
