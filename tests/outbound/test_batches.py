"""Several messages of a server in one JSON array, which 2025-03-26 has and no other revision."""

from __future__ import annotations

import asyncio
import json

import pytest

from mcp_sidecar.errors import UpstreamProtocolError
from tests.outbound.links import Heard, a_call, ask, legacy, text_of, tool
from tests.outbound.programs import fake, linked
from tests.support.fake_server import FakeServer


@pytest.mark.covers("B-143")
async def test_messages_of_a_server_of_2025_03_26_may_come_several_at_once():
    async with linked(fake("legacy", protocol="2025-03-26")) as (_, link):
        sink = Heard()
        answer = await link.exchange(tool(link, "batch", progressToken="mine"), a_call(), sink)
        assert text_of(answer) == "batched"
        assert [one["params"]["progressToken"] for one in sink.messages] == ["mine"]
        async with asyncio.timeout(5):
            while not (answers := json.loads(await ask(link, "seen", {"what": "answers"}))):
                pass
        assert [answer["id"] for answer in answers] == ["b1"]


@pytest.mark.covers("B-143")
async def test_messages_of_a_server_of_another_revision_may_not():
    async with linked(fake("legacy", protocol="2025-06-18")) as (_, link):
        with pytest.raises(UpstreamProtocolError):
            await link.exchange(tool(link, "batch", progressToken="mine"), a_call(), Heard())


@pytest.mark.covers("B-143")
@pytest.mark.parametrize(("how", "steps"), [("batch_array", [1]), ("batch_event", [1, 2])])
@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18"])
async def test_several_messages_at_once_are_taken_from_servers_of_2025_03_26_only(
    how: str, steps: list[int], version: str
):
    async with FakeServer("legacy", versions=(version,)) as server, legacy(server.url) as link:
        await link.open()
        server.next_reply(how, on="tools/call")
        sink = Heard()
        asking = link.exchange(tool(link, "echo", {"text": "hi"}, progressToken="mine"), a_call(), sink)
        if version == "2025-03-26":
            assert text_of(await asking) == "rude"
            assert [one["params"]["progress"] for one in sink.messages] == steps
        else:
            with pytest.raises(UpstreamProtocolError):
                await asking
