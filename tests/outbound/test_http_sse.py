"""Servers of 2024-11-05: where their messages go, what comes on their stream, and what becomes of calls without it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_sidecar.errors import Execution, SidecarError
from mcp_sidecar.settings import UpstreamSettings
from mcp_sidecar.v1 import engine_pb2
from tests.inbound.waiting import eventually
from tests.outbound import test_probe
from tests.outbound.calling import SECONDS, connections, events, failure, message, tool
from tests.outbound.links import NOBODY, Heard, a_call, ask, endpoint_of
from tests.outbound.links import tool as tool_call
from tests.outbound.programs import linked
from tests.outbound.sse_server import SseServer
from tests.support.fake_server import FakeServer
from tests.support.fake_wire import event
from tests.support.real_servers import RealServer
from tests.support.sidecar import Sidecar


def upstream(server: SseServer, **more: Any) -> UpstreamSettings:
    return UpstreamSettings(name="up", url=f"sse+{server.url}", **more)


@pytest.mark.covers("B-120")
@pytest.mark.parametrize("url", ["sse+{}", "{}"], ids=["asked for", "found out"])
async def test_a_server_of_the_official_sdk_is_spoken_to(sdk1_sse_server: RealServer, url: str):
    async with Sidecar({"up": url.format(sdk1_sse_server.url)}) as sidecar:
        texts = await asyncio.gather(*(tool(sidecar, "echo", {"text": str(number)}) for number in range(20)))
        assert texts == [str(number) for number in range(20)]
        (one,) = await connections(sidecar)
        assert (one.transport, one.era) == ("sse", "legacy")
        came = [one async for one in events(sidecar, "progress", {"steps": 3}, progressToken="p")]
        assert [one["params"]["progress"] for one in came[:-1]] == [1, 2, 3]
        body = message("tools/call", {"name": "slow", "arguments": {"seconds": 60, "text": url}}, progressToken=1)
        running: Any = sidecar.engine.CallStream(engine_pb2.CallRequest(message_json=body), timeout=SECONDS)
        await running.read()
        running.cancel()
        async with asyncio.timeout(SECONDS):
            while url not in await tool(sidecar, "given_up"):
                pass


@pytest.mark.covers("B-120")
async def test_messages_are_posted_where_the_stream_says_and_nothing_else_is():
    async with SseServer() as server, linked(upstream(server)) as (_, link):
        assert link.transport == "sse"
        assert link.profile.version == "2024-11-05"
        call = a_call()
        assert await ask(link, "echo", {"text": "hi"}, call=call) == "hi"
        assert call.execution is Execution.DONE
        assert [(one.method, one.target) for one in server.requests] == [
            ("GET", "/sse"),
            *[("POST", "/messages?session=1")] * 3,
        ]
        assert server.requests[0].headers["accept"] == "text/event-stream"
        said = [one.get("method") for one in server.messages]
        assert said == ["initialize", "notifications/initialized", "tools/call"]


@pytest.mark.covers("B-121")
@pytest.mark.parametrize(
    "endpoint",
    [
        "http://evil.example/messages",
        "//evil.example/messages",
        "https://127.0.0.1:{port}/messages",
        "http://127.0.0.1:1/messages",
        "http://127.0.0.1:x/messages",
        "http://127.0.0.1:{port}@evil.example/messages",
        "/messages HTTP/1.1\rx: y",
        "/mess ages",
        "/é",
        "",
        None,
    ],
)
async def test_another_origin_is_never_posted_to(endpoint: str | None):
    async with SseServer() as server:
        server.endpoint = endpoint and endpoint.format(port=server.port)
        if endpoint is None:
            server.say = lambda *_: None  # type: ignore[method-assign]
            server._get = (200, "application/json")
        with pytest.raises(SidecarError) as caught:
            async with linked(upstream(server)):
                pass
        assert caught.value.execution is Execution.NONE
        assert "evil" not in caught.value.message
        assert [one.method for one in server.requests] == ["GET"]
        await eventually(lambda: all(wire.lost for wire in server._wires))


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:{port}/m", "m?x=y", "../m", "?s=1"])
async def test_any_url_of_the_same_origin_will_do(endpoint: str):
    async with SseServer() as server:
        server.endpoint = endpoint.format(port=server.port)
        if endpoint == "?s=1":
            server.endpoint = "/other?s=1"
        async with linked(upstream(server)) as (_, link):
            assert await ask(link, "echo", {"text": "hi"}) == "hi"


@pytest.mark.parametrize("status", [404, 401, 500, 200])
async def test_a_stream_that_cannot_be_had_is_a_failure_and_nothing_ran(status: int):
    async with SseServer(get=(status, "text/html")) as server, Sidecar({"up": upstream(server)}) as sidecar:
        refused = await failure(tool(sidecar, "echo", {"text": "hi"}))
        assert refused.execution == "none"
        assert server.messages == []


@pytest.mark.covers("B-122")
async def test_a_broken_stream_loses_the_calls_on_it_and_the_next_one_opens_another():
    async with SseServer() as server, linked(upstream(server)) as (_, link), asyncio.TaskGroup() as tasks:
        call = a_call()
        holding = tasks.create_task(lost(link, call))
        await eventually(lambda: server.count("tools/call") == 1)
        server.drop_streams()
        assert (await holding).execution is call.execution is Execution.UNKNOWN
        assert await ask(link, "echo", {"text": "again"}) == "again"
        assert server.count("initialize") == 2


async def lost(link: Any, call: Any) -> SidecarError:
    with pytest.raises(SidecarError) as caught:
        await link.exchange(tool_call(link, "hold"), call, Heard())
    return caught.value


@pytest.mark.covers("B-122")
async def test_the_monitor_opens_a_broken_stream_again():
    async with SseServer() as server, Sidecar({"up": upstream(server)}) as sidecar:
        call = asyncio.ensure_future(failure(tool(sidecar, "hold")))
        await eventually(lambda: server.count("tools/call") == 1)
        server.drop_streams()
        assert (await call).execution == "unknown"
        await eventually(lambda: server.count("initialize") == 2)
        await eventually(lambda: [line["state"] for line in sidecar.lines if "state" in line][-1] == "connected")


@pytest.mark.parametrize(
    ("status", "execution"),
    [(400, Execution.NONE), (401, Execution.NONE), (404, Execution.NONE), (500, Execution.UNKNOWN)],
)
async def test_a_refused_post_says_whether_the_call_ran(status: int, execution: Execution):
    async with SseServer(post_status=status) as server, linked(upstream(server)) as (_, link):
        call = a_call()
        error = await lost(link, call)
        assert error.execution is call.execution is execution
        assert server.count("tools/call") == (2 if status == 404 else 1)


@pytest.mark.parametrize("garbage", [b"event: message\ndata: {\n\n", b"data: []\n\n", b"event: message\ndata: x\n\n"])
async def test_garbage_on_the_stream_fails_the_calls_on_it(garbage: bytes):
    async with SseServer() as server, linked(upstream(server)) as (_, link), asyncio.TaskGroup() as tasks:
        holding = tasks.create_task(lost(link, call := a_call()))
        await eventually(lambda: server.count("tools/call") == 1)
        server.say(b": comment\n\nevent: other\ndata: x\n\n" + event())
        server.say(garbage)
        assert (await holding).execution is call.execution is Execution.UNKNOWN


async def test_a_cancelled_call_is_cancelled_by_notification():
    async with SseServer() as server, linked(upstream(server)) as (_, link), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(link.exchange(tool_call(link, "hold"), a_call(), Heard()))
        await eventually(lambda: server.count("tools/call") == 1)
        running.cancel()
        await eventually(lambda: server.count("notifications/cancelled") == 1)


# ---- finding it out ----


@pytest.mark.covers("B-123")
async def test_a_server_that_takes_no_post_and_streams_is_found_out_without_beginning_anything():
    async with SseServer() as server, test_probe.prober() as asking:
        verdict = await asking.verdict(endpoint_of(server.url), NOBODY, test_probe.asked(server.url))
        assert verdict.transport == "sse"
        assert [one.method for one in server.requests] == ["POST", "GET"]
        assert server.messages == []


@pytest.mark.covers("B-123")
async def test_a_server_that_answers_in_json_rpc_is_not_asked_for_a_stream():
    async with FakeServer("legacy") as server:
        assert (await test_probe.verdict_on(server.url)).transport == ""
        assert [received.method for received in server.requests] == ["POST"]


@pytest.mark.parametrize(("status", "kind"), [(405, "text/html"), (200, "text/html")])
async def test_a_server_that_does_not_stream_either_is_an_ordinary_legacy_one(status: int, kind: str):
    async with SseServer(get=(status, kind)) as server:
        assert (await test_probe.verdict_on(server.url)).transport == ""
