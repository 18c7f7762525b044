"""What a stream keeps for a caller that does not take it, and what becomes of its callers when it is lost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_sidecar.call import Call
from mcp_sidecar.errors import Execution, SendQueueFull, SidecarError, UpstreamLost, UpstreamUnavailable
from mcp_sidecar.outbound import stream
from mcp_sidecar.outbound.stream import Stream
from mcp_sidecar.outbound.stream_legacy import progress_of
from mcp_sidecar.protocol.jsonrpc import Request
from tests.outbound.links import a_call, family


class Pipe:
    """A wire whose other end is the test."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.coming: asyncio.Queue[bytes | SidecarError] = asyncio.Queue()
        self.closed = 0

    async def send(self, message: bytes, call: Call) -> None:
        call.execution = Execution.UNKNOWN
        self.sent.append(message)

    async def receive(self) -> bytes:
        item = await self.coming.get()
        if isinstance(item, SidecarError):
            raise item
        return item

    def close_idle(self, unused_for: float) -> None:
        """There is nothing to close."""

    async def close(self) -> None:
        self.closed += 1

    def says(self, **message: Any) -> None:
        self.coming.put_nowait(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def progress(self, token: int, text: str = "") -> None:
        params = {"progressToken": token, "progress": 1, "message": text}
        self.says(method="notifications/progress", params=params)


async def nothing(_: Request) -> None:
    """Takes everything."""


async def stuck(_: Request) -> None:
    await asyncio.Event().wait()


def made(tasks: asyncio.TaskGroup) -> tuple[Pipe, Stream, list[Request]]:
    pipe = Pipe()
    strays: list[Request] = []
    return pipe, Stream(pipe, "up", tasks, progress_of, strays.append), strays


async def sent(pipe: Pipe, count: int) -> None:
    async with asyncio.timeout(5):
        while len(pipe.sent) < count:  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.mark.covers("B-113")
@pytest.mark.parametrize("size", [10, 1_000_000])
async def test_a_caller_that_takes_nothing_is_dropped_and_no_other_waits_for_it(size: int):
    async with family() as tasks:
        pipe, both, _ = made(tasks)
        slow = tasks.create_task(kept(both, call := a_call()))
        quick = tasks.create_task(both.exchange(b"2", b"b", a_call(), nothing))
        await sent(pipe, 2)
        for _ in range(stream._MOST_WAITING + 10 if size == 10 else 20):
            pipe.progress(1, "x" * size)
        pipe.says(id=2, result={})
        assert (await quick).result == b"{}"
        mailbox = both._exchanges[b"1"]
        assert mailbox._bytes <= stream._MOST_WAITING_BYTES
        assert len(mailbox._waiting) <= stream._MOST_WAITING + 1
        slow.cancel()
        assert call.execution is Execution.UNKNOWN
        await both.close()


async def kept(both: Stream, call: Call) -> None:
    await both.exchange(b"1", b"a", call, stuck)


async def test_a_caller_that_fell_behind_gets_what_was_kept_and_then_learns_of_it():
    async with family() as tasks:
        pipe, both, _ = made(tasks)
        gate, taken = asyncio.Event(), []

        async def late(message: Request) -> None:
            await gate.wait()
            taken.append(message)

        running = tasks.create_task(fails(both, b"1", late))
        await sent(pipe, 1)
        for _ in range(stream._MOST_WAITING + 50):
            pipe.progress(1)
        async with asyncio.timeout(5):
            while not pipe.coming.empty():  # noqa: ASYNC110
                await asyncio.sleep(0)
        gate.set()
        assert type(await running) is SendQueueFull
        assert stream._MOST_WAITING <= len(taken) <= stream._MOST_WAITING + 1
        await both.close()


async def fails(both: Stream, request_id: bytes, receive: Any = nothing, call: Call | None = None) -> SidecarError:
    with pytest.raises(SidecarError) as caught:
        await both.exchange(request_id, b"x", call or a_call(), receive)
    return caught.value


async def test_what_came_before_the_end_is_still_delivered():
    async with family() as tasks:
        pipe, both, _ = made(tasks)
        running = tasks.create_task(both.exchange(b"1", b"a", a_call(), nothing))
        lost = tasks.create_task(fails(both, b"2"))
        await sent(pipe, 2)
        pipe.says(id=1, result={})
        pipe.coming.put_nowait(UpstreamLost("gone"))
        assert (await running).result == b"{}"
        error = await lost
        assert (type(error), error.execution, error.metadata) == (UpstreamLost, Execution.UNKNOWN, {"server": "up"})
        assert pipe.closed
        call = a_call()
        error = await fails(both, b"3", call=call)
        assert (type(error), error.execution) == (UpstreamUnavailable, Execution.NONE)
        assert call.execution is Execution.NONE


async def test_a_fault_of_the_reader_leaves_nobody_waiting():
    class Broken(Pipe):
        async def receive(self) -> bytes:
            await super().receive()
            raise RuntimeError("a bug")

    async with family() as tasks:
        pipe = Broken()
        both = Stream(pipe, "up", tasks, progress_of, lambda _: None)
        running = tasks.create_task(fails(both, b"1"))
        await sent(pipe, 1)
        pipe.says(id=1, result={})
        assert type(await running) is UpstreamLost
