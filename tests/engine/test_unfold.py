"""Clients of the 2025 era: on modern servers, whose questions become requests to them, and on servers of their era."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mcp_sidecar.call import Client, Deadline
from mcp_sidecar.errors import Cancelled, DeadlineExceeded, Execution, UpstreamLost, UpstreamProtocolError
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.settings import PoolSettings
from tests.engine.engines import Heard, bench, text_of
from tests.support.fake_server import FakeServer

INFO = b'{"name":"old","version":"1"}'
ABLE = b'{"elicitation":{},"sampling":{},"roots":{"listChanged":true}}'


def client(name: str = "c1", capabilities: bytes = ABLE) -> Client:
    return Client(name, "2025-06-18", capabilities, INFO)


def legacy(method: str, **params: Any) -> Request:
    """A request as a client of the 2025 era sends it."""
    return Request(method, b"7", {key: json.dumps(value).encode() for key, value in params.items()})


def tool(name: str, **arguments: Any) -> Request:
    return legacy("tools/call", name=name, arguments=arguments)


class Asked(Heard):
    """A client that gives these answers, in order; what it was asked is kept."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.asked: list[Request] = []
        self._answers = list(answers)

    async def ask(self, request: Request) -> Response:
        self.asked.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        key = "error" if "code" in answer else "result"
        return Response(request.id, **{key: json.dumps(answer).encode()})


BO = {"action": "accept", "content": {"name": "Bo"}}


@pytest.mark.covers("B-74", "B-75")
@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize(
    ("name", "method", "answer", "said"),
    [
        ("ask_elicitation", "elicitation/create", BO, "accept: Bo"),
        ("ask_sampling", "sampling/createMessage", {"content": {"type": "text", "text": "hm"}}, "sampled: hm"),
        ("ask_roots", "roots/list", {"roots": [{"uri": "file:///x"}]}, "roots: ['file:///x']"),
    ],
)
async def test_questions_become_requests_to_the_client(era, name, method, answer, said):
    async with FakeServer(era, "sse") as up, bench({"up": up.url}) as over:
        heard = Asked(answer)
        assert text_of(await over.result(tool(name), heard=heard, client=client())) == said
        assert [one.method for one in heard.asked] == [method]
        assert up.violations == []


@pytest.mark.covers("B-74")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_several_questions_and_several_rounds_work(era):
    async with FakeServer(era, "sse") as up, bench({"up": up.url}) as over:
        both = {"roots": [{"uri": "file:///a"}], "action": "accept"}
        assert text_of(await over.result(tool("ask_several"), heard=Asked(both, both), client=client())) == (
            "file:///a accept"
        )
        names = [{"action": "accept", "content": {"name": name}} for name in "abc"]
        heard = Asked(*names)
        assert text_of(await over.result(tool("ask_rounds", rounds=3), heard=heard, client=client())) == "a b c"
        assert [one.text("message") for one in heard.asked] == ["round 1", "round 2", "round 3"]
        assert up.violations == []


@pytest.mark.covers("B-440")
async def test_a_server_gets_back_what_it_gave_in_this_round_and_nothing_of_the_rounds_before():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        assert text_of(await over.result(tool("ask_in_turns"), heard=Asked(BO, BO), client=client())) == "all rounds"
        calls = [received.params for received in up.requests if received.rpc == "tools/call"]
        given = [(one.get("requestState"), one.get("inputResponses")) for one in calls]
        assert given == [(None, None), ("first", {"a": BO}), (None, {"b": BO}), ("last", None)]


@pytest.mark.covers("B-74")
async def test_a_server_that_never_stops_asking_is_given_up():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        endless = Asked(*[{"action": "accept", "content": {"name": "x"}}] * 20)
        with pytest.raises(UpstreamProtocolError, match="more than 10 times"):
            await over.run(tool("ask_rounds", rounds=20), heard=endless, client=client())
        assert len(endless.asked) == 10


@pytest.mark.covers("B-74")
async def test_an_error_of_the_client_is_the_answer_to_its_own_call():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        refuses = Asked({"code": -1, "message": "the user said no"})
        answer = await over.run(tool("ask_sampling"), heard=refuses, client=client())
        assert json.loads(answer.error or b"") == {"code": -1, "message": "the user said no"}
        assert answer.id == b"7"
        gone = Asked(Cancelled("the client is gone", execution=Execution.UNKNOWN))
        with pytest.raises(Cancelled):
            await over.run(tool("ask_sampling"), heard=gone, client=client())


class Slow(Asked):
    """A client that answers nothing after these answers; `left` are the questions that nobody waited for any more."""

    def __init__(self, *answers: Any, until: Callable[[], Awaitable[object]] | None = None) -> None:
        super().__init__(*answers)
        self.left: list[str] = []
        self._until = until or asyncio.Event().wait

    async def ask(self, request: Request) -> Response:
        if self._answers:
            return await super().ask(request)
        try:
            await self._until()
        except asyncio.CancelledError:
            self.left.append(request.method)
            raise
        return Response(request.id, result=json.dumps(BO).encode())


@pytest.mark.covers("B-443")
async def test_an_error_of_the_client_ends_the_call_although_another_question_is_open():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        heard = Slow({"code": -1, "message": "the user said no"})
        answer = await over.run(tool("ask_several"), heard=heard, client=client())
        assert json.loads(answer.error or b"") == {"code": -1, "message": "the user said no"}
        assert len(heard.left) == 1
        assert over.call.execution is Execution.DONE
        assert len(up.executions) == 1


@pytest.mark.covers("B-444")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_client_that_never_answers_is_named_and_not_the_server(era):
    async with FakeServer(era, "sse") as up, bench({"up": up.url}) as over:
        for asked in (tool("ask_sampling"), tool("ask_several")):
            with pytest.raises(
                DeadlineExceeded, match=r"^the client did not answer in time what .* 'up' asked"
            ) as late:
                await over.run(asked, heard=Slow(), client=client(), deadline=Deadline.after(0.5))
            assert late.value.execution is Execution.UNKNOWN
        with pytest.raises(DeadlineExceeded, match=r"^the MCP server 'up' did not answer"):
            await over.run(tool("hold", gate="g"), heard=Slow(), client=client(), deadline=Deadline.after(0.5))


@pytest.mark.covers("B-445")
async def test_a_client_hears_at_once_that_its_answer_could_not_be_given():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        await over.result(tool("echo", text="before"), client=client())

        async def spoil() -> None:
            up.next_reply("status_503", on="POST")

        with pytest.raises(UpstreamLost, match=r"^the answer to sampling/createMessage could not be given") as lost:
            await over.run(tool("ask_sampling"), heard=Slow(until=spoil), client=client())
        assert lost.value.execution is Execution.UNKNOWN


@pytest.mark.covers("B-444")
async def test_a_server_that_is_gone_when_the_client_has_answered_may_have_run_the_call():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        with pytest.raises(UpstreamLost) as lost:
            await over.run(tool("ask_sampling"), heard=Slow(until=up.stop), client=client())
        assert lost.value.execution is Execution.UNKNOWN
        assert len(up.executions) == 1


@pytest.mark.covers("B-74")
async def test_a_client_is_asked_only_what_it_declared():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        for name, capabilities in (("ask_roots", b"{}"), ("ask_url", b'{"elicitation":{}}')):
            heard = Asked()
            answer = await over.run(tool(name, ticket="t"), heard=heard, client=client("c", capabilities))
            assert json.loads(answer.error or b"")["code"] == -32600
            assert heard.asked == []
        sent = up.requests[-1].meta["io.modelcontextprotocol/clientCapabilities"]
        assert sent == {"elicitation": {"form": {}}}


@pytest.mark.covers("B-74")
async def test_a_page_to_visit_has_an_id_for_clients_of_the_2025_era():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        heard = Asked({"action": "accept"})
        able = client("c", b'{"elicitation":{"form":{},"url":{}}}')
        assert text_of(await over.result(tool("ask_url", ticket="t"), heard=heard, client=able)) == "visited"
        (asked,) = heard.asked
        assert asked.text("url") == "https://example.com/login"
        assert asked.text("elicitationId")


@pytest.mark.covers("B-74")
async def test_a_modern_server_sees_a_modern_client_and_the_client_a_legacy_server():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        one = client()
        request = legacy("tools/list").with_meta({"progressToken": b'"p"', "com.example/x": b"1.0"})
        result = await over.result(request, client=one)
        assert set(result) == {"tools"}
        meta = up.requests[-1].meta
        assert meta["io.modelcontextprotocol/clientInfo"] == {"name": "old", "version": "1"}
        assert meta["io.modelcontextprotocol/clientCapabilities"]["roots"] == {}
        assert meta["com.example/x"] == 1.0
        assert await over.result(legacy("logging/setLevel", level="warning"), client=one) == {}
        assert up.count("logging/setLevel") == 0
        await over.run(tool("echo", text="x"), client=one)
        assert up.requests[-1].meta["io.modelcontextprotocol/logLevel"] == "warning"
        wrong = await over.run(legacy("logging/setLevel", level="loud"), client=one)
        assert json.loads(wrong.error or b"")["code"] == -32602
        tasks = await over.run(legacy("tasks/list"), client=one)
        assert json.loads(tasks.error or b"")["code"] == -32601
        assert up.violations == []


@pytest.mark.covers("B-75")
async def test_a_client_of_the_servers_era_has_a_session_of_its_own_until_it_is_forgotten():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        one, two = client("one"), client("two", b"{}")
        for who in (one, two, one):
            await over.result(tool("echo", text="x"), client=who)
        sessions = [run.session for run in up.executions]
        assert sessions[0] == sessions[2] != sessions[1]
        first = up.requests[[received.rpc for received in up.requests].index("initialize")]
        assert first.params["capabilities"] == json.loads(ABLE)
        assert first.params["clientInfo"] == json.loads(INFO)
        over.engine.forget(one)
        await up.until(lambda _: len(up.sessions) == 1)
        assert up.violations == []


@pytest.mark.covers("B-50", "B-75")
async def test_more_clients_than_there_may_be_connections_keep_a_session_each():
    few = PoolSettings(max_connections=3, max_per_endpoint=2)
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}, pool=few) as over:
        clients = [client(f"c{number}") for number in range(6)]
        for who in clients * 2:
            await over.result(tool("echo", text="x"), client=who)
        sessions = [run.session for run in up.executions]
        assert sessions[:6] == sessions[6:]
        assert len(set(sessions)) == len(up.sessions) == 6


@pytest.mark.covers("B-75")
async def test_between_two_of_the_same_era_nothing_is_translated():
    async with FakeServer("legacy", "sse") as up, bench({"up": up.url}) as over:
        answer = await over.run(legacy("resources/read", uri="fake://nowhere"), client=client())
        assert json.loads(answer.error or b"")["code"] == -32002
        assert set(await over.result(legacy("tools/list"), client=client())) == {"tools"}
        heard = Heard()
        assert await over.result(legacy("logging/setLevel", level="info"), client=client()) == {}
        progress = tool("progress", steps=2).with_meta({"progressToken": b'"mine"'})
        await over.run(progress, heard=heard, client=client())
        kinds = [message["method"] for message in heard.messages]
        assert kinds == ["notifications/progress", "notifications/message"] * 2
        assert heard.messages[0]["params"]["progressToken"] == "mine"


@pytest.mark.covers("B-444")
async def test_a_call_that_has_begun_without_a_question_is_not_begun_again():
    async with FakeServer() as up, bench({"up": up.url}, attempts=3) as over:
        rounds: list[bool] = []

        async def begin(exchange: Any) -> Any:
            rounds.append("requestState" in exchange.request.params)
            if up._listener is not None:
                up._listener.close()
            asyncio.get_running_loop().call_later(0.05, up.close_idle_sockets)
            await asyncio.sleep(0.01)
            return {"resultType": "input_required", "requestState": "s"}

        up._modern._methods["tools/call"] = begin
        with pytest.raises((UpstreamLost, DeadlineExceeded)):
            await over.run(tool("echo", text="x"), client=client())
        assert over.call.execution is Execution.UNKNOWN
        assert rounds.count(False) == 1
