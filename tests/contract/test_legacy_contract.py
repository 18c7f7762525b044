"""What every server of the 2025 revisions does, our fake and real ones alike; knows no 2026."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.contestants import Contestant, code, result, those, until_given_up
from tests.support import raw_http
from tests.support.raw_mcp import Legacy, Modern

legacy = those(lambda traits: not traits.modern)
legacy_only = those(lambda traits: not traits.modern and traits.bad_version is not None)
streaming = those(lambda traits: not traits.modern and traits.streams_all)
resumable = those(lambda traits: traits.event_ids)
# The ledger of the fake shows cancellation directly (test_fake_server.py); the tools of server-everything do not tell.
legacy_telling = those(lambda traits: not traits.modern and traits.fixture.startswith("sdk"))


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
        await until_given_up(client, text)
