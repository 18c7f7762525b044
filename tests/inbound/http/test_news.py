"""What a server says by itself reaches 2025-era clients on their session's own stream."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.inbound.http.conversing import ERAS, first, served
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Legacy
from tests.support.sidecar import Sidecar


@pytest.mark.covers("B-87")
@ERAS
async def test_what_the_server_says_by_itself_comes_on_the_sessions_own_stream(era):
    async with served(era) as (up, _, client):
        async with client.listening() as stream:
            assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
            await up.until(lambda up: up.streams == 1)
            for kind in ("tools", "prompts", "resources"):
                up.push(f"notifications/{kind}/list_changed")
            events, event = await first(stream)
            heard = [event, await anext(events), await anext(events)]
            assert [one.message["method"].split("/")[1] for one in heard] == ["tools", "prompts", "resources"]
            assert "subscriptionId" not in json.dumps([one.message for one in heard])
            async with client.listening() as second:
                assert second.status == 409
        await up.until(lambda up: up.streams == 0)
        assert up.violations == []


@pytest.mark.covers("B-87")
@ERAS
async def test_subscribed_resources_are_told_of_and_no_others(era):
    async with served(era) as (up, _, client):
        async with client.listening() as stream:
            await up.until(lambda up: up.streams == 1)
            for uri in ("fake://a", "fake://b", "fake://c"):
                reply = await client.request("resources/subscribe", {"uri": uri})
                assert reply.messages[0] == {"jsonrpc": "2.0", "id": reply.messages[0]["id"], "result": {}}
            await client.request("resources/unsubscribe", {"uri": "fake://b"})
            await up.until(lambda up: up.streams == 1)
            if era == "legacy":
                await up.until(lambda up: up.count("resources/unsubscribe") == 1)
            for uri in ("fake://b", "fake://x", "fake://c"):
                up.push("notifications/resources/updated", {"uri": uri})
            _, event = await first(stream)
            assert event.message["params"] == {"uri": "fake://c"}
        assert up.violations == []


@pytest.mark.covers("B-415")
async def test_an_update_within_a_subscribed_resource_is_told():
    async with served("legacy") as (up, _, client), client.listening() as stream:
        await client.request("resources/subscribe", {"uri": "fake://a"})
        await up.until(lambda up: up.streams == 1)
        up.push("notifications/resources/updated", {"uri": "fake://a/b"})
        _, event = await first(stream)
        assert event.message["params"] == {"uri": "fake://a/b"}


@pytest.mark.covers("B-87")
@ERAS
async def test_news_wait_for_a_client_that_does_not_listen_yet(era):
    async with served(era) as (up, _, client):
        assert (await client.request("resources/subscribe", {"uri": "fake://a"})).status == 200
        await up.until(lambda up: up.streams == 1)
        up.push("notifications/resources/updated", {"uri": "fake://a"})
        up.push("notifications/tools/list_changed")
        await asyncio.sleep(0.05)
        async with client.listening() as stream:
            events, event = await first(stream)
            assert event.message["params"] == {"uri": "fake://a"}
            last = await anext(events)
            assert last.message["method"] == "notifications/tools/list_changed"
        async with client.listening(event.id) as stream:
            _, again = await first(stream)
            assert again == last
        async with client.listening() as stream:
            up.push("notifications/resources/updated", {"uri": "fake://a"})
            _, event = await first(stream)
            assert event.message["method"] == "notifications/resources/updated"
        assert up.streams == 1


@pytest.mark.covers("B-87")
@ERAS
async def test_a_server_that_ends_the_subscription_is_listened_to_again(era):
    async with served(era) as (up, _, client):
        async with client.listening() as stream:
            await up.until(lambda up: up.streams == 1)
            listened = up.count("subscriptions/listen")
            if era == "modern":
                up.end_subscriptions()
                await up.until(lambda up: up.count("subscriptions/listen") > listened and up.streams == 1)
            else:
                up.forget_sessions()
                await up.until(lambda up: up.streams == 0)
                await up.until(lambda up: up.streams == 1)
            up.push("notifications/tools/list_changed")
            _, event = await first(stream)
            assert event.message["method"] == "notifications/tools/list_changed"


@pytest.mark.covers("B-87")
async def test_a_subscription_that_cannot_be_had_is_an_error():
    async with served("modern") as (up, _, client):
        for params in ({}, {"uri": 1}, {"uri": "fake://" + "x" * 8192}):
            reply = await client.request("resources/subscribe", params)
            assert (reply.status, reply.messages[0]["error"]["code"]) == (200, -32602)
        assert (await client.request("resources/unsubscribe", {"uri": "fake://never"})).messages[0]["result"] == {}
        await up.stop()
        reply = await client.request("resources/subscribe", {"uri": "fake://a"})
        assert (reply.status, reply.messages[0]["error"]["code"]) == (200, -31014)


@pytest.mark.covers("B-87")
@ERAS
async def test_logs_come_at_the_level_the_client_has_set(era):
    async with served(era) as (up, _, client):
        quiet = await client.call("progress", {"steps": 1})
        assert len(quiet.messages) == 1
        assert (await client.request("logging/setLevel", {"level": "info"})).messages[0]["result"] == {}
        *logs, _ = (await client.call("progress", {"steps": 2})).messages
        assert [one["params"]["data"] for one in logs] == ["step 1", "step 2"]
        reply = await client.request("logging/setLevel", {"level": "error"})
        assert len((await client.call("progress", {"steps": 1})).messages) == 1
        assert reply.status == 200
        assert up.violations == []


@pytest.mark.covers("B-87")
async def test_a_level_changes_what_a_listener_hears():
    async with served("legacy") as (up, _, client):
        async with client.listening() as stream:
            await up.until(lambda up: up.streams == 1)
            up.push("notifications/message", {"level": "info", "data": "unheard"})
            await client.request("logging/setLevel", {"level": "info"})
            await up.until(lambda up: up.streams == 1)
            up.push("notifications/message", {"level": "debug", "data": "unheard"})
            up.push("notifications/message", {"level": "info", "data": "heard"})
            _, event = await first(stream)
            assert event.message["params"]["data"] == "heard"


@pytest.mark.covers("B-87")
async def test_a_server_that_takes_back_its_own_question_confuses_nobody():
    async with served("legacy") as (up, _, client):
        async with client.listening() as stream:
            await up.until(lambda up: up.streams == 1)
            up.push("notifications/cancelled", {"requestId": 1})
            up.push("notifications/tasks/status", {"taskId": "t"})
            _, event = await first(stream)
            assert event.message["method"] == "notifications/tasks/status"


@pytest.mark.covers("B-135")
async def test_an_error_of_the_server_to_a_subscription_is_the_subscribers():
    async with served("legacy") as (up, _, client):
        for _ in range(2):  # what was refused counts for nobody: the server is asked again
            reply = await client.request("resources/subscribe", {"uri": "refused://x"})
            error = {"code": -32002, "message": "Resource not found", "data": {"uri": "refused://x"}}
            assert (reply.status, reply.messages[0]["error"]) == (200, error)
        assert (await client.request("resources/subscribe", {"uri": "fake://a"})).messages[0]["result"] == {}
        assert (await client.request("resources/subscribe", {"uri": "refused://y"})).messages[0]["error"][
            "code"
        ] == -32002
        async with client.listening() as stream:
            await up.until(lambda up: up.streams == 1)
            up.push("notifications/resources/updated", {"uri": "fake://a"})
            _, event = await first(stream)
            assert event.message["params"] == {"uri": "fake://a"}
        assert up.count("resources/unsubscribe") == 0
        assert up.violations == []


@pytest.mark.covers("B-135")
async def test_several_servers_as_one_refuse_a_subscription_in_our_words():
    async with FakeServer("legacy") as a, FakeServer("legacy") as b, Sidecar({"a": a.url, "b": b.url}) as sidecar:
        client = Legacy(sidecar.url())
        await client.initialize()
        reply = await client.request("resources/subscribe", {"uri": "refused://x"})
        assert (reply.status, reply.messages[0]["error"]["code"]) == (200, -32602)
