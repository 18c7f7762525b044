"""Tools and resources that go from one of several servers to another: `engine.owners` in a whole engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.engine.engines import ERAS, Bench, Heard, request, text_of, tool
from tests.engine.several import describe, two
from tests.support.fake_exchange import Exchange, Refusal
from tests.support.fake_server import FakeServer

LISTED = "notifications/tools/list_changed"


def strict(up: FakeServer) -> list[str]:
    """The server runs only tools that it lists; the names it refuses."""
    refused: list[str] = []
    call_tool = up.catalogue.methods["tools/call"]

    async def listed_only(exchange: Exchange) -> dict[str, Any]:
        name = exchange.request.params["name"]
        if name not in [one["name"] for one in up.catalogue.tools]:
            refused.append(name)
            raise Refusal(-32602, f"unknown tool {name}")
        return await call_tool(exchange)

    up._modern._methods["tools/call"] = up._legacy._methods["tools/call"] = listed_only
    return refused


@asynccontextmanager
async def swapping(era: Any) -> AsyncIterator[tuple[FakeServer, FakeServer, Bench, list[str]]]:
    """`a` has `echo`, `b` has `add`, which the sidecar knows; then it is the other way round. And what they refuse."""
    async with two(era) as (a, b, over):
        refused = strict(a), strict(b)
        a.catalogue.tools, b.catalogue.tools = [describe("echo")], [describe("add")]
        await over.result(request("tools/list"))
        yield a, b, over, refused[0]
        a.catalogue.tools, b.catalogue.tools = [], []


def swap(a: FakeServer, b: FakeServer) -> None:
    a.catalogue.tools, b.catalogue.tools = b.catalogue.tools, a.catalogue.tools


@asynccontextmanager
async def hearing(over: Bench, *ups: FakeServer) -> AsyncIterator[Heard]:
    """Somebody listens to all servers."""
    heard = Heard()
    listen = request("subscriptions/listen", notifications={"toolsListChanged": True, "resourcesListChanged": True})
    task = asyncio.create_task(over.run(listen, heard=heard))
    try:
        await heard.until(1)
        for up in ups:
            await up.until(lambda server: server.streams)
        yield heard
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.covers("B-183")
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_goes_by_the_lists_that_servers_have_since_they_said_they_changed(era: Any):
    async with swapping(era) as (a, b, over, refused), hearing(over, a, b) as heard:
        swap(a, b)
        assert a.push(LISTED) and b.push(LISTED)
        await heard.until(3)
        for _ in range(3):
            assert text_of(await over.result(tool("echo", text="x"))) == "x" and over.call.server == "b"
            assert text_of(await over.result(tool("add", a=1, b=2))) == "3" and over.call.server == "a"
        assert refused == [] and a.count("tools/list") == b.count("tools/list") == 2


@pytest.mark.covers("B-183")
async def test_a_server_that_says_its_list_has_changed_and_does_not_give_it_holds_up_one_call():
    async with swapping("modern") as (a, b, over, _), hearing(over, a, b) as heard:

        async def never(_: Exchange) -> dict[str, Any]:
            await asyncio.sleep(30)
            return {}

        b._modern._methods["tools/list"] = never
        b.push(LISTED)
        await heard.until(2)
        for text in ("x", "y", "z"):
            assert text_of(await over.result(tool("echo", text=text))) == text
        assert text_of(await over.result(tool("add", a=1, b=2))) == "3"
        assert b.count("tools/list") == 2 and a.count("tools/list") == 1


@pytest.mark.covers("B-183")
async def test_callers_who_come_at_once_after_a_change_ask_once():
    async with swapping("modern") as (a, b, over, _), hearing(over, a, b) as heard:
        a.push(LISTED)
        await heard.until(2)
        await asyncio.gather(*(over.result(tool("echo", text="x")) for _ in range(20)))
        assert a.count("tools/list") == 2 and b.count("tools/list") == 1


@pytest.mark.covers("B-453")
@pytest.mark.parametrize("era", ERAS)
async def test_a_tool_that_its_server_refuses_and_no_longer_lists_is_called_where_it_is(era: Any):
    async with swapping(era) as (a, b, over, refused):
        swap(a, b)
        assert text_of(await over.result(tool("echo", text="x"))) == "x"
        assert over.call.server == "b" and refused == ["echo"]
        assert [one.arguments for one in b.executions] == [{"text": "x"}] and a.executions == []


@pytest.mark.covers("B-453")
@pytest.mark.parametrize("moved", [False, True])
async def test_a_refusal_is_passed_on_where_the_tool_is_listed_still_or_nowhere(moved: bool):
    async with swapping("modern") as (a, b, over, _):
        calls = 0

        async def refuse(_: Exchange) -> dict[str, Any]:
            nonlocal calls
            calls += 1
            raise Refusal(-32602, "what I say")

        a._modern._methods["tools/call"] = refuse
        if moved:
            a.catalogue.tools = []
        said = json.loads((await over.run(tool("echo", text="x"))).error or b"")
        assert (said["code"], said["message"], calls) == (-32602, "what I say", 1)
        assert b.executions == []


@pytest.mark.covers("B-453")
async def test_a_round_that_goes_on_is_never_sent_to_another_server():
    async with swapping("modern") as (a, b, over, refused):
        swap(a, b)
        for more in ({"requestState": b'"s"'}, {"inputResponses": b"{}"}):
            response = await over.run(tool("echo", text="x").with_params(more))
            assert json.loads(response.error or b"")["code"] == -32602
        assert refused == ["echo", "echo"] and b.executions == []


@pytest.mark.covers("B-183", "B-453")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("told", [False, True])
async def test_a_resource_that_moved_is_read_where_it_is(era: Any, told: bool):
    async with two(era) as (a, b, over):
        a.catalogue.templates = b.catalogue.templates = []
        one, other = ({f"x://{name}": {"mimeType": "text/plain", "text": name}} for name in ("one", "other"))
        a.catalogue.resources, b.catalogue.resources = one, other
        for uri in ("x://one", "x://other"):
            await over.result(request("resources/read", uri=uri))
        async with hearing(over, a, b) as heard:
            a.catalogue.resources, b.catalogue.resources = other, one
            if told:
                for up in (a, b):
                    up.push("notifications/resources/list_changed")
                await heard.until(3)
            before = a.count("resources/read") + b.count("resources/read")
            for uri, server in (("x://one", "b"), ("x://other", "a")):
                read = await over.result(request("resources/read", uri=uri))
                assert read["contents"][0]["text"] == uri.removeprefix("x://") and over.call.server == server
            if told:
                assert a.count("resources/read") + b.count("resources/read") == before + 2
        nobody = await over.run(request("resources/read", uri="x://none"))
        assert json.loads(nobody.error or b"")["code"] == -32602
