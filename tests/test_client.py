"""What the Python client promises its users, against a real gRPC server."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from mcp_sidecar import errors
from mcp_sidecar.client import McpError, SidecarClient, SidecarUnreachable
from mcp_sidecar.client.messages import member
from mcp_sidecar.errors import Execution, SidecarError
from mcp_sidecar.v1 import connections_pb2 as connections
from tests.support.toy_sidecar import PATIENCE, toy_sidecar


async def test_tools_are_listed_as_the_server_describes_them():
    async with toy_sidecar() as (_, address), SidecarClient(address) as mcp:
        tools = {tool["name"]: tool for tool in await mcp.list_tools("demo")}
        assert set(tools) == {"echo", "add", "countdown", "forecast"}
        assert tools["add"]["inputSchema"]["properties"]["a"] == {"type": "number"}


async def test_a_tool_call_returns_text_structure_and_who_answered():
    async with toy_sidecar() as (toy, address), SidecarClient(address) as mcp:
        assert (await mcp.call_tool("demo", "add", {"a": 2, "b": 40})).text == "42"
        result = await mcp.call_tool("demo", "forecast", {"city": "Oslo", "days": 1})
        assert result.structured_content["city"] == "Oslo"
        assert not result.is_error
        assert result.info.request_id == toy.metadata[-1]["x-request-id"]


async def test_a_failing_tool_is_a_result_and_not_an_exception():
    async with toy_sidecar() as (_, address), SidecarClient(address) as mcp:
        result = await mcp.call_tool("demo", "add", {"a": "two", "b": 40})
        assert result.is_error
        assert "expected" in result.text


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_notifications_arrive_in_order_before_the_result(asynchronous):
    heard: list[float] = []

    def hear(notification):
        heard.append(notification["params"]["progress"])

    async def hear_later(notification):
        await asyncio.sleep(0)
        hear(notification)

    async with toy_sidecar() as (_, address), SidecarClient(address) as mcp:
        result = await mcp.call_tool(
            "demo", "countdown", {"from": 3}, on_notification=hear_later if asynchronous else hear
        )
        assert heard == [0, 1, 2, 3]
        assert result.text == "counted down from 3"


async def test_any_request_can_be_made_and_a_json_rpc_error_is_raised_with_its_code_and_data():
    async with toy_sidecar() as (_, address), SidecarClient(address) as mcp:
        read = await mcp.request("demo", "resources/read", {"uri": "demo://welcome"})
        assert read["contents"][0]["uri"] == "demo://welcome"
        with pytest.raises(McpError) as caught:
            await mcp.request("demo", "resources/levitate")
        assert (caught.value.code, caught.value.data) == (-32601, {"asked": "resources/levitate"})


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_unknown_tool_is_the_same_error_with_and_without_notifications(streamed):
    async with toy_sidecar() as (_, address), SidecarClient(address) as mcp:
        with pytest.raises(McpError, match="unknown tool: nope") as caught:
            await mcp.call_tool("demo", "nope", on_notification=print if streamed else None)
        assert caught.value.code == -32602
        assert caught.value.execution is Execution.DONE


async def test_a_status_with_details_becomes_the_error_of_that_name():
    async with toy_sidecar() as (toy, address), SidecarClient(address) as mcp:
        with pytest.raises(errors.UnknownUpstream) as unknown:
            await mcp.call_tool("nobody", "add")
        assert unknown.value.violations == (("server", "not known"),)
        assert unknown.value.execution is Execution.NONE
        assert unknown.value.request_id == toy.metadata[-1]["x-request-id"]  # type: ignore[attr-defined]
        with pytest.raises(errors.UpstreamUnavailable) as down:
            await mcp.call_tool("down", "add")
        assert down.value.retry_after == 2


async def test_nobody_at_the_address_means_that_nothing_was_called():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        async with SidecarClient(f"127.0.0.1:{taken.getsockname()[1]}") as mcp:
            with pytest.raises(SidecarUnreachable) as caught:
                await mcp.call_tool("demo", "add")
            assert caught.value.execution is Execution.NONE


async def test_a_tool_call_is_never_repeated_and_says_that_it_may_have_run():
    async with toy_sidecar() as (toy, address), SidecarClient(address) as mcp:
        toy.failures = 1
        with pytest.raises(errors.Unavailable) as caught:
            await mcp.call_tool("demo", "add", {"a": 1, "b": 1})
        assert caught.value.execution is Execution.UNKNOWN
        assert len(toy.metadata) == 1


async def test_listing_is_repeated_when_the_connection_breaks():
    async with toy_sidecar() as (toy, address), SidecarClient(address) as mcp:
        toy.failures = 1
        assert await mcp.list_tools("demo")
        assert len(toy.metadata) == 2


async def test_a_deadline_ends_the_call_on_both_sides():
    async with toy_sidecar(pace=30) as (toy, address), SidecarClient(address, request_timeout=0.05) as mcp:
        for on_notification in (None, lambda _: None):
            with pytest.raises(errors.DeadlineExceeded) as caught:
                await mcp.call_tool("demo", "countdown", {"from": 1}, on_notification=on_notification)
            assert caught.value.execution is Execution.UNKNOWN
        await toy.until(lambda: toy.cancelled == ["countdown", "countdown"])


async def test_cancelling_the_task_cancels_the_call():
    async with toy_sidecar(pace=30) as (toy, address), SidecarClient(address) as mcp:
        call = asyncio.ensure_future(mcp.call_tool("demo", "countdown", {"from": 1}))
        await toy.until(lambda: toy.executions == ["countdown"])
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await toy.until(lambda: toy.cancelled == ["countdown"])


async def test_an_exception_in_the_callers_callback_ends_the_call_and_reaches_the_caller():
    def refuse(_notification):
        raise LookupError("enough")

    async with toy_sidecar(pace=30) as (toy, address), SidecarClient(address) as mcp:
        with pytest.raises(LookupError, match="enough"):
            await mcp.call_tool("demo", "countdown", {"from": 1}, on_notification=refuse)
        await toy.until(lambda: toy.cancelled == ["countdown"])


async def test_notifications_of_a_server_come_until_the_caller_stops():
    async with toy_sidecar() as (toy, address), SidecarClient(address) as mcp, asyncio.timeout(PATIENCE):
        toy.pushed.put_nowait({"method": "notifications/tools/list_changed"})
        messages = mcp.notifications("demo", resources=["demo://welcome"])
        acknowledged = await anext(messages)
        assert acknowledged["params"] == {"toolsListChanged": True, "uris": ["demo://welcome"]}
        assert (await anext(messages))["method"] == "notifications/tools/list_changed"
        await messages.aclose()  # type: ignore[attr-defined]
        await toy.until(lambda: toy.cancelled == ["Stream"])


async def test_a_conversation_carries_messages_both_ways_until_it_is_finished():
    async with toy_sidecar() as (_, address), SidecarClient(address) as mcp, mcp.conversation("demo") as talk:
        for number in range(3):
            params = {"name": "echo", "arguments": {"text": f"{number}"}}
            await talk.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
        await talk.send({"jsonrpc": "2.0", "method": "notifications/cancelled"})
        await talk.finish()
        answers = {answer["id"]: answer["result"]["content"][0]["text"] async for answer in talk}
        assert answers == {0: "0", 1: "1", 2: "2"}
        assert (talk.server, talk.protocol_version) == ("demo", "2026-07-28")
        assert talk.draining is not None
        assert talk.draining.grace_ms == 1500
        with pytest.raises(EOFError):
            await talk.receive()


async def test_many_tasks_can_send_in_one_conversation():
    async with toy_sidecar() as (_, address), SidecarClient(address) as mcp, mcp.conversation("demo") as talk:
        async with asyncio.TaskGroup() as tasks:
            for number in range(50):
                tasks.create_task(
                    talk.send({"jsonrpc": "2.0", "id": number, "method": "echo", "params": {"text": "x" * 100_000}})
                )
            heard = {(await talk.receive()).get("id") for _ in range(50)}
        assert heard == set(range(50))


async def test_a_conversation_with_an_unknown_server_fails_where_it_is_used():
    async with toy_sidecar() as (_, address), SidecarClient(address) as mcp, mcp.conversation("nobody") as talk:
        with pytest.raises(errors.UnknownUpstream):
            await talk.receive()
        with pytest.raises(errors.UnknownUpstream):
            await talk.send({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})


async def test_servers_and_connections_can_be_seen_and_managed():
    async with toy_sidecar() as (_, address), SidecarClient(address) as mcp:
        assert [server.name for server in await mcp.list_servers()] == ["demo", "down"]
        assert [row.id for row in await mcp.list_connections("demo")] == ["c-1"]
        assert (await mcp.open_connection("demo")).id == "c-1"
        assert (await mcp.refresh_server("demo")).name == "demo"
        assert (await mcp.close_connection("c-1", wait=True)).state == connections.CONNECTION_STATE_CLOSED
        with pytest.raises(errors.UnknownConnection):
            await mcp.get_connection("c-9")


async def test_watching_shows_what_is_and_then_what_changes():
    async with toy_sidecar() as (toy, address), SidecarClient(address) as mcp, asyncio.timeout(PATIENCE):
        changes = mcp.watch_connections()
        assert (await anext(changes)).initial
        toy.changes.put_nowait(connections.Connection(id="c-2"))
        change = await anext(changes)
        assert (change.initial, change.connection.id) == (False, "c-2")
        await changes.aclose()  # type: ignore[attr-defined]


async def test_a_token_is_sent_with_every_call_and_its_absence_is_an_error_of_that_name():
    async with toy_sidecar(token="s3cret") as (_, address):
        async with SidecarClient(address, token="s3cret") as mcp:
            assert await mcp.list_servers()
        async with SidecarClient(address) as mcp:
            with pytest.raises(errors.Unauthenticated):
                await mcp.list_servers()


async def test_a_unix_socket_is_an_address(tmp_path: Path):
    async with toy_sidecar(f"unix://{tmp_path}/s") as (_, address), SidecarClient(address) as mcp:
        assert (await mcp.call_tool("demo", "echo", {"text": "ø"})).text == "ø"


async def test_numbers_that_json_does_not_have_are_refused_before_anything_is_sent():
    async with toy_sidecar() as (toy, address), SidecarClient(address) as mcp:
        with pytest.raises(ValueError, match="JSON compliant"):
            await mcp.call_tool("demo", "add", {"a": float("nan"), "b": 1})
        assert not toy.metadata


def test_a_member_is_cut_out_with_the_bytes_it_came_in():
    message = b'{"jsonrpc":"2.0", "id" : 1 , "result" : {"b":1.10,"a":[12345678901234567890,"}\\""]} }'
    assert member(message, "result") == b'{"b":1.10,"a":[12345678901234567890,"}\\""]}'


def test_every_reason_of_ours_becomes_the_class_that_bears_it():
    from mcp_sidecar.client.statuses import _by_reason

    def all_words(word: type[SidecarError]) -> set[type[SidecarError]]:
        return {word}.union(*(all_words(narrower) for narrower in word.__subclasses__()))

    missing = {word for word in all_words(SidecarError) if word.__module__ == errors.__name__} - set(
        _by_reason().values()
    )
    assert missing <= {errors.UpstreamRefused}  # users of the client meet `McpError` in its place
