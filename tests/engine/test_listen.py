"""`subscriptions/listen` on both eras, as the engine plays it: acknowledgement, what was asked for, and the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_sidecar.call import Deadline
from mcp_sidecar.errors import DeadlineExceeded, InvalidParams, Overloaded, UpstreamLost
from mcp_sidecar.lifecycle import Phase
from mcp_sidecar.protocol.jsonrpc import Request, Response
from tests.engine.engines import ERAS, Bench, Heard, bench, request, text_of, tool
from tests.support.fake_server import FakeServer

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
EVERYTHING = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
TOOLS = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"


def listen(wanted: Any, meta: dict[str, Any] | None = None, *, id: Any = "mine") -> Request:  # noqa: A002
    return request("subscriptions/listen", meta or {}, id=id, notifications=wanted)


@asynccontextmanager
async def listening(
    over: Bench, up: FakeServer, wanted: Any, **more: Any
) -> AsyncIterator[tuple[Heard, asyncio.Task[Response]]]:
    """A subscription that stands; it is cancelled in the end if it still does."""
    heard = Heard()
    task = asyncio.create_task(over.run(listen(wanted, **more), heard=heard))
    try:
        await heard.until(1)
        await up.until(lambda s: s.streams)  # a legacy server hears of listeners after their acknowledgement
        yield heard, task
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.covers("B-415")
async def test_a_listener_hears_of_what_is_within_its_resources_and_not_of_what_is_beside_them():
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        async with listening(over, up, {"resourceSubscriptions": ["fake://greeting"]}) as (heard, _):
            within = ["fake://greeting/first", "fake://greeting?lang=no", "fake://greeting#2", "fake://greeting"]
            for uri in ("fake://greetings", *within):
                assert up.push(UPDATED, {"uri": uri})
            _, *told = await heard.until(5)
            assert [message["params"]["uri"] for message in told] == within


@pytest.mark.covers("B-05")
@pytest.mark.parametrize("era", ERAS)
async def test_a_subscription_begins_with_its_acknowledgement_and_tells_what_was_asked_for(era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        wanted = {"toolsListChanged": True, "resourceSubscriptions": ["fake://greeting"]}
        async with listening(over, up, wanted) as (heard, _):
            for uri in ("fake://other", "fake://greeting"):
                up.push(UPDATED, {"uri": uri})
            up.push("notifications/prompts/list_changed")
            up.push(TOOLS)
            first, *told = await heard.until(3)
            assert first["method"] == "notifications/subscriptions/acknowledged"
            assert first["params"]["notifications"] == wanted
            assert [message["method"] for message in told] == [UPDATED, TOOLS]
            assert told[0]["params"]["uri"] == "fake://greeting"
            assert {message["params"]["_meta"][SUBSCRIPTION] for message in heard.messages} == {"mine"}
        await up.until(lambda s: not s.streams)
        assert up.violations == []


@pytest.mark.covers("B-05")
async def test_an_acknowledgement_promises_only_what_a_legacy_server_offers():
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        async with listening(over, up, {"toolsListChanged": False, "resourceSubscriptions": []}) as (heard, _):
            assert heard.messages[0]["params"]["notifications"] == {}
            up.push(TOOLS)
            await over.run(tool("echo", text="x"))
            assert len(heard.messages) == 1


@pytest.mark.parametrize(
    "wanted",
    [[], "all", {"toolsListChanged": 1}, {"resourceSubscriptions": "x"}, {"resourceSubscriptions": ["x"] * 1001}],
)
async def test_a_filter_that_is_none_is_refused_in_the_legacy_era(wanted: Any):
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        with pytest.raises(InvalidParams):
            await over.run(listen(wanted))
        assert up.streams == 0
        assert (await over.run(tool("echo", text="x"))).error is None


@pytest.mark.covers("B-135")
async def test_an_acknowledgement_leaves_out_what_a_legacy_server_refuses():
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        wanted = ["fake://greeting", "refused://x"]
        async with listening(over, up, {"resourceSubscriptions": wanted}) as (heard, _):
            assert heard.messages[0]["params"] == {
                "notifications": {"resourceSubscriptions": ["fake://greeting"]},
                "_meta": {SUBSCRIPTION: "mine"},
            }
            async with listening(over, up, {"resourceSubscriptions": wanted[1:]}, id="other") as (other, _):
                assert other.messages[0]["params"]["notifications"] == {}
        await up.until(lambda s: s.count("resources/unsubscribe") == 1)
        assert [one.params["uri"] for one in up.requests if one.rpc == "resources/unsubscribe"] == ["fake://greeting"]
        assert up.violations == []


@pytest.mark.covers("B-05")
async def test_two_listeners_of_one_legacy_session_both_hear_and_subscribe_once():
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        wanted = {"resourceSubscriptions": ["fake://greeting"]}
        async with listening(over, up, wanted) as (one, _):
            async with listening(over, up, wanted | {"toolsListChanged": True}, id="other") as (other, _):
                await up.until(lambda s: s.count("resources/subscribe") == 1)
                up.push(TOOLS)
                up.push(UPDATED, {"uri": "fake://greeting"})
                assert [m["method"] for m in await other.until(3)][1:] == [TOOLS, UPDATED]
                assert [m["method"] for m in await one.until(2)][1:] == [UPDATED]
            assert up.count("resources/unsubscribe") == 0
            up.push(UPDATED, {"uri": "fake://greeting"})
            await one.until(3)
        await up.until(lambda s: s.count("resources/unsubscribe") == 1)
        assert up.count("resources/subscribe") == 1


@pytest.mark.covers("B-05")
async def test_logs_of_a_legacy_server_are_told_from_the_level_asked_for():
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        async with listening(over, up, {}, meta={"mcp-sidecar.dev/logLevel": "warning"}) as (heard, _):
            await up.until(lambda s: s.count("logging/setLevel") == 1)
            for level in ("info", "error"):
                up.push("notifications/message", {"level": level, "data": level})
            assert [m["params"].get("level") for m in await heard.until(2)] == [None, "error"]


@pytest.mark.covers("B-05", "B-62")
@pytest.mark.parametrize("era", ERAS)
async def test_a_drain_ends_a_subscription_gracefully(era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        async with listening(over, up, EVERYTHING) as (_, task):
            over.lifecycle.advance(Phase.LAME_DUCK)
            await asyncio.sleep(0.01)
            assert not task.done()
            over.lifecycle.advance(Phase.DRAINING)
            answer = await task
            assert answer.id == b'"mine"'
            assert json.loads(answer.result or b"") == {"resultType": "complete", "_meta": {SUBSCRIPTION: "mine"}}
        await up.until(lambda s: not s.streams)


@pytest.mark.covers("B-21")
@pytest.mark.parametrize("era", ERAS)
async def test_a_subscription_that_outlives_its_callers_deadline_says_so(era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        heard = Heard()
        with pytest.raises(DeadlineExceeded):
            await over.run(listen(EVERYTHING), heard=heard, deadline=Deadline.after(0.1))
        assert len(heard.messages) == 1
        await up.until(lambda s: not s.streams)


@pytest.mark.covers("B-447")
@pytest.mark.parametrize("id", ["mine", "1", 1, 7_000_000])
async def test_a_modern_server_may_end_a_subscription_and_its_result_names_the_listen_as_the_caller_does(id: Any):  # noqa: A002
    async with FakeServer() as up, bench({"up": up.url}) as over:
        async with listening(over, up, EVERYTHING, id=id) as (heard, task):
            up.end_subscriptions()
            said = json.loads((await task).result or b"")
            assert said["resultType"] == "complete"
            assert said["_meta"][SUBSCRIPTION] == id == heard.messages[0]["params"]["_meta"][SUBSCRIPTION]
            assert type(said["_meta"][SUBSCRIPTION]) is type(id)


@pytest.mark.covers("B-447")
@pytest.mark.parametrize("id", ["1", 1])
async def test_the_end_of_a_subscription_to_several_servers_names_it_too(id: Any):  # noqa: A002
    async with FakeServer() as a, FakeServer() as b, bench({"a": a.url, "b": b.url}) as over:
        async with listening(over, a, EVERYTHING, id=id) as (_, task):
            over.lifecycle.advance(Phase.LAME_DUCK)
            over.lifecycle.advance(Phase.DRAINING)
            assert json.loads((await task).result or b"")["_meta"][SUBSCRIPTION] == id


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_dies_ends_a_subscription_as_lost(era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        async with listening(over, up, EVERYTHING) as (_, task):
            await up.stop()
            with pytest.raises(UpstreamLost):
                await task


async def test_subscriptions_are_limited_by_themselves_and_leave_calls_their_room():
    async with FakeServer() as up, bench({"up": up.url}, in_flight=2) as over:
        async with listening(over, up, EVERYTHING), listening(over, up, EVERYTHING):
            with pytest.raises(Overloaded):
                await over.run(listen(EVERYTHING))
            assert text_of(await over.result(tool("echo", text="x"))) == "x"
            assert over.lifecycle.in_flight == 0
        async with listening(over, up, EVERYTHING):
            pass
