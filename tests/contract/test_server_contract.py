"""What every MCP server does in either era, our fake and real ones alike; what may differ stands in `contestants`."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.contestants import Contestant, code, final, result, those
from tests.support import raw_http
from tests.support.raw_mcp import Legacy

server = those()
failing = those(lambda traits: traits.fails)


async def test_a_tool_call_is_answered_once_under_its_id(server: Contestant) -> None:
    tool, argument, prefix = server.traits.echo
    async with server.client() as client:
        reply = await client.call(tool, {argument: "hi"})
        assert result(reply)["content"] == [{"type": "text", "text": f"{prefix}hi"}]
        assert final(reply)["id"] == (1 if server.traits.modern else 2)
        assert final(reply)["jsonrpc"] == "2.0"


async def test_the_tool_list_names_the_tools_with_their_schemas(server: Contestant) -> None:
    async with server.client() as client:
        tools = {tool["name"]: tool for tool in result(await client.request("tools/list"))["tools"]}
        tool, argument, _ = server.traits.echo
        assert argument in tools[tool]["inputSchema"]["properties"]


async def test_progress_comes_before_the_answer_under_the_token_given(server: Contestant) -> None:
    tool, arguments = server.traits.progress
    async with server.client() as client:
        reply = await client.call(tool, arguments, progressToken="p-1")
        assert reply.streamed
        *notifications, last = reply.messages
        assert [message["params"]["progress"] for message in notifications] == [1, 2]
        assert {message["method"] for message in notifications} == {"notifications/progress"}
        assert {message["params"]["progressToken"] for message in notifications} == {"p-1"}
        assert "result" in last


async def test_nobody_is_told_of_progress_without_a_token(server: Contestant) -> None:
    tool, arguments = server.traits.progress
    async with server.client() as client:
        assert len((await client.call(tool, arguments)).messages) == 1


async def test_an_answer_alone_is_json_where_the_server_does_not_stream_all(server: Contestant) -> None:
    tool, argument, _ = server.traits.echo
    async with server.client() as client:
        reply = await client.call(tool, {argument: "hi"})
        assert reply.streamed is server.traits.streams_all


async def test_a_tool_that_fails_says_so_in_its_result(failing: Contestant) -> None:
    async with failing.client() as client:
        failed = result(await client.call("fail", {"text": "no luck"}))
        assert failed["isError"] is True
        assert "no luck" in failed["content"][0]["text"]


async def test_an_unknown_tool_is_an_error_in_the_servers_own_way(server: Contestant) -> None:
    async with server.client() as client:
        reply = await client.call("no-such-tool")
        if server.traits.unknown_tool is None:
            assert result(reply)["isError"] is True
        else:
            assert code(reply) == server.traits.unknown_tool


async def test_an_unknown_resource_is_an_error_in_the_eras_own_way(server: Contestant) -> None:
    async with server.client() as client:
        assert code(await client.request("resources/read", {"uri": "nothing://here"})) == server.traits.unknown_resource


async def test_a_resource_can_be_read(server: Contestant) -> None:
    async with server.client() as client:
        contents = result(await client.request("resources/read", {"uri": server.traits.greeting}))["contents"]
        assert contents[0]["uri"] == server.traits.greeting
        assert contents[0]["text"]


async def test_a_prompt_can_be_had(server: Contestant) -> None:
    name, arguments = server.traits.prompt
    async with server.client() as client:
        messages = result(await client.request("prompts/get", {"name": name, "arguments": arguments}))["messages"]
        assert next(iter(arguments.values())) in messages[0]["content"]["text"]


@pytest.mark.parametrize(
    ("method", "key"),
    [("resources/list", "resources"), ("resources/templates/list", "resourceTemplates"), ("prompts/list", "prompts")],
)
async def test_what_there_is_can_be_listed(server: Contestant, method: str, key: str) -> None:
    async with server.client() as client:
        assert isinstance(result(await client.request(method))[key], list)


async def test_an_unknown_method_is_an_error_and_404_only_in_the_modern_era(server: Contestant) -> None:
    async with server.client() as client:
        reply = await client.request("no/such/method")
        assert (reply.status, code(reply)) == (404 if server.traits.modern else 200, server.traits.unknown_method)


async def test_many_calls_at_once_get_each_its_own_answer(server: Contestant) -> None:
    tool, argument, prefix = server.traits.echo
    async with server.client() as client, asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(client.call(tool, {argument: f"n{number}"})) for number in range(8)]
    texts = [result(call.result())["content"][0]["text"] for call in calls]
    assert texts == [f"{prefix}n{number}" for number in range(8)]


async def test_a_body_that_is_not_json_is_a_parse_error(server: Contestant) -> None:
    async with server.client() as client:
        headers = client.headers if isinstance(client, Legacy) else {"MCP-Protocol-Version": "2026-07-28"}
        reply = await raw_http.post(client.url, b'{"jsonrpc": "2.0", ', headers)
        assert (reply.status, reply.messages[0]["error"]["code"]) == (400, server.traits.not_json)


async def test_a_client_has_to_take_both_json_and_events(server: Contestant) -> None:
    async with server.client() as client:
        extra = client.headers if isinstance(client, Legacy) else {"MCP-Protocol-Version": "2026-07-28"}
        reply = await raw_http.post(client.url, {}, {**extra, "Accept": "text/html"})
        assert reply.status == 406
