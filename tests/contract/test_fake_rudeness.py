"""Each rudeness of the fake is what its name says, in both eras, and ends with the client's patience."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from tests.support.fake_rude import OVERSIZED, REFUSALS, RUDE
from tests.support.fake_server import FakeServer
from tests.support.raw_http import Exchange, Reply
from tests.support.raw_mcp import Legacy, Modern

SECONDS = 10.0
CUT = (asyncio.IncompleteReadError, ConnectionError)
ENDLESS = ("endless_body", "endless_sse_comments", "endless_sse_line", "endless_progress", "slow_drip")
SILENT = ("never_answers", "1xx_storm")
BROKEN = ("truncated_body", "closes_before_reply", "closes_mid_sse", "reset", "reset_mid_sse", "garbage")

Era = Literal["modern", "legacy"]
eras = pytest.mark.parametrize("era", ["modern", "legacy"])


@asynccontextmanager
async def facing(rudeness: str, era: Era = "modern") -> AsyncIterator[tuple[FakeServer, Modern | Legacy]]:
    async with FakeServer(era) as server, asyncio.timeout(SECONDS):
        client = Modern(server.url) if era == "modern" else Legacy(server.url)
        if isinstance(client, Legacy):
            await client.initialize()
        server.next_reply(rudeness)
        yield server, client


async def reply_to(rudeness: str) -> Reply:
    async with facing(rudeness) as (_, client):
        return await client.call("echo", {"text": "hi"}, progressToken="p")


@eras
@pytest.mark.parametrize("rudeness", sorted(set(RUDE) - set(ENDLESS) - set(SILENT) - set(BROKEN)))
async def test_after_a_whole_rude_answer_comes_a_polite_one(rudeness: str, era: Era) -> None:
    async with facing(rudeness, era) as (server, client):
        await client.call("echo", {"text": "hi"})
        reply = await client.call("echo", {"text": "hi"})
        assert reply.messages[-1]["result"]["content"][0]["text"] == "hi"
        assert [execution.tool for execution in server.executions] == ["echo"] * (1 if rudeness in REFUSALS else 2)


@eras
@pytest.mark.parametrize("rudeness", BROKEN)
async def test_a_broken_answer_cannot_be_read_to_its_end(rudeness: str, era: Era) -> None:
    async with facing(rudeness, era) as (server, client):
        with pytest.raises((*CUT, ValueError)):
            await client.call("echo", {"text": "hi"})
        await server.until(lambda s: s.open_connections == 0)


@eras
@pytest.mark.parametrize("rudeness", ENDLESS)
async def test_an_endless_answer_goes_on_until_the_client_hangs_up(rudeness: str, era: Era) -> None:
    async with facing(rudeness, era) as (server, client):
        async with client.opened("tools/call", {"name": "echo", "arguments": {}}) as exchange:
            assert exchange.status == 200
            assert await _some(exchange, pieces=3)
        if isinstance(client, Legacy):
            await client.notify("notifications/cancelled", {"requestId": 2})
        await server.until(lambda s: s.open_connections == 0)


async def _some(exchange: Exchange, pieces: int) -> bool:
    if "content-length" in exchange.headers:
        return True
    async for _ in exchange.pieces():
        pieces -= 1
        if not pieces:
            return True
    return False


@eras
@pytest.mark.parametrize("rudeness", SILENT)
async def test_a_silent_server_never_comes_to_the_answer(rudeness: str, era: Era) -> None:
    async with facing(rudeness, era) as (server, client):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_final_head(client), 0.03)
        if isinstance(client, Legacy):
            await client.notify("notifications/cancelled", {"requestId": 2})
        await server.until(lambda s: s.open_connections == 0)


async def _final_head(client: Modern | Legacy) -> None:
    async with client.opened("tools/call", {"name": "echo", "arguments": {}}) as exchange:
        while exchange.status < 200:
            await exchange.read_head()


@eras
async def test_giving_up_on_a_silent_server_is_recorded_as_a_cancellation(era: Era) -> None:
    async with facing("never_answers", era) as (server, client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.03):
                await client.call("echo", {"text": "hi"})
        if isinstance(client, Legacy):
            await client.notify("notifications/cancelled", {"requestId": 2})
        await server.until(lambda s: s.cancelled)
        assert server.cancelled[0].how == ("closed" if era == "modern" else "notified")


@pytest.mark.parametrize(
    ("rudeness", "status"),
    [("status_500", 500), ("status_503", 503), ("status_401", 401), ("status_307", 307), ("404_once", 404)],
)
async def test_a_status_is_the_one_in_the_name(rudeness: str, status: int) -> None:
    reply = await reply_to(rudeness)
    assert reply.status == status
    wanted = {"status_503": "retry-after", "status_401": "www-authenticate", "status_307": "location"}
    assert wanted.get(rudeness, "content-length") in reply.headers


async def test_html_comes_with_200() -> None:
    reply = await reply_to("html200")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html")


@pytest.mark.parametrize("rudeness", ["truncated_json", "bad_sse"])
async def test_what_should_be_json_is_none(rudeness: str) -> None:
    with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
        assert (await reply_to(rudeness)).messages


@pytest.mark.parametrize("rudeness", ["oversized", "oversized_event"])
async def test_an_oversized_answer_is_well_formed_and_17_mib_long(rudeness: str) -> None:
    (message,) = (await reply_to(rudeness)).messages
    assert len(message["result"]["content"][0]["text"]) == OVERSIZED


async def test_ids_are_wrong_missing_or_in_an_array() -> None:
    assert (await reply_to("wrong_id")).messages[0]["id"] != 1
    assert "id" not in (await reply_to("missing_id")).messages[0]
    assert isinstance((await reply_to("batch_array")).messages[0], list)
    assert "jsonrpc" not in (await reply_to("not_jsonrpc")).messages[0]


async def test_results_come_twice_with_an_error_or_not_at_all() -> None:
    assert [message["id"] for message in (await reply_to("two_finals")).messages] == [1, 1]
    assert {"result", "error"} <= set((await reply_to("result_and_error")).messages[0])
    assert [message.get("id") for message in (await reply_to("ends_without_final")).messages] == [None]


async def test_a_modern_stream_may_carry_what_it_must_not() -> None:
    asked, answered = (await reply_to("request_on_modern_stream")).messages
    assert (asked["method"], "result" in answered) == ("roots/list", True)
    strange = (await reply_to("unknown_result_type")).messages[0]["result"]
    assert strange["resultType"] == "com.example/strange"
    token, method, _ = (await reply_to("unasked_notifications")).messages
    assert (token["params"]["progressToken"], method["method"]) == ("stranger", "notifications/com.example/odd")


async def test_a_rudeness_nobody_knows_is_refused_before_anything_runs() -> None:
    with pytest.raises(KeyError, match="no such rudeness: polite"):
        FakeServer("modern", script={"echo": "polite"})
    with pytest.raises(KeyError, match="no such rudeness: polite"):
        FakeServer("modern").next_reply("polite")


async def test_a_script_answers_by_tool_by_method_and_by_turn() -> None:
    script = {"echo": ["html200", None], "tools/list": "status_500"}
    async with FakeServer("modern", script=script) as server:
        client = Modern(server.url)
        assert [(await client.call("echo", {"text": "x"})).headers["content-type"] for _ in range(3)] == [
            "text/html",
            "application/json",
            "application/json",
        ]
        assert [(await client.request("tools/list")).status for _ in range(2)] == [500, 500]
        assert (await client.call("add", {"a": 1, "b": 2})).status == 200
