"""Batches, which sessions of 2025-03-26 have and no others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.inbound.http.conversing import ERAS, served
from tests.inbound.waiting import eventually
from tests.support import raw_http


def batch(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"jsonrpc": "2.0", **message} for message in messages]


def call(request_id: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    meta = {"_meta": {"progressToken": request_id}} if tool == "progress" else {}
    return {"id": request_id, "method": "tools/call", "params": {"name": tool, "arguments": arguments, **meta}}


@pytest.mark.covers("B-88")
@ERAS
async def test_a_batch_of_2025_03_26_is_answered_together(era):
    async with served(era, "2025-03-26") as (up, sidecar, client):
        messages = batch(
            call(1, "echo", text="a"), {"method": "notifications/x"}, call("b", "nothing"), {"id": 3, "method": "ping"}
        )
        reply = await raw_http.post(client.url, messages, client.headers)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        answers = {answer["id"]: answer for answer in reply.messages[0]}
        assert set(answers) == {1, "b", 3}
        assert answers[1]["result"]["content"][0]["text"] == "a"
        assert answers["b"]["error"]["code"] == -32602
        assert answers[3]["result"] == {}
        request_id = reply.headers["x-request-id"]
        await eventually(lambda: len(sidecar.calls(request_id=request_id)) == 4)  # the batch, and what is in it
        assert up.violations == []


@pytest.mark.covers("B-88")
async def test_a_batch_with_notifications_is_answered_with_a_stream():
    async with served("modern", "2025-03-26") as (_, _, client):
        reply = await raw_http.post(
            client.url, batch(call(1, "progress", steps=2), call(2, "echo", text="a"), call(3, "crash")), client.headers
        )
        assert reply.streamed
        told = [one for one in reply.messages if "method" in one]
        answers = {one["id"]: one for one in reply.messages if "method" not in one}
        assert len(told) == 2
        assert set(answers) == {1, 2, 3}
        assert "error" in answers[3]


@pytest.mark.covers("B-88")
async def test_a_batch_without_requests_is_taken():
    async with served("modern", "2025-03-26") as (_, _, client):
        messages = batch({"method": "notifications/x"}, {"id": 7, "result": {}})
        reply = await raw_http.post(client.url, messages, client.headers)
        assert (reply.status, reply.body) == (202, b"")


@pytest.mark.covers("B-88")
async def test_a_request_of_a_batch_can_be_cancelled_alone():
    async with served("modern", "2025-03-26") as (up, _, client):

        async def both() -> raw_http.Reply:
            return await raw_http.post(
                client.url, batch(call(1, "hold", gate="g"), call(2, "hold", gate="g")), client.headers
            )

        async with asyncio.TaskGroup() as tasks:
            calling = tasks.create_task(both())
            await up.until(lambda up: len(up.executions) == 2)
            await client.notify("notifications/cancelled", {"requestId": 1})
            await up.until(lambda up: up.cancelled)
            up.release("g")
        (answers,) = calling.result().messages
        assert [answer["id"] for answer in answers] == [2]


@pytest.mark.covers("B-88")
@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18", "2024-11-05"])
async def test_other_revisions_have_no_batches(version):
    async with served("modern", version) as (up, _, client):
        reply = await raw_http.post(client.url, batch(call(1, "echo", text="a")), client.headers)
        assert (reply.status, reply.messages[0]["error"]["code"]) == (400, -32600)
        assert up.executions == []


@pytest.mark.covers("B-88")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", -32600),
        (b"[1]", -32600),
        (b"[", -32700),
        (b"[" + b",".join([b'{"jsonrpc":"2.0","method":"notifications/x"}'] * 65) + b"]", -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"id":3,"method":"ping"}]', -32600),
    ],
)
async def test_a_batch_of_doubtful_form_is_refused_as_a_whole(body, code):
    async with served("modern", "2025-03-26") as (_, _, client):
        reply = await raw_http.post(client.url, body, client.headers)
        assert (reply.status, reply.messages[0]["error"]["code"]) == (400, code)
