"""A modern client on a legacy server that asks it something in the middle of a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from mcp_sidecar.call import Deadline, Principal
from mcp_sidecar.errors import DeadlineExceeded, Execution, InvalidParams, Overloaded, PoolExhausted, UpstreamLost
from mcp_sidecar.lifecycle import Phase
from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.settings import HoldSettings, PoolSettings
from tests.engine.engines import Bench, Heard, bench, request, text_of, tool
from tests.outbound.programs import fake
from tests.outbound.sse_server import SseServer
from tests.support.fake_server import FakeServer

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
ABLE: dict[str, Any] = {CAPABILITIES: {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}}
BO = {"action": "accept", "content": {"name": "Bo"}}
_NO_STATES = {"made up": b'"mcs1.AAAA"', "another's": b'"v1.e9Uk0Vf"', "empty": b'""', "no text": b"5"}


def asking(name: str, /, **arguments: Any) -> Request:
    """A `tools/call` of a client that can answer everything."""
    return tool(name, ABLE, **arguments)


def again(asked: Request, result: Mapping[str, Any], answers: Mapping[str, Any], **other: Any) -> Request:
    """The same request with answers to what `result` asks."""
    more = {"inputResponses": answers, "requestState": result["requestState"], **other}
    return asked.with_params({key: json.dumps(value).encode() for key, value in more.items()})


async def answered(over: Bench, asked: Request, result: Mapping[str, Any], answer: Any, **call: Any) -> Any:
    """What comes of the retry that gives `answer` to everything that is asked."""
    return await over.result(again(asked, result, dict.fromkeys(result["inputRequests"], answer)), **call)


@pytest.mark.covers("B-70")
@pytest.mark.parametrize("answers", ["json", "sse"])
@pytest.mark.parametrize(
    ("name", "method", "answer", "said"),
    [
        ("ask_elicitation", "elicitation/create", BO, "accept: Bo"),
        ("ask_elicitation", "elicitation/create", {"action": "decline"}, "decline: None"),
        ("ask_sampling", "sampling/createMessage", {"content": {"type": "text", "text": "hm"}}, "sampled: hm"),
        ("ask_roots", "roots/list", {"roots": [{"uri": "file:///x"}]}, "roots: ['file:///x']"),
    ],
)
async def test_a_question_ends_the_call_and_its_answer_goes_on_with_it(answers, name, method, answer, said):
    async with FakeServer("legacy", answers) as up, bench({"up": up.url}) as over:
        result = await over.result(asking(name))
        assert result["resultType"] == "input_required"
        assert [one["method"] for one in result["inputRequests"].values()] == [method]
        assert text_of(await answered(over, asking(name), result, answer)) == said
        assert over.call.execution is Execution.DONE
        assert len(up.executions) == 1
        assert up.violations == [] and up.cancelled == []
    assert over.lifecycle.in_flight == 0


@pytest.mark.covers("B-70")
async def test_questions_asked_at_once_are_told_at_once_and_may_be_answered_one_by_one():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        asked = asking("ask_several")
        first = await over.result(asked)
        kinds = {one["method"]: key for key, one in first["inputRequests"].items()}
        assert set(kinds) == {"roots/list", "elicitation/create"}
        second = await over.result(again(asked, first, {kinds["roots/list"]: {"roots": [{"uri": "file:///a"}]}}))
        assert list(second["inputRequests"]) == [kinds["elicitation/create"]]
        assert second["requestState"] != first["requestState"]
        assert text_of(await answered(over, asked, second, BO)) == "file:///a accept"
        assert len(up.executions) == 1


@pytest.mark.covers("B-70")
async def test_rounds_follow_each_other_and_progress_goes_to_the_client_that_listens():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        heard: list[Heard] = []
        answer: dict[str, Any] = {}
        for leg, name in enumerate(["", "a", "b", "c"]):
            asked = tool("ask_rounds", {**ABLE, "progressToken": f"leg {leg}"}, rounds=3)
            if leg:
                given = {"action": "accept", "content": {"name": name}}
                asked = again(asked, answer, dict.fromkeys(answer["inputRequests"], given))
            heard.append(Heard())
            response = await over.run(asked, heard=heard[-1])
            answer = json.loads(response.result or b"")
        assert text_of(answer) == "a b c"
        told = [[one["params"]["progressToken"] for one in sink.messages] for sink in heard]
        assert told[0] == ["leg 0"]
        assert all(token == f"leg {leg}" for leg, tokens in enumerate(told) for token in tokens)
        assert up.violations == []


@pytest.mark.covers("B-71")
@pytest.mark.parametrize(
    "change",
    [
        "tampered",
        "made up",
        "another's",
        "empty",
        "no text",
        "used up",
        "other arguments",
        "other principal",
        "other tool",
    ],
)
async def test_a_state_is_good_once_for_the_same_request_of_the_same_principal(change: str):
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        asked = asking("ask_elicitation", text="Who?")
        result = await over.result(asked, principal=Principal("alice"))
        retry = again(asked, result, dict.fromkeys(result["inputRequests"], BO))
        who = Principal("alice")
        state = result["requestState"]
        if change == "tampered":
            flipped = state[:-3] + ("A" if state[-3] != "A" else "B") + state[-2:]
            retry = retry.with_params({"requestState": json.dumps(flipped).encode()})
        elif change in _NO_STATES:
            retry = retry.with_params({"requestState": _NO_STATES[change]})
        elif change == "used up":
            await over.result(retry, principal=who)
        elif change == "other arguments":
            retry = retry.with_params({"arguments": b'{"text":"What?"}'})
        elif change == "other tool":
            retry = retry.with_params({"name": b'"ask_roots"'})
        else:
            who = Principal("mallory")
        with pytest.raises(InvalidParams, match="requestState"):
            await over.run(retry, principal=who)
        assert len(up.executions) == 1
        if change != "used up":
            good = again(asked, result, dict.fromkeys(result["inputRequests"], BO))
            assert text_of(await over.result(good, principal=Principal("alice"))) == "accept: Bo"


@pytest.mark.covers("B-71", "B-450")
async def test_a_state_is_refused_too_when_the_server_is_found_to_be_legacy_only_then():
    async with FakeServer("legacy", "sse") as up:
        for state in _NO_STATES.values():
            async with bench({"up": up.url}) as over:
                with pytest.raises(InvalidParams, match="requestState"):
                    await over.run(asking("ask_elicitation").with_params({"requestState": state}))
                assert over.call.execution is Execution.NONE
        assert up.executions == []


@pytest.mark.covers("B-71")
@pytest.mark.parametrize("bad", ["[]", '{"q1":1}', '"x"'])
async def test_answers_of_the_wrong_shape_are_refused_and_the_call_waits_on(bad: str):
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        asked = asking("ask_elicitation")
        result = await over.result(asked)
        with pytest.raises(InvalidParams, match="inputResponses"):
            await over.run(again(asked, result, {}).with_params({"inputResponses": bad.encode()}))
        assert text_of(await answered(over, asked, result, BO)) == "accept: Bo"


@pytest.mark.covers("B-72")
async def test_a_client_that_never_comes_back_frees_the_call():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}, hold=HoldSettings(expire=0.05)) as over:
        asked = asking("ask_elicitation")
        result = await over.result(asked)
        await up.until(lambda _: len(up.cancelled) == 1)
        assert up.cancelled[0].how == "notified"
        async with asyncio.timeout(5):
            await over.lifecycle.quiet()
        with pytest.raises(InvalidParams, match="requestState"):
            await answered(over, asked, result, BO)


@pytest.mark.covers("B-72")
async def test_no_more_calls_wait_than_are_allowed():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}, hold=HoldSettings(most=1)) as over:
        result = await over.result(asking("ask_elicitation"))
        with pytest.raises(Overloaded, match=r"hold\.most"):
            await over.run(asking("ask_elicitation"))
        await up.until(lambda _: len(up.cancelled) == 1)
        assert text_of(await answered(over, asking("ask_elicitation"), result, BO)) == "accept: Bo"


@pytest.mark.covers("B-72")
async def test_a_server_lost_between_two_rounds_is_told_to_the_retry():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        asked = asking("ask_elicitation")
        result = await over.result(asked)
        await up.stop(reset=True)
        with pytest.raises(UpstreamLost) as lost:
            await answered(over, asked, result, BO)
        assert lost.value.execution is Execution.UNKNOWN
        async with asyncio.timeout(5):
            await over.lifecycle.quiet()


async def test_a_caller_that_goes_away_before_there_is_a_question_cancels_the_call():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        waiting = asyncio.create_task(over.run(asking("hold", gate="g")))
        await up.until(lambda _: bool(up.executions))
        waiting.cancel()
        await up.until(lambda _: len(up.cancelled) == 1)
        assert waiting.done() or await asyncio.wait({waiting}, timeout=5)


async def test_a_call_that_might_be_asked_keeps_its_deadline():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        with pytest.raises(DeadlineExceeded):
            await over.run(asking("hold", gate="g"), deadline=Deadline.after(0.3))
        await up.until(lambda _: len(up.cancelled) == 1)


@pytest.mark.covers("B-70")
async def test_what_the_client_cannot_answer_is_refused_at_once():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        answer = await over.run(tool("ask_roots", {CAPABILITIES: {"elicitation": {}}}))
        assert up.answers[-1]["error"]["code"] == -32601
        assert up.cancelled == []
        error = json.loads(answer.error or b"")
        assert (error["code"], error["data"]) == (-32021, {"requiredCapabilities": {"roots": {}}})


@pytest.mark.covers("B-70")
@pytest.mark.parametrize("modes", [{}, {"form": {}}, {"form": {}, "url": {}}])
async def test_a_form_is_shown_by_clients_that_name_forms_or_no_mode_at_all(modes: dict[str, Any]):
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        asked = tool("ask_elicitation", {CAPABILITIES: {"elicitation": modes}})
        assert text_of(await answered(over, asked, await over.result(asked), BO)) == "accept: Bo"


@pytest.mark.covers("B-70")
async def test_a_client_that_can_only_show_pages_is_asked_to_fill_no_form():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        await over.run(tool("ask_elicitation", {CAPABILITIES: {"elicitation": {"url": {}}}}))
        assert up.answers[-1]["error"]["code"] == -32601
        assert len(up.executions) == 1


@pytest.mark.covers("B-70")
async def test_a_client_comes_back_while_the_sidecar_drains():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        asked = asking("ask_elicitation")
        result = await over.result(asked)
        over.lifecycle.advance(Phase.DRAINING)
        assert over.lifecycle.in_flight == 1
        assert text_of(await answered(over, asked, result, BO)) == "accept: Bo"
        async with asyncio.timeout(5):
            await over.lifecycle.quiet()


@pytest.mark.covers("B-73")
async def test_pages_the_user_has_to_visit_are_asked_for_and_the_call_is_made_again():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        asked = asking("ask_url", ticket="t")
        result = await over.result(asked)
        (question,) = result["inputRequests"].values()
        assert question["params"] == {"mode": "url", "message": "Please log in", "url": "https://example.com/login"}
        assert "requestState" not in result
        retry = asked.with_params({"inputResponses": b'{"q1":{"action":"accept"}}'})
        assert text_of(await over.result(retry)) == "visited"
        assert "inputResponses" not in up.requests[-1].params


@pytest.mark.covers("B-73")
async def test_a_client_that_cannot_show_pages_is_told_what_it_lacks():
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        answer = await over.run(tool("ask_url", {CAPABILITIES: {"elicitation": {"form": {}}}}, ticket="t"))
        error = json.loads(answer.error or b"")
        assert error["code"] == -32021
        assert error["data"] == {"requiredCapabilities": {"elicitation": {"url": {}}}}


@pytest.mark.covers("B-70")
async def test_a_question_on_the_sessions_own_stream_is_that_of_the_only_call_in_flight():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over, asyncio.timeout(10):
        asked = asking("hold", gate="g", text="done")
        waiting = asyncio.create_task(over.result(asked))
        await up.until(lambda _: bool(up.executions) and up.streams > 0)
        answer = asyncio.create_task(up.ask("elicitation/create", {"message": "Who?", "requestedSchema": {}}))
        result = await waiting
        assert [one["params"]["message"] for one in result["inputRequests"].values()] == ["Who?"]
        second = asyncio.create_task(answered(over, asked, result, BO))
        assert (await answer)["content"] == {"name": "Bo"}
        up.release("g")
        assert text_of(await second) == "done"


@pytest.mark.covers("B-70")
async def test_a_question_on_the_sessions_own_stream_that_could_be_anybodys_is_refused():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over, asyncio.timeout(10):
        calls = [asyncio.create_task(over.result(asking("hold", gate="g", text=name))) for name in "ab"]
        await up.until(lambda _: len(up.executions) == 2 and up.streams > 0)
        asking_nobody = asyncio.create_task(up.ask("roots/list"))
        await up.until(lambda _: bool(up.answers))
        assert up.answers[-1]["error"]["code"] == -32601
        asking_nobody.cancel()
        up.release("g")
        assert sorted([text_of(await call) for call in calls]) == ["a", "b"]


@pytest.mark.covers("B-140")
async def test_on_a_pipe_calls_that_may_be_asked_have_a_process_each_and_every_one_is_asked_what_is_its_own():
    async with bench({"up": fake("legacy")}) as over:
        questions = await asyncio.gather(*(over.result(asking("ask")) for _ in range(3)))
        assert [len(one["inputRequests"]) for one in questions] == [1, 1, 1]
        names = ["Ann", "Bo", "Cy"]
        given = [{"action": "accept", "content": {"name": name}} for name in names]
        said = [await answered(over, asking("ask"), one, more) for one, more in zip(questions, given, strict=True)]
        assert [json.loads(text_of(one))["content"]["name"] for one in said] == names
        used = {json.loads(text_of(await over.result(asking("process"))))["pid"] for _ in range(5)}
        assert len(used) == 1 and len(over.dialer.pool.connections()) == 3


@pytest.mark.covers("B-140")
async def test_calls_that_cannot_be_asked_share_one_process_on_a_pipe():
    async with bench({"up": fake("legacy")}) as over:
        await asyncio.gather(*(over.result(tool("echo", {CAPABILITIES: {"experimental": {}}})) for _ in range(9)))
        assert len(over.dialer.pool.connections()) == 1


@pytest.mark.covers("B-140")
async def test_calls_that_may_be_asked_wait_for_a_process_and_are_refused_in_time():
    async with bench({"up": fake("legacy")}, pool=PoolSettings(max_per_endpoint=2)) as over:
        first, second = [await over.result(asking("ask")) for _ in range(2)]
        with pytest.raises(PoolExhausted, match=r"pool\.max_per_endpoint"):
            await over.result(asking("echo", text="too many"), deadline=Deadline.after(0.3))
        assert over.call.execution is Execution.NONE
        waiting = asyncio.create_task(over.result(asking("echo", text="in turn")))
        await answered(over, asking("ask"), first, BO)
        assert text_of(await waiting) == "in turn"
        await answered(over, asking("ask"), second, BO)
    assert over.lifecycle.in_flight == 0


@pytest.mark.covers("B-140")
async def test_who_listens_hears_what_a_call_of_the_same_client_causes_in_its_process():
    async with bench({"up": fake("legacy")}) as over:
        heard = Heard()
        listen = request("subscriptions/listen", ABLE, notifications={"toolsListChanged": True})
        listening = asyncio.create_task(over.run(listen, heard=heard))
        await heard.until(1)
        assert text_of(await over.result(asking("change"))) == "changed"
        assert [one["method"] for one in await heard.until(2)][1:] == ["notifications/tools/list_changed"]
        assert len(over.dialer.pool.connections()) == 1
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@pytest.mark.covers("B-140")
async def test_over_http_with_sse_calls_that_may_be_asked_have_a_stream_each():
    async with SseServer() as server, bench({"up": f"sse+{server.url}"}) as over:
        held = [asyncio.create_task(over.result(asking("hold"))) for _ in range(2)]
        async with asyncio.timeout(10):
            while server.count("tools/call") < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert len(server.streams) == 2
        for one in held:
            one.cancel()
        await asyncio.gather(*held, return_exceptions=True)


async def test_the_state_of_a_modern_server_is_its_own_affair():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        asked = asking("ask_elicitation")
        result = await over.result(asked)
        assert result["requestState"] == "fake-state"
        assert text_of(await answered(over, asked, result, BO)) == "accept: Bo"


async def test_lists_are_never_held():
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        assert (await over.result(request("tools/list", ABLE)))["tools"]
