"""One subscription to several servers: `engine.fan_in` in a whole engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_sidecar.call import Deadline
from mcp_sidecar.engine import fan_in
from mcp_sidecar.errors import DeadlineExceeded, Draining, SendQueueFull
from mcp_sidecar.lifecycle import Phase
from mcp_sidecar.outbound.backoff import Backoff
from mcp_sidecar.protocol.jsonrpc import Response
from tests.engine.engines import ERAS, Bench, Heard, bench, request
from tests.engine.several import NOWHERE
from tests.engine.test_listen import EVERYTHING, SUBSCRIPTION, TOOLS, UPDATED, listen
from tests.support.fake_server import FakeServer

PROMPTS = "notifications/prompts/list_changed"


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_in, "_PAUSE", Backoff(first=0.01, longest=0.05))


@asynccontextmanager
async def listening(
    over: Bench, wanted: Any, ups: Mapping[str, FakeServer], **call: Any
) -> AsyncIterator[tuple[Heard, asyncio.Task[Response]]]:
    """A subscription that all of `ups` have heard of."""
    heard = Heard()
    task = asyncio.create_task(over.run(listen(wanted), heard=heard, **call))
    try:
        await heard.until(1)
        for up in ups.values():
            await up.until(lambda s: s.streams)
        yield heard, task
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.covers("B-179", "B-05")
@pytest.mark.parametrize("era", ERAS)
async def test_one_acknowledgement_has_what_any_server_grants_and_everybody_is_heard(era: Any):
    async with FakeServer(era) as a, FakeServer("legacy") as b, bench({"a": a.url, "b": b.url}) as over:
        b.catalogue.capabilities = {"tools": {"listChanged": True}}
        async with listening(over, EVERYTHING, {"a": a, "b": b}) as (heard, _):
            assert heard.messages[0]["method"] == "notifications/subscriptions/acknowledged"
            assert heard.messages[0]["params"]["notifications"] == EVERYTHING
            a.push(PROMPTS)
            await heard.until(2)
            b.push(TOOLS)
            await heard.until(3)
            assert [message["method"] for message in heard.messages[1:]] == [PROMPTS, TOOLS]
            assert {message["params"]["_meta"][SUBSCRIPTION] for message in heard.messages} == {"mine"}
        for up in (a, b):
            await up.until(lambda s: not s.streams)
            assert up.violations == []


@pytest.mark.covers("B-179")
async def test_a_dead_server_holds_up_nobody_and_is_heard_once_it_is_there():
    async with FakeServer() as a, FakeServer() as b, bench({"a": a.url, "b": b.url}) as over:
        await b.stop()
        began = time.monotonic()
        async with listening(over, {"toolsListChanged": True}, {"a": a}) as (heard, task):
            assert time.monotonic() - began < 5
            a.push(TOOLS)
            await heard.until(2)
            await b.start()
            # It may have changed while it could not be heard.
            assert (await heard.until(3))[2]["method"] == TOOLS
            await b.until(lambda s: s.streams)
            b.push(TOOLS)
            await heard.until(4)
            assert not task.done()


@pytest.mark.covers("B-179")
@pytest.mark.parametrize("era", ERAS)
async def test_the_end_of_one_server_ends_nothing_else(era: Any):
    async with FakeServer(era) as a, FakeServer() as b, bench({"a": a.url, "b": b.url}) as over:
        async with listening(over, {"toolsListChanged": True}, {"a": a, "b": b}) as (heard, task):
            b.end_subscriptions()
            await heard.until(2)  # heard again, and perhaps changed meanwhile
            a.push(TOOLS)
            await heard.until(3)
            assert not task.done()


@pytest.mark.covers("B-179")
async def test_a_resource_is_subscribed_to_at_its_owner_only():
    async with FakeServer() as a, FakeServer() as b, bench({"a": a.url, "b": b.url}) as over:
        b.catalogue.resources = {"other://x": {"mimeType": "text/plain", "text": "x"}}
        await over.run(request("resources/list"))
        wanted = {"resourceSubscriptions": ["other://x"]}
        async with listening(over, wanted, {"a": a, "b": b}) as (heard, _):
            assert heard.messages[0]["params"]["notifications"] == wanted
            assert a.push(UPDATED, {"uri": "other://x"}) == 0
            assert b.push(UPDATED, {"uri": "other://x"}) == 1
            assert (await heard.until(2))[1]["params"]["uri"] == "other://x"


async def test_a_caller_that_is_too_slow_is_told_so():
    class Full(Heard):
        async def notify(self, method: str, message: bytes) -> None:
            if self.messages:
                raise SendQueueFull("full")
            await super().notify(method, message)

    async with FakeServer() as a, FakeServer() as b, bench({"a": a.url, "b": b.url}) as over:
        heard = Full()
        task = asyncio.create_task(over.run(listen(EVERYTHING), heard=heard))
        await heard.until(1)
        await a.until(lambda s: s.streams)
        a.push(TOOLS)
        await asyncio.wait({task}, timeout=5)
        assert isinstance(task.exception(), SendQueueFull)
        await b.until(lambda s: not s.streams)


@pytest.mark.covers("B-62")
async def test_a_drain_ends_it_gracefully_also_when_a_server_is_down():
    async with FakeServer() as a, bench({"a": a.url, "down": NOWHERE}) as over:
        async with listening(over, EVERYTHING, {"a": a}) as (_, task):
            over.lifecycle.advance(Phase.DRAINING)
            response = await asyncio.wait_for(task, 5)
            assert response.error is None
            with pytest.raises(Draining):
                await over.run(listen(EVERYTHING))


@pytest.mark.covers("B-21")
async def test_a_deadline_ends_it_and_is_named():
    async with FakeServer() as a, bench({"a": a.url, "down": NOWHERE}) as over:
        async with listening(over, EVERYTHING, {"a": a}, deadline=Deadline.after(1.5)) as (_, task):
            with pytest.raises(DeadlineExceeded):
                await asyncio.wait_for(task, 5)
