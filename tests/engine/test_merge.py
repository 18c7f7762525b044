"""The lists of several servers as one: `engine.merge`, `engine.inventory` and `engine.union` in a whole engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_sidecar import errors
from mcp_sidecar.call import Client, Deadline
from mcp_sidecar.errors import Execution
from mcp_sidecar.settings import MergeSettings, ToolSettings
from tests.engine.engines import ERAS, Bench, bench, request, settings, text_of, tool
from tests.engine.several import MISSING, NOWHERE, STALE, describe, legacy, two
from tests.support import fake_tools
from tests.support.fake_server import FakeServer

LIST = request("tools/list")


async def names(over: Bench, **call: Any) -> list[str]:
    return [one["name"] for one in (await over.result(LIST, **call))["tools"]]


@pytest.mark.covers("B-170")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("client", [None, legacy()])
async def test_the_tools_of_all_servers_are_one_list_in_the_order_of_the_servers(era: Any, client: Client | None):
    async with two(era) as (a, b, over):
        assert await names(over, client=client) == ["a__echo", "add", "fail", "b__echo", "progress", "hold"]
        assert over.call.execution is Execution.DONE and over.call.server == ""
        assert a.violations == b.violations == []


@pytest.mark.covers("B-170")
@pytest.mark.parametrize(
    ("prefix", "shown"),
    [
        ("always", ["a_echo", "a_add", "b_fail", "b_echo", "b_progress", "b_hold"]),
        ("on-conflict", ["a_echo", "add", "fail", "b_echo", "progress", "hold"]),
        ("never", ["add", "fail", "progress", "hold"]),
    ],
)
async def test_the_settings_say_how_names_are_kept_apart(prefix: str, shown: list[str]):
    async with two(merge=MergeSettings(prefix, "_")) as (_, _, over):
        assert await names(over) == shown
        add = "a_add" if prefix == "always" else "add"
        assert text_of(await over.result(tool(add, a=1, b=2))) == "3"


@pytest.mark.covers("B-173")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("page", [1, 3])
async def test_every_page_of_every_server_is_in_the_list(era: Any, page: int):
    async with FakeServer(era, page=page) as a, FakeServer(era, page=page) as b:
        async with bench({"a": a.url, "b": b.url}, merge=MergeSettings("always")) as over:
            every = [tool["name"] for tool in fake_tools.ALL]
            result = await over.result(LIST)
            assert [one["name"] for one in result["tools"]] == [f"{up}__{name}" for up in "ab" for name in every]
            assert "nextCursor" not in result


@pytest.mark.covers("B-173", "B-457")
async def test_of_a_list_without_an_end_there_is_what_was_read_and_a_word_that_there_is_more():
    async with FakeServer(page=1) as a, FakeServer() as b, bench({"a": a.url, "b": b.url}) as over:
        a.catalogue.tools = [describe(f"tool{number}") for number in range(70)]
        b.catalogue.tools = [describe("echo")]
        told: list[tuple[str, str]] = []
        over.engine.offers.inventory.cut = lambda server, title: told.append((server, title))
        for _ in range(2):
            result = await over.result(LIST)
            assert [one["name"] for one in result["tools"]] == [*(f"tool{number}" for number in range(64)), "echo"]
            assert result["_meta"]["mcp-sidecar.dev/cut"] == ["a"]
            assert MISSING not in result["_meta"]
        assert told == [("a", "tools")]


@pytest.mark.covers("B-173")
@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/list", "resources/templates/list"])
async def test_a_cursor_is_refused_since_there_is_none(method: str):
    async with two() as (a, _, over):
        with pytest.raises(errors.InvalidParams, match="cursor"):
            await over.run(request(method, cursor="3"))
        assert a.requests == []


@pytest.mark.covers("B-174")
async def test_the_hints_of_a_merged_list_are_the_strictest():
    async with two() as (a, b, over):
        for (ttl_a, scope_a), (ttl_b, scope_b), (ttl, scope) in (
            ((60_000, "public"), (30_000, "public"), (30_000, "public")),
            ((60_000, "public"), (30_000, "private"), (30_000, "private")),
            ((0, "public"), (30_000, "public"), (0, "public")),
        ):
            over.engine.offers.forget("a")
            over.engine.offers.forget("b")
            a.hint(ttl_a, scope_a)
            b.hint(ttl_b, scope_b)
            result = await over.result(LIST)
            assert ttl - 5000 <= result["ttlMs"] <= ttl and result["cacheScope"] == scope
            assert result["resultType"] == "complete"
            assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "mcp-sidecar"


@pytest.mark.covers("B-174")
async def test_a_list_that_is_fresh_is_not_asked_for_again_but_for_another_caller():
    async with two() as (a, b, over):
        a.hint(60_000, "private")
        b.hint(60_000, "public")
        await over.run(LIST)
        assert not over.call.from_cache
        await over.run(LIST)
        assert over.call.from_cache
        assert (a.count("tools/list"), b.count("tools/list")) == (1, 1)


async def test_a_legacy_callers_list_has_the_shape_of_its_era():
    async with two("modern", "legacy") as (_, _, over):
        result = await over.result(LIST, client=legacy())
        assert set(result) == {"tools"}


@pytest.mark.covers("B-175")
@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_is_down_is_left_out_and_named(era: Any):
    async with FakeServer(era) as a, bench({"a": a.url, "down": NOWHERE}) as over:
        result = await over.result(LIST)
        assert [one["name"] for one in result["tools"]] == [one["name"] for one in fake_tools.ALL]
        assert result["_meta"][MISSING] == ["down"] and STALE not in result["_meta"]
        assert result["ttlMs"] == 0


@pytest.mark.covers("B-175")
@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_went_down_is_shown_with_its_last_list(era: Any):
    async with two(era) as (_, b, over):
        before = await names(over)
        await b.stop()
        result = await over.result(LIST)
        assert [one["name"] for one in result["tools"]] == before
        assert result["_meta"][STALE] == ["b"]
        await b.start()
        over.engine.offers.inventory._failed._kept.clear()
        assert STALE not in (await over.result(LIST))["_meta"]


@pytest.mark.covers("B-175")
async def test_a_slow_server_holds_up_nobody_past_the_callers_deadline():
    async with two() as (_, b, over):

        async def slow(_: Any) -> dict[str, Any]:
            await asyncio.sleep(30)
            return {}

        b._modern._methods["tools/list"] = slow
        result = await over.result(LIST, deadline=Deadline.after(0.3))
        assert [one["name"] for one in result["tools"]] == ["echo", "add"]
        assert result["_meta"][MISSING] == ["b"]


@pytest.mark.covers("B-175")
async def test_when_no_server_answers_the_caller_is_told():
    async with bench({"a": NOWHERE, "b": NOWHERE}) as over:
        with pytest.raises(errors.UpstreamUnavailable, match="none of the MCP servers"):
            await over.run(LIST)
        assert over.call.execution is Execution.NONE
        with pytest.raises(errors.UnknownTool, match="those of a, b are not known"):
            await over.run(tool("echo"))
        with pytest.raises(errors.UpstreamUnavailable, match="the tools of the MCP server 'b' are not known: "):
            await over.run(tool("b__echo"))


async def test_a_server_without_tools_is_not_missing():
    async with two() as (_, b, over):
        del b._modern._methods["tools/list"]
        result = await over.result(LIST)
        assert [one["name"] for one in result["tools"]] == ["echo", "add"]
        assert MISSING not in result["_meta"]


@pytest.mark.covers("B-176")
async def test_hidden_tools_stay_hidden_in_the_merged_list_and_cannot_be_called():
    async with FakeServer() as a, FakeServer() as b:
        upstreams: dict[str, Any] = {"a": settings("a", a.url, tools=ToolSettings(allow=("echo",))), "b": b.url}
        b.catalogue.tools = [describe("echo"), describe("add")]
        async with bench(upstreams) as over:
            assert await names(over) == ["a__echo", "b__echo", "add"]
            with pytest.raises(errors.UnknownTool):
                await over.run(tool("a__fail"))
            assert a.executions == []


@pytest.mark.covers("B-178")
@pytest.mark.parametrize("era", ERAS)
async def test_what_the_servers_can_do_is_united(era: Any):
    async with two(era) as (a, b, over):
        a.catalogue.capabilities = {"tools": {}, "extensions": {"x/same": {"v": 1}, "x/differs": {"v": 1}}}
        b.catalogue.capabilities = {
            "tools": {"listChanged": True},
            "prompts": {"listChanged": False},
            "extensions": {"x/same": {"v": 1}, "x/differs": {"v": 2}, "io.modelcontextprotocol/tasks": {}},
        }
        a.catalogue.instructions = "Use A."
        b.catalogue.instructions = "Use B."
        said = await over.result(request("server/discover"))
        assert said["supportedVersions"] == ["2026-07-28"]
        assert said["capabilities"] == {
            "tools": {"listChanged": True},
            "prompts": {"listChanged": False},
            "extensions": {"x/same": {"v": 1}, "x/differs": {}, "io.modelcontextprotocol/tasks": {}},
        }
        assert said["instructions"] == "[a]\nUse A.\n\n[b]\nUse B."
        assert said["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "mcp-sidecar"


@pytest.mark.covers("B-178")
async def test_long_instructions_are_cut():
    async with two() as (a, _, over):
        a.catalogue.instructions = "x" * 100_000
        told = (await over.result(request("server/discover")))["instructions"]
        assert len(told) < 5000 and told.endswith("[b]\nA fake.")


async def test_a_legacy_clients_log_level_goes_to_every_server():
    async with two("modern", "legacy") as (_, b, over):
        client = legacy()
        assert await over.result(request("logging/setLevel", level="info"), client=client) == {}
        assert client.log_level == "info" and b.count("logging/setLevel") == 1


@pytest.mark.covers("B-448")
@pytest.mark.parametrize("era", ERAS)
async def test_a_log_level_is_set_where_it_can_be_although_a_server_is_down(era: Any):
    async with FakeServer(era) as a, bench({"down": NOWHERE, "a": a.url}) as over:
        client = legacy()
        assert await over.result(request("logging/setLevel", level="info"), client=client) == {}
        assert over.call.execution is Execution.DONE
        assert client.log_level == "info" if era == "modern" else a.count("logging/setLevel") == 1


@pytest.mark.covers("B-448")
async def test_a_log_level_waits_no_longer_for_a_server_that_is_slow_than_a_list_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mcp_sidecar.engine.merge.LIST_SECONDS", 0.3)
    async with two("legacy") as (a, b, over):

        async def slow(_: Any) -> dict[str, Any]:
            await asyncio.sleep(30)
            return {}

        b._legacy._methods["logging/setLevel"] = slow
        assert await over.result(request("logging/setLevel", level="info"), client=legacy()) == {}
        assert a.count("logging/setLevel") == 1


@pytest.mark.covers("B-448")
async def test_a_log_level_that_is_none_is_refused_and_reaches_nobody():
    async with two("legacy") as (a, b, over):
        for level in ("loud", "", 3):
            with pytest.raises(errors.InvalidParams, match=r"params\.level.*debug, info"):
                await over.run(request("logging/setLevel", level=level), client=legacy())
        assert a.requests == b.requests == []


@pytest.mark.covers("B-448")
async def test_a_log_level_that_no_server_takes_tells_so():
    async with bench({"a": NOWHERE, "b": NOWHERE}) as over:
        with pytest.raises(errors.UpstreamUnavailable, match="none of the MCP servers"):
            await over.run(request("logging/setLevel", level="info"), client=legacy())
        assert over.call.execution is Execution.NONE


@pytest.mark.covers("B-09")
async def test_with_one_server_nothing_is_renamed_or_touched():
    async with FakeServer() as a, bench({"a": a.url}, merge=MergeSettings("always")) as over:
        assert await names(over) == [one["name"] for one in fake_tools.ALL]
        assert text_of(await over.result(tool("echo", text="x"))) == "x"
