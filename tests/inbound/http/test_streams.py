"""Streams of 2025-era clients: cut, resumed, cancelled, and ended by the drain."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.inbound.http.conversing import ERAS, HOLD, first, served
from tests.inbound.waiting import eventually
from tests.support import raw_http
from tests.support.raw_http import Event


@pytest.mark.covers("B-85")
@ERAS
@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18"])
async def test_a_call_whose_connection_is_lost_runs_on_and_its_answer_can_be_fetched(era, version):
    async with served(era, version) as (up, sidecar, client):
        async with client.opened("tools/call", HOLD, progressToken="p") as stream:
            _, event = await first(stream)
        assert event.message["method"] == "notifications/progress"
        up.release("g")
        await eventually(lambda: sidecar.calls(name="hold", code="OK"))
        async with client.listening(event.id) as again:
            assert again.status == 200
            (rest,) = [one async for one in again.events()]
        assert rest.message["result"]["content"][0]["text"] == "held"
        assert up.cancelled == []
        async with client.listening(rest.id) as nothing:
            assert [one async for one in nothing.events()] == []


@pytest.mark.covers("B-84")
@ERAS
async def test_a_call_that_has_said_nothing_runs_on_as_well(era):
    async with served(era) as (up, sidecar, client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), client.opened("tools/call", HOLD):
                pass
        await up.until(lambda up: up.executions)
        up.release("g")
        await eventually(lambda: sidecar.calls(name="hold", code="OK"))
        assert up.cancelled == []
        assert (await client.call("echo", {"text": "hi"})).status == 200


@pytest.mark.covers("B-85")
@ERAS
async def test_a_stream_is_carried_on_where_it_was_while_the_call_runs(era):
    async with served(era) as (up, _, client):
        async with client.opened("tools/call", HOLD, progressToken="p") as stream:
            events = stream.events()
            priming = await anext(events)
        assert (priming.data, priming.retry) == ("", 1000)
        async with client.listening(priming.id) as again:
            events, event = await first(again)
            assert event.message["method"] == "notifications/progress"
            up.release("g")
            last = await anext(events)
            assert last.message["id"] == 2
            assert [one async for one in events] == []
        assert len({priming.id, event.id, last.id}) == 3


@pytest.mark.covers("B-85")
async def test_only_2025_11_25_has_a_priming_event_and_everybody_has_ids():
    for version in ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"):
        async with served("modern", version) as (_, _, client):
            events = (await client.call("progress", {"steps": 3}, progressToken="p")).events
            assert [bool(event.data) for event in events] == [version != "2025-11-25"] * (version == "2025-11-25") + [
                True
            ] * 4
            assert [event.retry for event in events] == [1000] * (version == "2025-11-25") + [None] * 4
            assert len({event.id for event in events}) == len(events)


@pytest.mark.covers("B-85")
async def test_a_resumed_stream_holds_nothing_of_another():
    async with served("modern") as (up, _, client):
        async with client.opened("tools/call", HOLD, progressToken="p") as stream:
            _, event = await first(stream)
        other = await client.call("progress", {"steps": 5}, progressToken="q")
        up.release("g")
        async with client.listening(event.id) as again:
            (rest,) = [one async for one in again.events()]
        assert rest.message["id"] == 2
        assert rest.id not in {one.id for one in other.events}


@pytest.mark.covers("B-85")
@pytest.mark.parametrize("last", ["nonsense", "99-1", "1-99", "1-1x", "-1-1", ""])
async def test_what_is_not_kept_cannot_be_resumed_and_says_so(last):
    async with served("modern") as (_, _, client):
        await client.call("progress", {"steps": 2}, progressToken="p")
        reply = await raw_http.request("GET", client.url, b"", {**client.headers, "Last-Event-ID": last})
        assert (reply.status, reply.messages[0]["error"]["code"]) == (400, -32600)


@pytest.mark.covers("B-85")
async def test_what_had_to_make_room_for_later_events_cannot_be_resumed():
    async with served("modern") as (_, _, client):
        early = (await client.call("progress", {"steps": 2}, progressToken="p")).events[0]
        await client.call("progress", {"steps": 300}, progressToken="q")
        reply = await raw_http.request("GET", client.url, b"", {**client.headers, "Last-Event-ID": early.id})
        assert reply.status == 400


@pytest.mark.covers("B-82", "B-85")
@ERAS
async def test_a_question_that_met_a_lost_connection_is_asked_on_the_next_one(era):
    async with served(era, capabilities={"elicitation": {}}) as (up, _, client):
        asking = {"name": "ask_elicitation", "arguments": {}}
        async with client.opened("tools/call", asking) as stream:
            priming = await anext(stream.events())
        async with client.listening(priming.id) as again:
            events, question = await first(again)
            await client.answer(question.message["id"], {"action": "accept", "content": {"name": "Bo"}})
            assert (await anext(events)).message["result"]["content"][0]["text"] == "accept: Bo"
        assert up.violations == []


@pytest.mark.covers("B-84")
@ERAS
@pytest.mark.parametrize("token", [{}, {"progressToken": "p"}], ids=["nothing said yet", "a stream has begun"])
async def test_a_cancelled_call_is_cancelled_at_the_server_and_has_no_response(era, token):
    async with served(era) as (up, sidecar, client):

        async def call() -> list[Event]:
            async with client.opened("tools/call", HOLD, **token) as stream:
                assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
                return [event async for event in stream.events()]

        async with asyncio.TaskGroup() as tasks:
            calling = tasks.create_task(call())
            await up.until(lambda up: up.executions)
            assert (await client.notify("notifications/cancelled", {"requestId": 2})).status == 202
        assert [event for event in calling.result() if event.data and "method" not in event.message] == []
        await up.until(lambda up: up.cancelled)
        await eventually(lambda: sidecar.calls(name="hold", code="CANCELLED"))
        for event in calling.result():
            reply = await raw_http.request("GET", client.url, b"", {**client.headers, "Last-Event-ID": event.id})
            assert reply.status == 400


@pytest.mark.covers("B-84")
async def test_what_is_not_in_flight_can_be_cancelled_without_harm():
    async with served("modern") as (_, _, client):
        for params in ({"requestId": 99}, {"requestId": "2"}, {}, {"requestId": None}):
            assert (await client.notify("notifications/cancelled", params)).status == 202
        assert (await client.call("echo", {"text": "hi"})).status == 200


@pytest.mark.covers("B-84")
@ERAS
async def test_ending_a_session_ends_its_calls_and_streams(era):
    async with served(era) as (up, sidecar, client):
        async with client.opened("tools/call", HOLD, progressToken="p") as stream, client.listening() as news:
            await first(stream)
            await client.close()
            async for _ in news.events():
                pass
            async for _ in stream.events():
                pass
        await eventually(lambda: sidecar.calls(name="hold", code="CANCELLED"))
        if era == "modern":
            await up.until(lambda up: up.cancelled)
        else:
            await up.until(lambda up: not up.sessions)


@pytest.mark.covers("B-86")
async def test_an_id_in_flight_is_not_used_twice():
    async with served("modern") as (up, _, client):
        body = client.compose("tools/call", HOLD, progressToken="p")
        async with raw_http.opened("POST", client.url, body, client.headers) as stream:
            await first(stream)
            reply = await raw_http.post(client.url, body, client.headers)
            assert (reply.status, reply.messages[0]["error"]["code"]) == (400, -32600)
            up.release("g")


@pytest.mark.covers("B-86")
async def test_a_session_has_a_bounded_number_of_requests_in_flight():
    async with served("modern") as (up, _, client):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(256):
                await stack.enter_async_context(client.opened("tools/call", HOLD, progressToken="p"))
            reply = await client.request("ping")
            assert (reply.status, reply.messages[0]["error"]["code"]) == (200, -31008)
            up.release("g")


@pytest.mark.covers("B-62", "B-86")
@ERAS
async def test_when_the_sidecar_drains_calls_finish_and_then_sessions_end(era):
    async with served(era) as (up, sidecar, client):
        async with client.opened("tools/call", HOLD, progressToken="p") as stream, client.listening() as news:
            events, _ = await first(stream)
            sidecar.stop()
            await eventually(lambda: [line for line in sidecar.lines if line["event"] == "draining"])
            while True:
                reply = await client.call("echo", {"text": "hi"})
                if "error" in reply.messages[-1]:
                    break
            assert (reply.status, reply.headers["mcp-sidecar-execution"]) == (200, "none")
            assert reply.messages[-1]["error"]["code"] == -31014
            up.release("g")
            assert (await anext(events)).message["result"]["content"][0]["text"] == "held"
            assert all(not event.data for event in [event async for event in news.events()])
        await sidecar.stopped()
