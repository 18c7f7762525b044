"""Long-running tasks (`io.modelcontextprotocol/tasks`) of several servers as one: whose is which."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_sidecar.engine import task_ids
from mcp_sidecar.errors import UnknownTask
from mcp_sidecar.protocol.jsonrpc import Request, Response
from tests.engine.engines import Heard, request
from tests.engine.several import describe, legacy, two

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
DECLARED: dict[str, Any] = {CAPABILITIES: {"extensions": {"io.modelcontextprotocol/tasks": {}}}}


def asked(method: str, **params: Any) -> Request:
    return request(method, DECLARED, **params)


@pytest.mark.covers("B-137")
async def test_a_task_is_polled_updated_and_cancelled_at_the_server_that_began_it():
    async with two() as (a, b, over):
        for up in (a, b):
            up.catalogue.tools = [describe("begin_task")]
        for name, up, other in (("a", a, b), ("b", b, a)):
            begun = await over.result(asked("tools/call", name=f"{name}__begin_task", arguments={}))
            assert (begun["resultType"], begun["taskId"]) == ("task", f"{name}+t1")
            before = len(other.requests)
            polled = await over.result(asked("tasks/get", taskId=begun["taskId"]))
            assert (polled["taskId"], polled["status"]) == (f"{name}+t1", "completed")
            assert polled["result"]["content"][0]["text"] == "done"
            for method in ("tasks/update", "tasks/cancel"):
                done = await over.result(asked(method, taskId=begun["taskId"], inputResponses={}))
                assert "taskId" not in done
            assert over.call.server == name
            assert {one.params["taskId"] for one in up.requests if one.rpc.startswith("tasks/")} == {"t1"}
            assert len(other.requests) == before
        assert a.violations == b.violations == []


@pytest.mark.covers("B-137")
async def test_an_id_that_is_nobodys_is_an_unknown_task_and_no_server_hears_of_it():
    async with two() as (a, b, over):
        for said in ("t1", "c+t1", "a+", "+t1", "b a+t1"):
            with pytest.raises(UnknownTask):
                await over.run(asked("tasks/get", taskId=said))
        assert a.requests == b.requests == []
        response = await over.run(asked("tasks/get", taskId="a+other"))
        assert json.loads(response.error or b"")["message"] == "Task not found"


@pytest.mark.covers("B-137")
async def test_news_of_tasks_come_from_their_servers_under_the_ids_that_were_given():
    async with two() as (a, b, over):
        heard = Heard()
        wanted = {"taskIds": ["b+t1", "a+t2", "nobody+t1"], "toolsListChanged": True}
        listening = asyncio.create_task(over.run(asked("subscriptions/listen", notifications=wanted), heard=heard))
        (first,) = await heard.until(1)
        assert sorted(first["params"]["notifications"]["taskIds"]) == ["a+t2", "b+t1"]
        assert (a.push("notifications/tasks", {"taskId": "t1"}), b.push("notifications/tasks", {"taskId": "t1"})) == (
            0,
            1,
        )
        told = (await heard.until(2))[1]
        assert (told["method"], told["params"]["taskId"]) == ("notifications/tasks", "b+t1")
        listening.cancel()
        await asyncio.wait({listening})
        assert a.violations == b.violations == []


@pytest.mark.covers("B-137")
async def test_tasks_of_the_2025_era_are_another_matter():
    async with two("legacy") as (a, b, over):
        response = await over.run(request("tasks/get", taskId="a+t1"), client=legacy())
        assert json.loads(response.error or b"")["code"] == -32601
        assert a.requests == b.requests == []


@pytest.mark.parametrize(
    "result",
    [
        b'{"resultType":"complete","taskId":"t1","kind":"task"}',
        b'{"resultType":"task"}',
        b'{"resultType":"task","taskId":1}',
        b'["task"]',
    ],
)
def test_what_is_no_task_stays_as_it_is(result: bytes):
    response = Response(b"1", result)
    assert task_ids.in_response("a", Request("tools/call"), response) is response


def test_an_id_is_read_back_whatever_it_holds():
    for task_id in ("t", "a+b", "+", "ä €", "x" * 1000):
        assert task_ids.owned(task_ids.shown("a", task_id), ["a", "a+b"]) == ("a", task_id)
