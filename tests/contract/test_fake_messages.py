"""What the fake says by itself: pushes, questions to its client, logs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.fake_server import FakeServer
from tests.support.raw_http import Reply
from tests.support.raw_mcp import Legacy, Modern

SECONDS = 5.0
LOG_LEVEL = "io.modelcontextprotocol/logLevel"


async def test_a_push_reaches_those_who_subscribed_to_it_and_nobody_else() -> None:
    wanted = {"notifications": {"promptsListChanged": True, "resourceSubscriptions": ["fake://greeting"]}}
    async with FakeServer("modern") as server, asyncio.timeout(SECONDS):
        async with Modern(server.url).opened("subscriptions/listen", wanted) as exchange:
            messages = exchange.messages()
            await anext(messages)
            assert server.push("notifications/tools/list_changed") == 0
            assert server.push("notifications/resources/updated", {"uri": "fake://pixel"}) == 0
            assert server.push("notifications/resources/updated", {"uri": "fake://greeting"}) == 1
            pushed = await anext(messages)
            assert pushed["params"]["uri"] == "fake://greeting"
            assert pushed["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": 1}
            server.end_subscriptions()
            (last,) = [message async for message in messages]
            assert last["id"] == 1
            assert last["result"]["resultType"] == "complete"
        assert server.violations == []


async def test_a_push_reaches_legacy_clients_on_their_get_stream() -> None:
    async with FakeServer("legacy") as server, asyncio.timeout(SECONDS):
        client = Legacy(server.url)
        await client.initialize()
        assert server.push("notifications/tools/list_changed") == 0
        async with client.listening() as stream:
            await server.until(lambda s: s.streams == 1)
            assert server.push("notifications/resources/updated", {"uri": "fake://greeting"}) == 0
            await client.request("resources/subscribe", {"uri": "fake://greeting"})
            assert server.push("notifications/resources/updated", {"uri": "fake://greeting"}) == 1
            assert (await anext(stream.messages()))["params"] == {"uri": "fake://greeting"}
        await server.until(lambda s: s.streams == 0)
        assert server.violations == []


async def test_a_legacy_server_can_ask_its_client_on_the_get_stream() -> None:
    async with FakeServer("legacy") as server, asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
        client = Legacy(server.url)
        await client.initialize()
        async with client.listening() as stream:
            await server.until(lambda s: s.streams)
            asking = tasks.create_task(server.ask("ping"))
            asked = await anext(stream.messages())
            assert (asked["method"], asked["id"]) == ("ping", 1)
            await client.answer(asked["id"], {"pong": True})
            assert await asking == {"pong": True}


@pytest.mark.parametrize(
    ("tool", "method", "answer", "text"),
    [
        ("ask_ping", "ping", {}, "ping: {}"),
        ("ask_sampling", "sampling/createMessage", {"content": {"type": "text", "text": "42"}}, "sampled: 42"),
        ("ask_elicitation", "elicitation/create", {"action": "accept", "content": {"name": "Bo"}}, "accept: Bo"),
        ("ask_roots", "roots/list", {"roots": [{"uri": "file:///a"}]}, "roots: ['file:///a']"),
    ],
)
async def test_a_legacy_tool_can_ask_its_client_in_mid_call(
    tool: str, method: str, answer: dict[str, Any], text: str
) -> None:
    async with FakeServer("legacy") as server, asyncio.timeout(SECONDS):
        client = Legacy(server.url)
        await client.initialize()
        async with client.opened("tools/call", {"name": tool, "arguments": {}}) as exchange:
            messages = exchange.messages()
            asked = await anext(messages)
            assert asked["method"] == method
            assert (await client.answer(asked["id"], answer)).status == 202
            assert (await anext(messages))["result"]["content"][0]["text"] == text
        assert server.violations == []


async def test_a_modern_tool_that_needs_input_ends_with_the_question_and_takes_the_answer_in_a_retry() -> None:
    async with FakeServer("modern") as server:
        client = Modern(server.url, {"elicitation": {}})
        asked = (await client.call("ask_elicitation")).messages[-1]["result"]
        assert asked["resultType"] == "input_required"
        responses = {"answer": {"action": "accept", "content": {"name": "Bo"}}}
        retry = {"inputResponses": responses, "requestState": asked["requestState"]}
        reply = await client.request("tools/call", {"name": "ask_elicitation", "arguments": {}, **retry})
        assert reply.messages[-1]["result"]["content"][0]["text"] == "accept: Bo"
        assert server.violations == []


async def test_log_messages_come_only_from_the_level_a_modern_request_asks_for() -> None:
    async with FakeServer("modern") as server:
        client = Modern(server.url)
        for level, count in (("", 0), ("warning", 0), ("info", 2), ("debug", 2)):
            meta: dict[str, Any] = {LOG_LEVEL: level} if level else {}
            assert _methods(await client.call("progress", {"steps": 2}, **meta)) == ["notifications/message"] * count


async def test_log_messages_come_only_from_the_level_a_legacy_session_asked_for() -> None:
    async with FakeServer("legacy") as server:
        client = Legacy(server.url)
        await client.initialize()
        assert _methods(await client.call("progress", {"steps": 2})) == []
        await client.request("logging/setLevel", {"level": "info"})
        assert _methods(await client.call("progress", {"steps": 2})) == ["notifications/message"] * 2


def _methods(reply: Reply) -> list[str]:
    return [message["method"] for message in reply.messages if "method" in message]
