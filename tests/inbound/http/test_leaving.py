"""A client that leaves has its call cancelled at the server, in the way of its era, and nothing stays behind."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from urllib.parse import urlsplit

import pytest

from tests.inbound.http.posts import headers_of, message, written
from tests.inbound.waiting import eventually
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.sidecar import Sidecar
from tests.wire.loopback import dial

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
HOW = {"modern": "closed", "legacy": "notified"}
HOLD = message(params={"name": "hold", "arguments": {"gate": "never"}})
# The promise is 100 ms; the rest is the machine's: it may be busy with other things.
PROMISED, PATIENCE = 0.1, 0.4


def reset(writer: asyncio.StreamWriter) -> None:
    """Leave as a crashed client does, by RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def stop_sending(writer: asyncio.StreamWriter) -> None:
    writer.write_eof()


@pytest.mark.covers("B-20", "B-30")
@ERAS
@pytest.mark.parametrize("leave", [close, reset, stop_sending])
async def test_a_client_that_leaves_before_the_answer_has_its_call_cancelled(era, leave):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        url = sidecar.url("up")
        async with dial(urlsplit(url).port or 0) as peer:
            await peer.send(written(url, HOLD, headers_of(HOLD)))
            await up.until(lambda up: up.executions)
            left = asyncio.get_running_loop().time()
            leave(peer.writer)
            await up.until(lambda up: up.cancelled)
        (gone,) = up.cancelled
        assert (gone.tool, gone.how) == ("hold", HOW[era])
        assert gone.request_id == up.executions[0].request_id
        assert gone.at - left < PROMISED + PATIENCE
        await eventually(lambda: sidecar.calls(code="CANCELLED"))
        assert [line["execution"] for line in sidecar.calls()] == ["unknown"]
        assert up.violations == []


@pytest.mark.covers("B-20")
@ERAS
async def test_a_client_that_leaves_in_mid_stream_has_its_call_cancelled(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        params = {"name": "hold", "arguments": {"gate": "never"}}
        async with Modern(sidecar.url("up")).opened("tools/call", params, progressToken=1) as stream:
            await anext(stream.messages())
            stream.close()
            await up.until(lambda up: up.cancelled)
        assert [gone.how for gone in up.cancelled] == [HOW[era]]
        await eventually(lambda: sidecar.calls(code="CANCELLED"))


@pytest.mark.covers("B-20")
@ERAS
async def test_one_client_that_leaves_takes_no_other_call_with_it(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        params = {"name": "hold", "arguments": {"gate": "g", "text": "stayed"}}
        async with Modern(sidecar.url("up")).opened("tools/call", params, progressToken="p") as stayed:
            async with Modern(sidecar.url("up")).opened("tools/call", params, progressToken="p") as left:
                left.close()
                await up.until(lambda up: up.cancelled)
            up.release("g")
            last = [message async for message in stayed.messages()][-1]
            assert last["result"]["content"][0]["text"] == "stayed"
        assert len(up.cancelled) == 1


@pytest.mark.covers("B-20", "B-62")
@ERAS
async def test_a_hundred_clients_that_leave_at_any_moment_leave_nothing_behind(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        url = sidecar.url("up")
        sent = written(url, HOLD, headers_of(HOLD))

        async def leave_after(turns: int) -> None:
            async with dial(urlsplit(url).port or 0) as peer:
                await peer.send(sent)
                for _ in range(turns):
                    await asyncio.sleep(0)

        async with asyncio.timeout(20), asyncio.TaskGroup() as clients:
            for number in range(100):
                clients.create_task(leave_after(number))
        await eventually(
            lambda: {run.request_id for run in up.executions} <= {gone.request_id for gone in up.cancelled}
        )
        await eventually(lambda: all(line["code"] == "CANCELLED" for line in sidecar.calls()))
        began = time.monotonic()
        # Nothing is in flight, so there is nothing to wait for (the grace is 2 s).
        sidecar.stop()
        await sidecar.stopped()
        assert time.monotonic() - began < 1.5
        assert up.violations == []


@pytest.mark.covers("B-05", "B-20")
@ERAS
async def test_a_listener_that_leaves_ends_its_subscription(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        wants = {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["fake://text"]}}
        async with Modern(sidecar.url("up")).opened("subscriptions/listen", wants) as stream:
            await anext(stream.messages())
            await up.until(lambda up: up.streams)
            stream.close()
            if era == "modern":
                await up.until(lambda up: not up.streams)
            else:
                await up.until(lambda up: up.count("resources/unsubscribe"))
        await eventually(lambda: sidecar.calls(method="subscriptions/listen"))


@pytest.mark.covers("B-44")
async def test_a_slow_reader_slows_its_own_call_and_no_other():
    async with FakeServer(script={"fail": "endless_progress"}) as up, Sidecar({"up": up.url}) as sidecar:
        client = Modern(sidecar.url("up"))
        async with client.opened("tools/call", {"name": "fail", "arguments": {}}, progressToken=1) as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            for _ in range(20):
                reply = await client.call("echo", {"text": "hi"})
                assert reply.status == 200
        await up.until(lambda up: up.cancelled)
