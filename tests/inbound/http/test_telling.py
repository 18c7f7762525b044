"""What 2025-era clients tell by themselves reaches the servers that know them, and nobody else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_sidecar.v1 import connections_pb2
from tests.inbound.http.conversing import served
from tests.inbound.waiting import eventually
from tests.support.fake_server import FakeServer
from tests.support.raw_http import Exchange
from tests.support.raw_mcp import Legacy
from tests.support.sidecar import Sidecar

ROOTS, PROGRESS = "notifications/roots/list_changed", "notifications/progress"
ALL: dict[str, Any] = {"elicitation": {}, "roots": {"listChanged": True}}
ASKING = {"name": "ask_elicitation", "arguments": {"token": "same"}}
DONE = {"action": "accept", "content": {"name": "Bo"}}


def told(up: FakeServer) -> list[Any]:
    """What the server was told since the conversation with it began, as method and parameters."""
    begun = ("notifications/initialized", "notifications/cancelled")
    heard = [one.message for one in up.requests if one.rpc and one.id is None and one.rpc not in begun]
    return [(one["method"], one.get("params", {})) for one in heard]


async def question(stream: Exchange) -> dict[str, Any]:
    return await anext(stream.messages())


@pytest.mark.covers("B-133")
async def test_what_a_client_tells_reaches_its_own_session_at_the_server_as_it_was_said():
    async with served("legacy", capabilities=ALL) as (up, sidecar, client):
        other = Legacy(sidecar.url("up"), ALL)
        await other.initialize()
        for one in (client, other):
            await one.call("echo", {"text": "hi"})
        sessions = {one.session for one in up.executions}
        assert len(sessions) == 2
        for params in ({}, {"big": 2**60, "_meta": {"x": 1.0}}):
            assert (await client.notify(ROOTS, params)).status == 202
        assert (await client.notify("notifications/acme/anything", {"a": [1]})).status == 202
        await client.call("echo", {"text": "last"})
        assert told(up) == [
            (ROOTS, {}),
            (ROOTS, {"big": 2**60, "_meta": {"x": 1.0}}),
            ("notifications/acme/anything", {"a": [1]}),
        ]
        mine = up.executions[-1].session
        heard_in = {one.headers["mcp-session-id"] for one in up.requests if one.rpc == ROOTS}
        assert heard_in == {mine}
        assert up.violations == []


@pytest.mark.covers("B-133")
async def test_nothing_is_opened_for_a_notification_and_methods_of_requests_are_none():
    async with served("legacy", capabilities=ALL) as (up, sidecar, client):
        listed = await sidecar.connections.ListConnections(connections_pb2.ListConnectionsRequest())
        for one in listed.connections:
            await sidecar.connections.CloseConnection(connections_pb2.CloseConnectionRequest(connection_id=one.id))
        await eventually(lambda: not up.sessions)
        assert (await client.notify(ROOTS)).status == 202
        await client.call("echo", {"text": "hi"})
        assert len(up.sessions) == 1
        for method in ("tools/call", "initialize", "notifications/initialized", "notifications/cancelled"):
            assert (await client.notify(method, {"name": "echo", "arguments": {"text": "no"}})).status == 202
        await client.call("echo", {"text": "last"})
        assert told(up) == []
        assert [run.arguments["text"] for run in up.executions] == ["hi", "last"]


@pytest.mark.covers("B-133")
async def test_a_modern_server_is_told_nothing():
    async with served("modern", capabilities=ALL) as (up, _, client):
        await client.call("echo", {"text": "hi"})
        before = len(up.requests)
        for method in (ROOTS, PROGRESS, "notifications/anything"):
            assert (await client.notify(method, {"progressToken": 1, "progress": 1})).status == 202
        await client.call("echo", {"text": "hi"})
        assert [one.rpc for one in up.requests[before:]] == ["tools/call"]


@pytest.mark.covers("B-133")
async def test_a_server_that_takes_no_notification_holds_nothing_up():
    async with served("legacy", capabilities=ALL) as (up, _, client):
        await client.call("echo", {"text": "hi"})
        up.next_reply("never_answers", on=ROOTS)
        up.next_reply("status_500", on="notifications/x")
        assert (await client.notify(ROOTS)).status == 202
        assert (await client.notify("notifications/x")).status == 202
        reply = await client.call("echo", {"text": "still"})
        assert reply.messages[-1]["result"]["content"][0]["text"] == "still"
        await up.until(lambda up: up.count("notifications/x") == 1)


@pytest.mark.covers("B-134")
async def test_progress_reaches_the_server_that_asked_with_its_own_token():
    async with (
        asyncio.timeout(20),
        FakeServer("legacy") as a,
        FakeServer("legacy") as b,
        Sidecar({"a": a.url, "b": b.url}) as sidecar,
    ):
        client = Legacy(sidecar.url(), ALL)
        await client.initialize()
        tools = [{**ASKING, "name": f"{server}__ask_elicitation"} for server in ("a", "b")]
        async with client.opened("tools/call", tools[0]) as one, client.opened("tools/call", tools[1]) as two:
            asked = [await question(one), await question(two)]
            tokens = [each["params"]["_meta"]["progressToken"] for each in asked]
            assert tokens[0] != tokens[1]
            for number, token in enumerate((*tokens, "same", "stranger")):
                assert (await client.notify(PROGRESS, {"progressToken": token, "progress": number})).status == 202
            for each in asked:
                assert (await client.answer(each["id"], DONE)).status == 202
            await eventually(lambda: len(a.answers) == len(b.answers) == 1)
        await client.notify(PROGRESS, {"progressToken": tokens[0], "progress": 9})
        await client.notify(ROOTS)
        await a.until(lambda up: up.count(ROOTS) == 1)
        assert told(a) == [(PROGRESS, {"progressToken": "same", "progress": 0}), (ROOTS, {})]
        assert told(b)[0] == (PROGRESS, {"progressToken": "same", "progress": 1})
        assert [method for method, _ in told(b)].count(PROGRESS) == 1
        assert a.violations == b.violations == []


async def test_questions_without_a_token_come_as_they_were_asked():
    async with served("legacy", capabilities=ALL) as (up, _, client):
        async with client.opened("tools/call", {"name": "ask_elicitation", "arguments": {}}) as stream:
            asked = await question(stream)
            assert "_meta" not in json.dumps(asked)
            await client.answer(asked["id"], DONE)
            await up.until(lambda up: up.answers)
