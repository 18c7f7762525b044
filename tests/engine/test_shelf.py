"""Results that are given again, in a whole engine: `engine.shelf`, `engine.news`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_sidecar import errors
from mcp_sidecar.call import Call, Deadline, Principal
from mcp_sidecar.engine.catalogue import list_tools
from mcp_sidecar.errors import Execution
from mcp_sidecar.lifecycle import Phase
from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.settings import UpstreamAuthSettings
from tests.engine.engines import Bench, Heard, bench, request, settings
from tests.engine.several import STALE, legacy
from tests.engine.test_listen import listening
from tests.support import fake_tools
from tests.support.fake_server import FakeServer

LIST = request("tools/list")
READ = request("resources/read", uri="fake://greeting")
HOUR = 3_600_000
CACHEABLE = [
    request("server/discover"),
    LIST,
    request("prompts/list"),
    request("resources/list"),
    request("resources/templates/list"),
    READ,
]
IDS = [one.method for one in CACHEABLE]


async def asked(over: Bench, up: FakeServer, sent: Request = LIST, **call: Any) -> bool:
    """Run a request; whether the server heard of it."""
    before = up.count(sent.method)
    await over.result(sent, **call)
    heard = up.count(sent.method) > before
    assert over.call.from_cache is not heard
    return heard


async def settled(over: Bench) -> None:
    """The server's era is known: finding it out is a request too."""
    await over.result(request("completion/complete", ref={"type": "ref/prompt", "name": "greet"}, argument={}))


@pytest.mark.covers("B-425")
async def test_a_question_of_many_bytes_is_not_remembered():
    async with FakeServer(ttl_ms=60_000) as up, bench({"up": up.url}) as over:
        await settled(over)
        for length, asked_again in ((3000, False), (5000, True)):
            sent = request("resources/read", uri="fake://item/" + "x" * length)
            assert await asked(over, up, sent)
            assert await asked(over, up, sent) is asked_again


@pytest.mark.covers("B-180")
@pytest.mark.parametrize("sent", CACHEABLE, ids=IDS)
async def test_a_result_is_given_again_for_as_long_as_its_server_says(sent: Request):
    async with FakeServer(ttl_ms=60_000) as up, bench({"up": up.url}) as over:
        await settled(over)
        assert await asked(over, up, sent)
        fresh = await over.result(sent)
        assert over.call.from_cache and over.call.execution is Execution.DONE and over.call.server == "up"
        up.hint(1, "private")
        over.engine.offers.forget("up")
        first = await over.result(sent)
        assert 50_000 < fresh["ttlMs"] <= 60_000 and first["ttlMs"] == 1
        assert {**fresh, "ttlMs": 1} == first
        await asyncio.sleep(0.005)
        assert await asked(over, up, sent)
        assert up.violations == []


@pytest.mark.covers("B-180")
@pytest.mark.parametrize("ttl", [0, -5, None, "soon", 1e400, [1]])
async def test_a_result_without_a_time_of_its_own_is_out_of_date_at_once(ttl: Any):
    async with FakeServer() as up, bench({"up": up.url}) as over:

        async def listing(_: Any) -> dict[str, Any]:
            return {"tools": [], "cacheScope": "public", "ttlMs": ttl} if ttl is not None else {"tools": []}

        up._modern._methods["tools/list"] = listing
        for _ in range(2):
            if ttl == 1e400:
                with pytest.raises(errors.UpstreamProtocolError):  # no JSON
                    await over.run(LIST)
            else:
                assert await asked(over, up)


@pytest.mark.covers("B-181")
async def test_a_private_result_is_never_another_callers_and_a_public_one_everybodys():
    ada, bob = Principal("ada"), Principal("bob", {"iss": "x"})
    async with FakeServer() as up, bench({"up": up.url}) as over:
        up.hint(HOUR, "private")
        assert await asked(over, up, principal=ada)
        assert await asked(over, up, principal=bob)
        assert await asked(over, up, principal=Principal("bob", {"iss": "y"}))
        assert not await asked(over, up, principal=ada)
        over.engine.offers.forget("up")
        up.hint(HOUR, "public")
        assert await asked(over, up, principal=ada)
        assert not await asked(over, up, principal=bob)


@pytest.mark.covers("B-181")
async def test_a_result_is_good_for_one_credential_only(tmp_path: Any):
    token = tmp_path / "token"
    token.write_text("one")
    async with FakeServer(ttl_ms=HOUR, authorization=True) as up:
        chosen = settings("up", up.url, auth=UpstreamAuthSettings(bearer_file=str(token)))
        async with bench({"up": chosen}) as over:
            assert await asked(over, up)
            assert not await asked(over, up)
            token.write_text("another")
            over.dialer._credentials.of(chosen).doubt()
            assert await asked(over, up)


@pytest.mark.covers("B-181")
async def test_two_callers_who_ask_at_once_share_nothing_private():
    async with FakeServer(ttl_ms=HOUR) as up, bench({"up": up.url}) as over:
        callers = [Principal("ada"), Principal("bob")]
        await asyncio.gather(*(over.run(LIST, principal=one) for one in callers * 5))
        assert up.count("tools/list") == 2


@pytest.mark.covers("B-180")
async def test_other_parameters_are_another_question_and_meta_is_not():
    async with FakeServer(ttl_ms=HOUR, page=3) as up, bench({"up": up.url}) as over:
        assert await asked(over, up)
        assert not await asked(over, up, request("tools/list", {"x/y": 1, "progressToken": 1}))
        assert await asked(over, up, request("tools/list", cursor="3"))
        assert not await asked(over, up, request("tools/list", cursor="3"))
        assert len(await list_tools(over.engine, Call("/x/List", "rid"), "up")) == len(fake_tools.ALL)


@pytest.mark.covers("B-182")
async def test_all_who_ask_at_once_share_one_request():
    async with FakeServer(ttl_ms=HOUR) as up, bench({"up": up.url}) as over:
        answers = await asyncio.gather(*(over.result(request("tools/list", id=n)) for n in range(20)))
        assert up.count("tools/list") == 1
        assert all(answer == answers[0] for answer in answers)


@pytest.mark.covers("B-182")
async def test_what_may_not_be_kept_is_not_shared_either():
    async with FakeServer(ttl_ms=0) as up, bench({"up": up.url}) as over:
        await asyncio.gather(*(over.run(LIST) for _ in range(5)))
        assert up.count("tools/list") == 5


@pytest.mark.covers("B-182", "B-20")
async def test_a_caller_that_leaves_takes_nobody_along_and_the_last_one_the_request():
    async with FakeServer(ttl_ms=HOUR) as up, bench({"up": up.url}) as over:
        gate = asyncio.Event()

        async def held(_: Any) -> dict[str, Any]:
            await gate.wait()
            return {"tools": []}

        up._modern._methods["tools/list"] = held
        first = asyncio.create_task(over.run(LIST))
        await up.until(lambda s: s.count("tools/list"))
        second = asyncio.create_task(over.run(LIST))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        assert up.cancelled == []
        gate.set()
        assert (await second).result is not None
        gate.clear()
        over.engine.offers.forget("up")
        third = asyncio.create_task(over.run(LIST))
        await up.until(lambda s: s.count("tools/list") == 2)
        third.cancel()
        await asyncio.wait({third})
        await up.until(lambda s: s.cancelled)


@pytest.mark.covers("B-21")
async def test_who_waits_for_anothers_request_has_a_deadline_of_its_own():
    async with FakeServer(ttl_ms=HOUR) as up, bench({"up": up.url}) as over:

        async def never(_: Any) -> dict[str, Any]:
            await asyncio.sleep(30)
            return {}

        up._modern._methods["tools/list"] = never
        patient = asyncio.create_task(over.run(LIST))
        await up.until(lambda s: s.count("tools/list"))
        with pytest.raises(errors.DeadlineExceeded):
            await over.run(LIST, deadline=Deadline.after(0.1))
        assert not patient.done() and up.count("tools/list") == 1
        patient.cancel()
        await asyncio.wait({patient})


@pytest.mark.covers("B-04")
async def test_who_wants_to_hear_something_meanwhile_asks_by_itself():
    async with FakeServer(ttl_ms=HOUR) as up, bench({"up": up.url}) as over:

        async def talks(exchange: Any) -> dict[str, Any]:
            exchange.progress(1, 1, "halfway")
            return {"tools": []}

        up._modern._methods["tools/list"] = talks
        heard = Heard()
        await over.run(request("tools/list", {"progressToken": "p"}), heard=heard)
        assert [message["params"]["progressToken"] for message in heard.messages] == ["p"]
        assert not await asked(over, up)


async def test_a_call_of_several_rounds_is_neither_kept_nor_answered_from_what_is():
    async with FakeServer(ttl_ms=HOUR) as up, bench({"up": up.url}) as over:

        async def asks(exchange: Any) -> dict[str, Any]:
            if "requestState" not in exchange.request.params:
                return {"resultType": "input_required", "requestState": "s", "ttlMs": 1000}
            return {"contents": []}

        up._modern._methods["resources/read"] = asks
        for _ in range(2):
            assert (await over.result(READ))["resultType"] == "input_required"
            assert not over.call.from_cache
        again = request("resources/read", uri="fake://greeting", requestState="s")
        for _ in range(2):
            assert await asked(over, up, again)


@pytest.mark.covers("B-183")
@pytest.mark.parametrize(
    ("method", "params", "gone", "stays"),
    [
        ("notifications/tools/list_changed", {}, CACHEABLE[1], CACHEABLE[2]),
        ("notifications/prompts/list_changed", {}, CACHEABLE[2], CACHEABLE[1]),
        ("notifications/resources/list_changed", {}, CACHEABLE[3], READ),
        ("notifications/resources/list_changed", {}, CACHEABLE[4], READ),
        ("notifications/resources/updated", {"uri": "fake://greeting"}, READ, CACHEABLE[3]),
    ],
)
async def test_news_of_a_change_ends_what_was_kept(method: str, params: Any, gone: Request, stays: Request):
    wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
    async with FakeServer(ttl_ms=HOUR) as up, bench({"up": up.url}) as over:
        async with listening(over, up, {**wanted, "resourceSubscriptions": ["fake://greeting"]}) as (heard, _):
            await over.run(gone)
            await over.run(stays)
            up.push(method, params)
            await heard.until(2)
            assert await asked(over, up, gone)
            assert not await asked(over, up, stays)


@pytest.mark.covers("B-183")
async def test_a_list_that_was_asked_for_before_a_change_is_not_kept_after_it():
    async with FakeServer(ttl_ms=HOUR) as up, bench({"up": up.url}) as over:
        gate = asyncio.Event()

        async def held(_: Any) -> dict[str, Any]:
            await gate.wait()
            return {"tools": []}

        up._modern._methods["tools/list"] = held
        before = asyncio.create_task(over.run(LIST))
        await up.until(lambda s: s.count("tools/list"))
        over.engine.offers.forget("up")
        after = asyncio.create_task(over.run(LIST))
        await up.until(lambda s: s.count("tools/list") == 2)
        gate.set()
        await asyncio.wait({before, after})
        assert not await asked(over, up)
        assert up.count("tools/list") == 2


@pytest.mark.covers("B-184")
async def test_an_older_list_stands_in_for_a_server_that_is_down_and_says_so():
    async with FakeServer(ttl_ms=5) as up, bench({"up": up.url}) as over:
        fresh = await over.result(LIST)
        await over.result(READ)
        await up.stop()
        await asyncio.sleep(0.01)
        stale = await over.result(LIST)
        assert stale["tools"] == fresh["tools"] and stale["_meta"][STALE] == ["up"]
        assert stale["ttlMs"] == 0 and over.call.from_cache
        with pytest.raises(errors.UpstreamUnavailable):
            await over.run(READ)  # data is another matter
        over.engine.offers.forget("up")
        with pytest.raises(errors.UpstreamUnavailable):
            await over.run(LIST)


@pytest.mark.covers("B-184")
async def test_a_list_without_a_time_of_its_own_stands_in_for_nothing():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        await over.result(LIST)
        await up.stop()
        with pytest.raises(errors.UpstreamUnavailable):
            await over.run(LIST)


@pytest.mark.covers("B-180")
async def test_a_client_of_the_2025_era_is_answered_from_the_same_store_in_its_own_shape():
    async with FakeServer(ttl_ms=HOUR) as up, bench({"up": up.url}) as over:
        await asked(over, up)
        sent = Request("tools/list", b"7")
        answer = await over.run(sent, client=legacy())
        assert over.call.from_cache and answer.id == b"7"
        assert set(json.loads(answer.result or b"")) == {"tools"}
        over.engine.offers.forget("up")
        assert set(await over.result(sent, client=legacy())) == {"tools"}
        assert not await asked(over, up)
        assert up.violations == []


@pytest.mark.covers("B-180")
async def test_servers_of_the_2025_era_give_no_time_and_are_always_asked():
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        assert await asked(over, up)
        assert await asked(over, up)
        assert await asked(over, up, Request("tools/list", b"7"), client=legacy())


@pytest.mark.covers("B-62")
async def test_a_draining_sidecar_gives_no_answer_from_what_it_keeps():
    async with FakeServer(ttl_ms=HOUR) as up, bench({"up": up.url}) as over:
        await over.run(LIST)
        over.lifecycle.advance(Phase.DRAINING)
        with pytest.raises(errors.Draining):
            await over.run(LIST)
