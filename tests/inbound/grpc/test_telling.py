"""What a 2025-era conversation on `BiDiStream` tells its server, in order with its requests."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_sidecar.v1 import engine_pb2 as pb
from tests.inbound.grpc.asking import frame, request, tool
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {"roots": {}}, "clientInfo": {"name": "raw", "version": "1"}}


async def answered(stream: Any) -> Any:
    message = json.loads((await stream.read()).message_json)
    assert "result" in message, message
    return message["id"]


@pytest.mark.covers("B-133")
async def test_notifications_and_requests_keep_their_order():
    async with asyncio.timeout(15), FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        stream: Any = sidecar.engine.BiDiStream()
        await stream.write(frame(request("initialize", id=0, **HELLO)))
        await answered(stream)
        await stream.write(frame(tool("echo", id="first", text="hi")))
        await answered(stream)
        wanted: list[tuple[str, Any]] = []
        for number in range(1, 6):
            for method in ("notifications/roots/list_changed", "notifications/x"):
                await stream.write(frame(request(method, id=None, number=number)))
                wanted.append((method, number))
            await stream.write(frame(tool("echo", id=number, text=str(number))))
            wanted.append(("tools/call", str(number)))
        assert sorted([await answered(stream) for _ in range(5)]) == [1, 2, 3, 4, 5]
        heard = [one for one in up.requests if one.rpc.startswith("notifications/") or one.rpc == "tools/call"]
        told = [one.params.get("number", one.params.get("arguments", {}).get("text")) for one in heard]
        seen = [(one.rpc, said) for one, said in zip(heard, told, strict=True) if said not in (None, "hi")]
        assert [one for one in seen if one[0] != "tools/call"] == [one for one in wanted if one[0] != "tools/call"]
        for number in range(1, 6):  # a later notification may overtake a request, but no request what was told before
            assert seen.index(("tools/call", str(number))) > seen.index(("notifications/x", number))
        await stream.done_writing()
        assert up.violations == []


@pytest.mark.covers("B-133")
async def test_a_flood_that_the_server_does_not_take_is_dropped_and_nothing_waits_for_it():
    async with asyncio.timeout(15), FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        stream: Any = sidecar.engine.BiDiStream()
        await stream.write(frame(request("initialize", id=0, **HELLO)))
        await answered(stream)
        await stream.write(frame(tool("echo", id="first", text="hi")))
        await answered(stream)
        up.next_reply("never_answers", on="notifications/x", times=1000)
        for number in range(500):
            await stream.write(pb.ClientFrame(message_json=request("notifications/x", id=None, number=number)))
        await stream.write(frame(tool("echo", id="last", text="hi")))
        assert await answered(stream) == "last"
        assert up.count("notifications/x") <= 64
        await stream.done_writing()


@pytest.mark.covers("B-443")
async def test_the_other_questions_of_a_call_that_its_client_declines_are_taken_back():
    async with asyncio.timeout(15), FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        stream: Any = sidecar.engine.BiDiStream()
        able = {**HELLO, "capabilities": {"roots": {}, "elicitation": {}}}
        await stream.write(frame(request("initialize", id=0, **able)))
        await answered(stream)
        await stream.write(frame(tool("ask_several", id="c")))
        one, other = [json.loads((await stream.read()).message_json) for _ in range(2)]
        no = {"code": -1, "message": "the user said no"}
        await stream.write(frame(json.dumps({"jsonrpc": "2.0", "id": one["id"], "error": no}).encode()))
        taken_back, last = [json.loads((await stream.read()).message_json) for _ in range(2)]
        assert (taken_back["method"], taken_back["params"]["requestId"]) == ("notifications/cancelled", other["id"])
        assert (last["id"], last["error"]) == ("c", no)
        await stream.done_writing()
        assert up.violations == []
