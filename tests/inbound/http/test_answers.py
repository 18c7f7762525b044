"""How the HTTP face answers: JSON until there is more to say, a stream from then on, comments while it is silent."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult

from mcp_sidecar.call import Call
from mcp_sidecar.inbound.http.modern import Post, conclude
from mcp_sidecar.inbound.http.opening import read_opening
from mcp_sidecar.inbound.http.silence import Silence
from mcp_sidecar.protocol.jsonrpc import Response
from mcp_sidecar.wire.http_server import Reply, Request
from tests.inbound.http.posts import headers_of, message, post, written
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.sidecar import Sidecar
from tests.wire.loopback import Peer, dial, serving

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])


@pytest.mark.covers("B-40")
@ERAS
@pytest.mark.parametrize("answers", ["json", "sse"])
async def test_a_call_without_notifications_is_answered_with_json(era, answers):
    async with FakeServer(era, answers) as up, Sidecar({"up": up.url}) as sidecar:
        reply = await Modern(sidecar.url("up")).call("echo", {"text": "hi"})
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert reply.messages[0]["id"] == 1
        assert reply.messages[0]["result"]["content"] == [{"type": "text", "text": "hi"}]


@pytest.mark.covers("B-40")
@ERAS
async def test_the_first_notification_begins_a_stream(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        client = Modern(sidecar.url("up"))
        async with client.opened(
            "tools/call", {"name": "hold", "arguments": {"gate": "g"}}, progressToken="p"
        ) as stream:
            assert stream.status == 200
            assert stream.headers["content-type"] == "text/event-stream"
            assert stream.headers["cache-control"] == "no-cache, no-transform"
            assert stream.headers["x-accel-buffering"] == "no"
            messages = stream.messages()
            first = await anext(messages)
            assert first["method"] == "notifications/progress"
            assert first["params"]["progressToken"] == "p"
            up.release("g")
            last = await anext(messages)
            assert last["id"] == 1
            assert "result" in last
            assert [message async for message in messages] == []


@pytest.mark.covers("B-40", "B-04")
@ERAS
async def test_progress_and_asked_for_logs_come_in_order_and_before_the_response(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        meta = {"progressToken": 7, "io.modelcontextprotocol/logLevel": "debug"}
        reply = await Modern(sidecar.url("up")).call("progress", {"steps": 5}, **meta)
        *told, response = reply.messages
        progress = [one["params"] for one in told if one["method"] == "notifications/progress"]
        logs = [one["params"]["data"] for one in told if one["method"] == "notifications/message"]
        assert [one["progress"] for one in progress] == [1, 2, 3, 4, 5]
        assert {one["progressToken"] for one in progress} == {7}
        assert logs == [f"step {step}" for step in range(1, 6)]
        assert response["result"]["isError"] is False
        assert all(event.event == "message" and not event.id for event in reply.events)


@pytest.mark.covers("B-40")
@ERAS
async def test_logs_nobody_asked_for_do_not_begin_a_stream(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        reply = await Modern(sidecar.url("up")).call("progress", {"steps": 3})
        assert reply.headers["content-type"] == "application/json"


@pytest.mark.covers("B-22", "B-42")
@ERAS
@pytest.mark.parametrize("rudeness", ["closes_mid_sse", "reset_mid_sse"])
async def test_a_failure_after_the_stream_has_begun_is_its_last_event(era, rudeness):
    ways: dict[str, Any] = {"script": {"tools/call": rudeness}}
    if era == "legacy":
        ways["versions"] = ("2025-06-18",)  # without the resuming of 2025-11-25
    async with FakeServer(era, **ways) as up, Sidecar({"up": up.url}) as sidecar:
        reply = await Modern(sidecar.url("up")).call("echo", {"text": "hi"}, progressToken="p")
        assert reply.status == 200
        assert reply.messages[0]["method"] == "notifications/progress"
        error = reply.messages[-1]["error"]
        assert (reply.messages[-1]["id"], error["code"]) == (1, -31014)
        assert error["data"]["execution"] == "unknown"
        assert error["data"]["requestId"] == reply.headers["x-request-id"]


@pytest.mark.covers("B-14", "B-40")
@pytest.mark.parametrize("request_id", [0, -7, 2**53 + 1, 10**100, "", "a\\u0000b", "日本", 'quo"te'])
@ERAS
async def test_the_answer_has_the_id_of_the_request_whatever_it_is(era, request_id):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), message(id=request_id))
        assert answer.facts == (200, None)
        assert answer.message["id"] == request_id
        assert up.violations == []


@pytest.mark.covers("B-02")
@ERAS
async def test_values_pass_through_byte_for_byte(era):
    values = '{"b":1.0,"a":[1e2,-0,1000000000000000000000000000001,"\\/ \\u00e9 é"],"b2":{"z":null,"y":true}}'
    body = message(params={"name": "echo", "arguments": {"text": "SPOT"}}).replace(b'"SPOT"', values.encode())
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        assert (await post(sidecar.url("up"), body)).status == 200
        assert values.encode() in up.requests[-1].body


@pytest.mark.covers("B-40")
async def test_results_with_line_breaks_between_their_members_stay_one_event():
    result = b'{"resultType":"complete",\r\n "content":\n[{"type":"text","text":"a\\nb"}]\r}'

    async def handle(request: Request, reply: Reply) -> None:
        answer = Post(request, read_opening(request.head), reply, "r", Silence(10))
        answer.message_id = b"1"
        answer.silence.add(answer)
        await answer.notify("notifications/progress", b'{"jsonrpc":"2.0",\n"method":"notifications/progress"}')
        await answer.end_stream(Response(b"1", result=result))

    async with serving(handle) as served:
        reply = await raw_http.post(f"http://127.0.0.1:{served.port}/", {})
        assert len(reply.events) == 2
        assert reply.messages[-1]["result"]["content"] == [{"type": "text", "text": "a\nb"}]


@asynccontextmanager
async def silent(keep_alive: float, end: asyncio.Event, *, told: bool = False):
    """A peer that has posted a call, at a face that says nothing until `end`."""

    async def handle(request: Request, reply: Reply) -> None:
        answer = Post(request, read_opening(request.head), reply, "r", Silence(keep_alive))
        try:
            answer.message_id = b"1"
            answer.silence.add(answer)
            if told:
                await answer.notify("notifications/progress", b"{}")
            await end.wait()
            if reply.started:
                await answer.end_stream(Response(b"1", result=b"{}"))
            else:
                conclude(Call("", "r"), answer, Response(b"1", result=b"{}"))
        finally:
            answer.stop()

    async with serving(handle) as served, dial(served.port) as peer:
        await peer.send(written(f"http://127.0.0.1:{served.port}/", b"{}", []))
        yield peer


async def _rest(peer: Peer) -> list[bytes]:
    return [chunk async for chunk in peer.chunks()]


@pytest.mark.covers("B-40")
@pytest.mark.parametrize("told", [False, True], ids=["nothing said yet", "a stream has begun"])
async def test_silence_is_filled_with_comments(told):
    end = asyncio.Event()
    async with silent(0.005, end, told=told) as peer:
        status, headers = await peer.head()
        assert (status, headers[b"content-type"]) == (200, b"text/event-stream")
        assert headers[b"x-request-id"] == b"r"
        if told:
            await peer.chunk()
        for _ in range(3):
            assert await peer.chunk() == b": keep-alive\n\n"
        end.set()
        *comments, last = await _rest(peer)
        assert set(comments) <= {b": keep-alive\n\n"}
        assert last == b'event: message\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\n\n'


@pytest.mark.covers("B-40")
async def test_an_answer_before_the_silence_is_over_is_json():
    end = asyncio.Event()
    async with silent(10.0, end) as peer:
        end.set()
        answer = await peer.answer()
        assert answer.headers[b"content-type"] == b"application/json"
        assert answer.body == b'{"jsonrpc":"2.0","id":1,"result":{}}'


@pytest.mark.covers("B-40")
async def test_a_client_of_http_1_0_is_streamed_to_until_the_end():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        url = sidecar.url("up")
        params = {"name": "progress", "arguments": {"steps": 2}}
        body = message(params={**params, "_meta": {**json.loads(message())["params"]["_meta"], "progressToken": 1}})
        async with dial(urlsplit(url).port or 0) as peer:
            await peer.send(written(url, body, headers_of(body)).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
            status, headers = await peer.head()
            assert (status, b"transfer-encoding" in headers) == (200, False)
            rest = await peer.rest()
            assert rest.count(b"event: message\n") == 3
            assert rest.endswith(b"\n\n")


@pytest.mark.covers("B-05", "B-40")
@ERAS
async def test_a_subscription_is_acknowledged_fed_and_ended_when_the_sidecar_drains(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        wants = {"notifications": {"toolsListChanged": True}}
        async with Modern(sidecar.url("up")).opened("subscriptions/listen", wants) as stream, asyncio.timeout(5):
            messages = stream.messages()
            acknowledged = await anext(messages)
            assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
            await up.until(lambda up: up.streams)
            up.push("notifications/tools/list_changed")
            changed = await anext(messages)
            assert changed["method"] == "notifications/tools/list_changed"
            key = "io.modelcontextprotocol/subscriptionId"
            assert acknowledged["params"]["_meta"][key] == changed["params"]["_meta"][key] == 1
            sidecar.stop()
            last = await anext(messages)
            assert last == {
                "jsonrpc": "2.0",
                "id": 1,
                "result": {"resultType": "complete", "_meta": {key: 1}},
            }


@pytest.mark.covers("B-40")
@ERAS
async def test_the_official_client_is_served(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        for url in (sidecar.url("up"), sidecar.url()):
            async with asyncio.timeout(20), Client(url, mode="2026-07-28") as client:
                tools = await client.list_tools()
                assert "echo" in {tool.name for tool in tools.tools}
                result = await client.call_tool("echo", {"text": "hi"})
                assert result.content[0].text == "hi"  # type: ignore[union-attr]
                with pytest.raises(MCPError):
                    await client.call_tool("nothing", {})
        assert up.violations == []


@pytest.mark.covers("B-40")
@pytest.mark.parametrize("name", ["Bo", None])
async def test_a_question_to_the_user_goes_there_and_back(name):
    async def ask(context: Any, params: Any) -> ElicitResult:
        assert params.message == "What is your name?"
        return ElicitResult(action="accept", content={"name": name}) if name else ElicitResult(action="decline")

    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        async with (
            asyncio.timeout(20),
            Client(sidecar.url("up"), mode="2026-07-28", elicitation_callback=ask) as client,
        ):
            result = await client.call_tool("ask_elicitation", {})
            assert result.content[0].text == (f"accept: {name}" if name else "decline: None")  # type: ignore[union-attr]
        assert up.violations == []


@pytest.mark.covers("B-14")
@ERAS
async def test_callers_with_equal_ids_and_tokens_get_what_is_theirs(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:

        async def one(number: int) -> None:
            reply = await Modern(sidecar.url("up")).call("slow", {"seconds": 0, "text": str(number)}, progressToken="p")
            assert reply.messages[-1]["result"]["content"][0]["text"] == str(number)
            assert reply.messages[-1]["id"] == 1

        async with asyncio.timeout(20), asyncio.TaskGroup() as callers:
            for number in range(200):
                callers.create_task(one(number))
        assert sorted(int(run.arguments["text"]) for run in up.executions) == list(range(200))
        assert up.violations == []


@pytest.mark.covers("B-15", "B-40")
@ERAS
@pytest.mark.parametrize("answers", ["json", "sse"])
async def test_a_call_behind_a_big_answer_on_the_same_connection_is_answered(era, answers):
    async with FakeServer(era, answers) as up, Sidecar({"up": up.url}) as sidecar:
        client = Modern(sidecar.url("up"))
        for size in (100_000, 1_000_000, 4_000_000):
            async with asyncio.timeout(10):
                reply = await client.call("big", {"bytes": size})
                assert len(reply.messages[0]["result"]["content"][0]["text"]) == size
                assert (await client.call("echo", {"text": "next"})).status == 200
