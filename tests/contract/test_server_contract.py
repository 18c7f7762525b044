"""One contract for our fake and for real servers, over raw HTTP; what may differ stands in `contestants`."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from tests.contract.contestants import Contestant, those
from tests.support import raw_http
from tests.support.raw_http import Reply
from tests.support.raw_mcp import Legacy, Modern

server = those()
modern = those(lambda traits: traits.modern)
legacy = those(lambda traits: not traits.modern)
failing = those(lambda traits: traits.fails)
legacy_only = those(lambda traits: not traits.modern and traits.bad_version is not None)
streaming = those(lambda traits: not traits.modern and traits.streams_all)
resumable = those(lambda traits: traits.event_ids)
# The ledger of the fake shows cancellation directly (test_fake_server.py); the tools of server-everything do not tell.
modern_telling = those(lambda traits: traits.modern and traits.fixture.startswith("sdk"))
legacy_telling = those(lambda traits: not traits.modern and traits.fixture.startswith("sdk"))


def final(reply: Reply) -> Any:
    """The response, which is the last message and the only one."""
    assert all("method" in message for message in reply.messages[:-1]), reply.messages
    return reply.messages[-1]


def result(reply: Reply) -> Any:
    assert reply.status == 200, reply
    return final(reply)["result"]


def code(reply: Reply) -> Any:
    return final(reply)["error"]["code"]


# ---- both eras ----


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


# ---- 2026-07-28 ----


async def test_discover_tells_the_modern_versions_only(modern: Contestant) -> None:
    async with modern.client() as client:
        found = result(await client.request("server/discover"))
        assert found["supportedVersions"] == ["2026-07-28"]
        assert "tools" in found["capabilities"]
        assert {"ttlMs", "cacheScope"} <= set(found)


async def test_modern_results_say_that_they_are_complete_and_whose_they_are(modern: Contestant) -> None:
    async with modern.client() as client:
        for method in ("server/discover", "tools/list"):
            answer = result(await client.request(method))
            assert answer["resultType"] == "complete"
            assert "io.modelcontextprotocol/serverInfo" in answer["_meta"]


async def test_no_modern_answer_brings_a_session(modern: Contestant) -> None:
    async with modern.client() as client:
        assert "mcp-session-id" not in (await client.request("tools/list")).headers


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
async def test_the_modern_era_takes_posts_only(modern: Contestant, verb: str) -> None:
    async with modern.url() as url:
        headers = {"MCP-Protocol-Version": "2026-07-28", "Accept": "text/event-stream"}
        reply = await raw_http.request(verb, url, b"", headers)
        assert (reply.status, reply.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("header", "value"),
    [("Mcp-Method", "tools/list"), ("Mcp-Method", ""), ("Mcp-Name", "add"), ("Mcp-Name", "=?base64?!?=")],
)
async def test_a_header_that_contradicts_the_body_is_refused(modern: Contestant, header: str, value: str) -> None:
    async with modern.url() as url:
        body, headers = Modern(url).compose("tools/call", {"name": "echo", "arguments": {"text": "hi"}})
        reply = await raw_http.request("POST", url, body, {**headers, header: value})
        assert (reply.status, code(reply), final(reply)["id"]) == (400, -32020, 1)


@pytest.mark.parametrize("header", ["Mcp-Method", "Mcp-Name"])
async def test_a_header_that_is_missing_is_refused(modern: Contestant, header: str) -> None:
    async with modern.url() as url:
        body, headers = Modern(url).compose("tools/call", {"name": "echo", "arguments": {"text": "hi"}})
        del headers[header]
        reply = await raw_http.request("POST", url, body, headers)
        assert (reply.status, code(reply)) == (400, -32020)


async def test_a_name_may_be_mirrored_in_base64(modern: Contestant) -> None:
    async with modern.url() as url:
        body, headers = Modern(url).compose("tools/call", {"name": "echo", "arguments": {"text": "hi"}})
        reply = await raw_http.request("POST", url, body, {**headers, "Mcp-Name": "=?base64?ZWNobw==?="})
        assert result(reply)["content"][0]["text"] == "hi"


@pytest.mark.parametrize("key", ["protocolVersion", "clientCapabilities"])
async def test_a_request_without_the_keys_of_its_meta_is_refused(modern: Contestant, key: str) -> None:
    async with modern.url() as url:
        body, headers = Modern(url).compose("tools/list")
        reply = await raw_http.request("POST", url, body.replace(key.encode(), b"elsewhere"), headers)
        assert (reply.status, code(reply)) == (400, -32602)


async def test_an_unknown_modern_version_is_refused_with_those_there_are(modern: Contestant) -> None:
    async with modern.url() as url:
        body, headers = Modern(url).compose("tools/list")
        body = body.replace(b"2026-07-28", b"2099-01-01")
        reply = await raw_http.request("POST", url, body, {**headers, "MCP-Protocol-Version": "2099-01-01"})
        assert (reply.status, code(reply)) == (400, -32022)
        assert final(reply)["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2099-01-01"}


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe"])
async def test_what_the_modern_era_gave_up_is_an_unknown_method(modern: Contestant, method: str) -> None:
    async with modern.url() as url:
        reply = await Modern(url).request(method, {"level": "info", "uri": "x://y"})
        assert (reply.status, code(reply)) == (404, -32601)


async def test_a_modern_notification_is_accepted_and_dropped(modern: Contestant) -> None:
    async with modern.url() as url:
        message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        reply = await raw_http.post(url, message, {"MCP-Protocol-Version": "2026-07-28"})
        assert (reply.status, reply.body) == (202, b"")


async def test_a_subscription_is_acknowledged_first_under_its_own_id(modern: Contestant) -> None:
    wanted = {"notifications": {"toolsListChanged": True}}
    async with modern.client() as client, client.opened("subscriptions/listen", wanted) as exchange:
        assert exchange.headers["content-type"].startswith("text/event-stream")
        async with asyncio.timeout(raw_http.SECONDS):
            acknowledged = await anext(exchange.messages())
        assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
        assert acknowledged["params"]["notifications"] == {"toolsListChanged": True}
        assert acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == 1


async def test_hanging_up_cancels_a_modern_call(modern_telling: Contestant) -> None:
    async with modern_telling.client() as client:
        arguments = {"seconds": 30, "text": "hung up"}
        async with client.opened("tools/call", {"name": "slow", "arguments": arguments}, progressToken=1) as exchange:
            async with asyncio.timeout(raw_http.SECONDS):
                await anext(exchange.messages())
        await _until_given_up(client, "hung up")


# ---- 2025-03-26 … 2025-11-25 ----


async def test_initialize_opens_a_session_with_the_version_asked_for(legacy: Contestant) -> None:
    for version in ("2025-03-26", "2025-06-18", "2025-11-25"):
        async with legacy.url() as url:
            client = Legacy(url, version=version)
            opened = result(await client.initialize())
            assert opened["protocolVersion"] == version
            assert "name" in opened["serverInfo"]
            assert client.session
            await client.close()


async def test_an_unknown_version_is_countered_with_the_servers_latest(legacy: Contestant) -> None:
    async with legacy.url() as url:
        client = Legacy(url, version="2031-01-01")
        assert result(await client.initialize())["protocolVersion"] == "2025-11-25"
        await client.close()


async def test_initialized_and_other_notifications_are_accepted_without_a_body(legacy: Contestant) -> None:
    async with legacy.client() as client:
        assert isinstance(client, Legacy)
        reply = await client.notify("notifications/roots/list_changed")
        assert (reply.status, reply.body) == (202, b"")


async def test_a_request_without_a_session_is_refused(legacy: Contestant) -> None:
    async with legacy.url() as url:
        reply = await raw_http.post(url, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        assert reply.status == 400


async def test_a_session_nobody_knows_is_refused_in_the_servers_own_way(legacy: Contestant) -> None:
    async with legacy.url() as url:
        client = Legacy(url)
        client.session = "0" * 32
        assert (await client.request("tools/list")).status == legacy.traits.dead_session


async def test_a_deleted_session_is_gone(legacy: Contestant) -> None:
    async with legacy.client() as client:
        assert isinstance(client, Legacy)
        ended = await client.close()
        assert ended is not None
        assert ended.status == 200
        assert (await client.request("tools/list")).status == legacy.traits.dead_session


async def test_a_modern_probe_finds_a_legacy_server_out(legacy_only: Contestant) -> None:
    async with legacy_only.url() as url:
        reply = await Modern(url).request("server/discover")
        assert (reply.status, code(reply)) == (400, legacy_only.traits.discover_error)


async def test_a_session_cannot_be_used_with_a_version_nobody_knows(legacy: Contestant) -> None:
    async with legacy.client() as client:
        assert isinstance(client, Legacy)
        body = client.compose("tools/list")
        reply = await raw_http.request(
            "POST", client.url, body, {**client.headers, "MCP-Protocol-Version": "1999-01-01"}
        )
        assert reply.status == 400


async def test_ping_is_answered_with_an_empty_result(legacy: Contestant) -> None:
    async with legacy.client() as client:
        assert result(await client.request("ping")) == {}


async def test_events_have_ids_and_a_priming_event_where_streams_can_be_resumed(streaming: Contestant) -> None:
    tool, argument, _ = streaming.traits.echo
    async with streaming.client() as client:
        events = (await client.call(tool, {argument: "hi"})).events
        assert bool(events[0].data) is not streaming.traits.event_ids
        assert all(bool(event.id) is streaming.traits.event_ids for event in events)


async def test_an_interrupted_stream_is_fetched_by_its_last_event_id(resumable: Contestant) -> None:
    tool, arguments = resumable.traits.progress
    async with resumable.client() as client:
        assert isinstance(client, Legacy)
        async with client.opened("tools/call", {"name": tool, "arguments": arguments}) as exchange:
            async with asyncio.timeout(raw_http.SECONDS):
                primed = await anext(exchange.events())
        assert not primed.data
        await asyncio.sleep(resumable.traits.resume_after)
        async with asyncio.timeout(raw_http.SECONDS), client.listening(primed.id) as resumed:
            # The stream may stay open after the answer: whoever waits for its end waits forever.
            async for message in resumed.messages():
                # server-everything replays what came on other streams, too: the id decides.
                if message.get("id") == 2:
                    assert "result" in message
                    return
            pytest.fail("the resumed stream ended without the answer")


async def test_there_is_one_get_stream_a_session(legacy: Contestant) -> None:
    async with legacy.client() as client:
        assert isinstance(client, Legacy)
        async with client.listening() as first:
            assert first.status == 200
            assert first.headers["content-type"].startswith("text/event-stream")
            async with client.listening() as second:
                assert second.status == 409


async def test_cancelling_takes_a_notification_in_the_legacy_era(legacy_telling: Contestant) -> None:
    async with legacy_telling.client() as client, asyncio.timeout(raw_http.SECONDS):
        assert isinstance(client, Legacy)
        text = f"notified {legacy_telling.traits.fixture}"
        arguments = {"seconds": 30, "text": text}
        async with client.opened("tools/call", {"name": "slow", "arguments": arguments}, progressToken=1) as exchange:
            messages = exchange.messages()
            await anext(messages)
            await client.notify("notifications/cancelled", {"requestId": 2})
            last = [message async for message in messages]
        assert bool(last) is legacy_telling.traits.answers_cancelled
        assert all("error" in message for message in last)
        await _until_given_up(client, text)


async def _until_given_up(client: Modern | Legacy, text: str) -> None:
    async with asyncio.timeout(raw_http.SECONDS):
        for pause in itertools.count(1):
            told: str = result(await client.call("given_up"))["content"][0]["text"]
            if text in told.split(","):
                return
            await asyncio.sleep(min(0.05, 0.005 * pause))
