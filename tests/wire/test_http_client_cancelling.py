"""What becomes of a connection whose caller gives up at the very moment its reply arrives."""

from __future__ import annotations

import asyncio

import pytest

from tests.wire.loopback import OK, calling, get, origin, replying


@pytest.mark.covers("B-14")
async def test_a_caller_that_gives_up_as_its_reply_comes_takes_no_connection_from_others():
    async with origin(replying(OK)) as server, calling(server.port) as client, asyncio.timeout(5):
        await get(client)
        first = asyncio.get_running_loop().create_task(client.request(b"GET", b"/", b"", b""))
        await asyncio.sleep(0)
        assert client.busy_sockets == 1
        while client.busy_sockets:  # noqa: ASYNC110 - the moment between the reply's arrival and its reader's turn
            await asyncio.sleep(0)
        first.cancel()
        # The connection is free, so the next caller has it before the one that gave up gets its turn.
        second = client.request(b"GET", b"/", b"", b"")
        waiting = second.send(None)
        await asyncio.wait({first})
        assert first.cancelled()
        await asyncio.wait({waiting})
        with pytest.raises(StopIteration) as ended:
            second.send(None)
        assert await ended.value.value.read() == b"ok"
        assert len(server.accepted) == 1
