"""The retry of a held call: whose it is, what it lets the server ask, and whether its answers get there."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_sidecar.errors import Execution, InvalidCall, Unavailable, UpstreamLost
from mcp_sidecar.outbound import legacy
from tests.engine.engines import bench, request, text_of, tool
from tests.engine.several import two
from tests.engine.test_hold import ABLE, BO, CAPABILITIES, again, answered, asking
from tests.support import fake_tools
from tests.support.fake_server import FakeServer

_NOT_TAKEN = ("status_503", "status_401", "status_500", "404_once", "closes_before_reply", "reset")


@pytest.mark.covers("B-70", "B-177", "B-441")
@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("other", ["legacy", "modern"])
async def test_the_retry_of_a_read_goes_to_the_one_of_several_servers_that_asked(era: Any, other: Any):
    async def secret(exchange: Any) -> Any:
        answer = await fake_tools.ask_elicitation(exchange, {})
        return answer if "resultType" in answer else {"contents": [{"uri": "hidden://x", **answer["content"][0]}]}

    async with two(other, era) as (a, b, over):
        (b._modern if era == "modern" else b._legacy)._methods["resources/read"] = secret
        asked = request("resources/read", ABLE, uri="hidden://x")
        result = await over.result(asked)
        assert (await answered(over, asked, result, BO))["contents"][0]["text"] == "accept: Bo"
        assert over.call.server == "b"
        assert a.count("resources/read") == (2 if era == other == "modern" else 1)


@pytest.mark.covers("B-442")
@pytest.mark.parametrize("later", ["less", "nothing", "the same", "more"])
async def test_what_is_asked_after_a_retry_is_judged_by_what_the_retry_declares(later: str):
    async def both(exchange: Any) -> Any:
        await exchange.ask("elicitation/create", {"message": "name?", "requestedSchema": {}})
        return await fake_tools.ask_sampling(exchange, {})

    able: dict[str, Any] = {"less": {"elicitation": {}}, "nothing": {}}.get(later, ABLE[CAPABILITIES])
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        up._legacy._methods["tools/call"] = both
        asked = tool("both", {CAPABILITIES: {"elicitation": {}}} if later == "more" else ABLE)
        result = await over.result(asked)
        retry = again(asked, result, dict.fromkeys(result["inputRequests"], BO))
        answer = await over.run(retry.with_meta({CAPABILITIES: json.dumps(able).encode()}))
        if "sampling" in able:
            (question,) = json.loads(answer.result or b"")["inputRequests"].values()
            assert question["method"] == "sampling/createMessage"
        else:
            assert up.answers[-1]["error"]["code"] == -32601
            error = json.loads(answer.error or b"")
            assert (error["code"], error["data"]) == (-32021, {"requiredCapabilities": {"sampling": {}}})


@pytest.mark.covers("B-442")
async def test_a_question_that_waits_is_refused_when_the_retry_no_longer_declares_it():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        asked = asking("ask_several")
        first = await over.result(asked)
        kinds = {one["method"]: key for key, one in first["inputRequests"].items()}
        retry = again(asked, first, {kinds["elicitation/create"]: BO})
        with pytest.raises(InvalidCall):
            await over.run(retry.with_meta({CAPABILITIES: b'{"elicitation":{},"roots":'}))
        answer = await over.run(retry.with_meta({CAPABILITIES: b'{"elicitation":{}}'}))
        error = json.loads(answer.error or b"")
        assert (error["code"], error["data"]) == (-32021, {"requiredCapabilities": {"roots": {}}})


@pytest.mark.covers("B-72", "B-445")
@pytest.mark.parametrize("rudeness", _NOT_TAKEN)
async def test_a_call_whose_answer_the_server_does_not_take_is_lost_at_once(rudeness: str):
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        asked = asking("ask_elicitation")
        result = await over.result(asked)
        up.next_reply(rudeness, on="POST")
        with pytest.raises(Unavailable, match=r"^the answer to elicitation/create could not be given") as lost:
            await answered(over, asked, result, BO)
        assert lost.value.execution is over.call.execution is Execution.UNKNOWN
        assert up.answers == [] and len(up.executions) == 1
        await up.until(lambda _: bool(up.cancelled))
        assert text_of(await over.result(tool("echo", text="after"))) == "after"
        async with asyncio.timeout(5):
            await over.lifecycle.quiet()


@pytest.mark.covers("B-445")
async def test_an_answer_that_the_server_cannot_have_got_is_given_once_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(legacy, "_PAUSES", (0.01,) * 400)
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        asked = asking("ask_elicitation")
        result = await over.result(asked)
        up._listener.close()  # type: ignore[union-attr]  # what is open stays
        up.close_idle_sockets()
        retry = asyncio.create_task(answered(over, asked, result, BO))
        done, _ = await asyncio.wait({retry}, timeout=0.1)
        assert not done
        await up.start()
        assert text_of(await retry) == "accept: Bo"
        assert len(up.answers) == len(up.executions) == 1


@pytest.mark.covers("B-445")
async def test_an_answer_that_never_reaches_a_server_ends_the_call():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        asked = asking("ask_elicitation")
        result = await over.result(asked)
        up._listener.close()  # type: ignore[union-attr]
        up.close_idle_sockets()
        with pytest.raises(UpstreamLost, match="could not be given"):
            await answered(over, asked, result, BO)


@pytest.mark.covers("B-445")
async def test_an_answer_may_take_longer_than_what_is_told_by_courtesy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(legacy, "_COURTESY_SECONDS", 0.0)
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        asked = asking("ask_elicitation")
        assert text_of(await answered(over, asked, await over.result(asked), BO)) == "accept: Bo"


@pytest.mark.covers("B-441")
async def test_answers_that_come_once_more_go_to_who_asked_and_to_nobody_else():
    async def secret(exchange: Any) -> Any:
        answer = await fake_tools.ask_elicitation(exchange, {})
        return answer if "resultType" in answer else {"contents": [{"uri": "hidden://x", **answer["content"][0]}]}

    async with two("modern", "legacy") as (a, b, over):
        b._legacy._methods["resources/read"] = secret
        asked = request("resources/read", ABLE, uri="hidden://x")
        result = await over.result(asked)
        retry = again(asked, result, dict.fromkeys(result["inputRequests"], BO))
        await over.run(retry)
        looked = a.count("resources/read")
        with pytest.raises(InvalidCall):
            await over.run(retry)
        assert a.count("resources/read") == looked
