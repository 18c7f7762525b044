"""What every server of 2026-07-28 does, our fake and real ones alike; knows no 2025."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.contestants import Contestant, code, final, result, those, until_given_up
from tests.support import raw_http
from tests.support.raw_mcp import Modern

modern = those(lambda traits: traits.modern)
# The ledger of the fake shows cancellation directly: test_fake_server.py.
modern_telling = those(lambda traits: traits.modern and traits.fixture.startswith("sdk"))


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
        expected = {"toolsListChanged": True} if modern.traits.tells_of_tools else {}
        assert acknowledged["params"]["notifications"] == expected
        assert acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == 1


async def test_hanging_up_cancels_a_modern_call(modern_telling: Contestant) -> None:
    async with modern_telling.client() as client:
        arguments = {"seconds": 30, "text": "hung up"}
        async with client.opened("tools/call", {"name": "slow", "arguments": arguments}, progressToken=1) as exchange:
            async with asyncio.timeout(raw_http.SECONDS):
                await anext(exchange.messages())
        await until_given_up(client, "hung up")
