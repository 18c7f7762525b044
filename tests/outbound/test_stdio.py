"""What a link over stdio does in either era: many calls on one stream, each with what is its own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_sidecar.call import Client
from mcp_sidecar.errors import (
    Execution,
    SidecarError,
    UpstreamLost,
    UpstreamProtocolError,
    UpstreamUnavailable,
)
from mcp_sidecar.outbound.legacy_refusals import SessionLost
from mcp_sidecar.protocol.eras import Era
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.jsonrpc import Request, Response
from tests.inbound.waiting import eventually
from tests.outbound.links import Heard, a_call, ask, listing, text_of, tool
from tests.outbound.programs import BOTH_ERAS, fake, linked, programs

both_eras = pytest.mark.parametrize("era", BOTH_ERAS)
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
PROGRESS = "notifications/progress"


async def seen(link: Any, what: str) -> Any:
    """What the server has been sent."""
    return json.loads(await ask(link, "seen", {"what": what}))


async def process(link: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await ask(link, "process"))
    return found


@pytest.mark.covers("B-110")
@both_eras
async def test_calls_go_over_stdin_and_stdout_of_one_process(era: str):
    async with linked(fake(era)) as (_, link):
        assert link.era.value == era
        assert link.transport == "stdio"
        assert link.profile.title == ("fake-stdio", "1")
        call = a_call()
        assert await ask(link, "echo", {"text": "one\ntwo\r\u2028"}, call=call) == "one\ntwo\r\u2028"
        assert call.execution is Execution.DONE
        assert (await process(link))["pid"] == (await process(link))["pid"]


@both_eras
async def test_line_ends_between_the_tokens_of_a_message_never_reach_the_server(era: str):
    async with linked(fake(era)) as (_, link):
        params = {"name": b'"echo"', "arguments": b'{\n  "text":\r\n "a\\nb"\n}'}
        meta = {} if link.era is Era.LEGACY else modern_meta()
        answer = await link.exchange(Request("tools/call", b"1", params, meta), a_call(), Heard())
        assert text_of(answer) == "a\nb"


@pytest.mark.covers("B-14")
@both_eras
async def test_callers_with_equal_ids_and_tokens_get_what_is_theirs(era: str):
    async with linked(fake(era)) as (_, link):
        sinks = [Heard() for _ in range(8)]
        running = [
            link.exchange(tool(link, "progress", {"steps": steps}, progressToken="same"), a_call(), sink)
            for steps, sink in enumerate(sinks, 1)
        ]
        answers = await asyncio.gather(*running)
    assert [text_of(answer) for answer in answers] == [f"{steps} steps" for steps in range(1, 9)]
    assert [len(sink.of(PROGRESS)) for sink in sinks] == list(range(1, 9))
    assert {params["progressToken"] for sink in sinks for params in sink.of(PROGRESS)} == {"same"}


@pytest.mark.covers("B-20")
@both_eras
async def test_a_caller_that_goes_away_has_its_request_cancelled_by_notification(era: str):
    async with linked(fake(era)) as (_, link), asyncio.TaskGroup() as tasks:
        begun = asyncio.Event()
        running = tasks.create_task(
            link.exchange(tool(link, "hold", progressToken=1), call := a_call(), Heard(begun.set))
        )
        await begun.wait()
        running.cancel()
        await asyncio.wait({running})
        assert call.execution is Execution.UNKNOWN
        assert len(await seen(link, "cancelled")) == 1
        assert await ask(link, "echo", {"text": "still there"}) == "still there"


@both_eras
async def test_a_call_that_was_answered_is_not_cancelled(era: str):
    async with linked(fake(era)) as (_, link):
        await ask(link, "echo", {"text": "hi"})
        assert await seen(link, "cancelled") == []


@both_eras
async def test_a_log_message_goes_to_the_only_call_there_is_and_to_none_of_several(era: str):
    async with linked(fake(era)) as (_, link), asyncio.TaskGroup() as tasks:
        alone, other, begun = Heard(), Heard(), asyncio.Event()
        await link.exchange(tool(link, "log", {"text": "a"}), a_call(), alone)
        holding = tasks.create_task(
            link.exchange(tool(link, "hold", progressToken=1), a_call(), held := Heard(begun.set))
        )
        await begun.wait()
        await link.exchange(tool(link, "log", {"text": "b"}), a_call(), other)
        holding.cancel()
    assert [params["data"] for params in alone.of("notifications/message")] == ["a"]
    assert other.of("notifications/message") == held.of("notifications/message") == []


@both_eras
async def test_a_large_answer_comes_whole_and_one_too_large_ends_the_process(era: str, monkeypatch: pytest.MonkeyPatch):
    async with linked(fake(era)) as (_, link):
        assert len(await ask(link, "big", {"size": 3_000_000})) == 3_000_000
        with pytest.raises(UpstreamProtocolError, match="larger than") as caught:
            await ask(link, "big", {"size": 17_000_000})
        assert caught.value.execution is Execution.UNKNOWN
        assert await ask(link, "echo", {"text": "another process"}) == "another process"


@pytest.mark.covers("B-112", "B-22")
@both_eras
async def test_a_process_that_ends_fails_the_calls_in_it_and_the_next_one_starts_another(era: str):
    async with linked(fake(era)) as (_, link), asyncio.TaskGroup() as tasks:
        before = (await process(link))["pid"]
        begun = asyncio.Event()
        holding = tasks.create_task(failure(link, tool(link, "hold", progressToken=1), Heard(begun.set)))
        await begun.wait()
        error = await failure(link, tool(link, "die", {"code": 7}))
        assert type(error) is type(await holding) is UpstreamLost
        assert error.execution is (await holding).execution is Execution.UNKNOWN
        assert "ended with exit code 7" in error.message
        assert (await process(link))["pid"] != before


async def failure(link: Any, request: Request, sink: Any = None) -> SidecarError:
    """How a call fails; `call.execution` says the same as the error."""
    call = a_call()
    with pytest.raises(SidecarError) as caught:
        await link.exchange(request, call, sink or Heard())
    assert caught.value.execution is call.execution
    return caught.value


@pytest.mark.parametrize(
    "line",
    [
        '{"jsonrpc":"2.0","id":99,"result":{}}',
        '{"jsonrpc":"2.0","id":"unknown","error":{"code":1,"message":""}}',
        '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":99,"progress":1}}',
        '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}',
        '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}',
        '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}',
    ],
)
@both_eras
async def test_messages_nobody_waits_for_harm_nobody(era: str, line: str):
    async with linked(fake(era)) as (_, link):
        sink = Heard()
        assert text_of(await link.exchange(tool(link, "say", {"lines": [line]}), a_call(), sink)) == "said"
        assert sink.messages == []


# ---- the legacy conversation ----


class Answering(Heard):
    async def ask(self, request: Request) -> Response:
        await super().ask(request)
        return Response(request.id, result=b'{"action":"accept"}')


async def test_what_the_server_asks_goes_to_the_only_caller():
    async with linked(fake("legacy")) as (_, link):
        sink = Answering()
        answer = await link.exchange(tool(link, "ask"), a_call(), sink)
        assert json.loads(text_of(answer)) == {"action": "accept"}
        assert sink.asked == ["elicitation/create"]
        assert [answer["id"] for answer in await seen(link, "answers")] == ["q1"]


@pytest.mark.covers("B-113")
@pytest.mark.parametrize("own", [True, False])
async def test_of_several_callers_none_is_asked_unless_all_are_one_client(own: bool):
    client = Client("c-1", "2025-11-25", b'{"elicitation":{}}', b'{"name":"x","version":"1"}') if own else None
    async with linked(fake("legacy"), client) as (_, link), asyncio.TaskGroup() as tasks:
        begun = asyncio.Event()
        holding = tasks.create_task(link.exchange(tool(link, "hold", progressToken=1), a_call(), Heard(begun.set)))
        await begun.wait()
        answer = json.loads(text_of(await link.exchange(tool(link, "ask"), a_call(), Answering())))
        holding.cancel()
        assert (answer == {"action": "accept"}) is own
        if client is not None:
            declared = await seen(link, "client")
            assert (declared["capabilities"], declared["clientInfo"]["name"]) == ({"elicitation": {}}, "x")


async def test_a_ping_of_ours_does_not_stand_between_the_server_and_its_only_caller():
    async with linked(fake("legacy", "deaf-to-pings")) as (_, link), asyncio.TaskGroup() as tasks:
        checking = tasks.create_task(link.check())
        await asyncio.sleep(0)
        sink = Answering()
        assert json.loads(text_of(await link.exchange(tool(link, "ask"), a_call(), sink))) == {"action": "accept"}
        checking.cancel()


async def test_an_error_without_an_id_is_the_answer_to_the_only_call():
    async with linked(fake("modern")) as (_, link):
        line = '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}'
        answer = await link.exchange(tool(link, "say", {"lines": [line], "answer": False}), a_call(), Heard())
        assert json.loads(answer.error or b"")["code"] == -32700


async def test_a_ping_of_the_server_is_answered_whether_or_not_somebody_calls():
    async with linked(fake("legacy")) as (_, link):
        ping = '{"jsonrpc":"2.0","id":"p","method":"ping"}'
        await link.exchange(tool(link, "say", {"lines": [ping, ping]}), a_call(), Heard())
        await eventually_answered(link, 2)


async def eventually_answered(link: Any, count: int) -> None:
    async with asyncio.timeout(5):
        while len(answers := await seen(link, "answers")) < count:
            pass
    assert [answer["result"] for answer in answers] == [{}] * count


@pytest.mark.covers("B-112")
async def test_listeners_hear_what_no_call_caused_until_the_process_ends():
    async with linked(fake("legacy")) as (_, link), asyncio.TaskGroup() as tasks:
        begun, told = asyncio.Event(), asyncio.Event()
        heard = Heard(told.set)

        async def begin() -> None:
            begun.set()

        async def listen() -> SidecarError:
            with pytest.raises(SidecarError) as caught:
                await link.listen(heard, begin)
            return caught.value

        listening = tasks.create_task(listen())
        await begun.wait()
        await ask(link, "change")
        await told.wait()
        assert heard.messages[0]["method"] == "notifications/tools/list_changed"
        await failure(link, tool(link, "die"))
        assert type(await listening) is UpstreamLost


async def test_subscriptions_and_log_levels_are_asked_for_once_on_a_session():
    async with linked(fake("legacy")) as (_, link):
        for _ in range(2):
            await link.subscribe(b'"a://b"', a_call())
            await link.want_logs("info", a_call())
        assert (await seen(link, "subscribed"), await seen(link, "levels")) == (["a://b"], ["info"])
        link.unsubscribe(b'"a://b"')
        link.unsubscribe(b'"a://b"')
        async with asyncio.timeout(5):
            while await seen(link, "subscribed"):
                pass


# ---- the modern one ----


def listen() -> Request:
    return Request("subscriptions/listen", b'"mine"', {"notifications": b'{"toolsListChanged":true}'}, modern_meta())


@pytest.mark.covers("B-114")
@pytest.mark.parametrize("how", ["result", "cancelled"])
async def test_a_modern_server_ends_a_subscription_with_a_result_or_by_cancelling_it(how: str):
    async with linked(fake("modern")) as (_, link), asyncio.TaskGroup() as tasks:
        sinks = [Heard(), Heard()]
        listening = [tasks.create_task(link.exchange(listen(), a_call(), sink)) for sink in sinks]
        await eventually(lambda: all(sink.messages for sink in sinks))
        ids = [sink.messages[0]["params"]["_meta"][SUBSCRIPTION] for sink in sinks]
        assert len(set(ids)) == 2
        await ask(link, "change")
        await eventually(lambda: all(len(sink.messages) == 2 for sink in sinks))
        assert [sink.messages[1]["params"]["_meta"][SUBSCRIPTION] for sink in sinks] == ids
        await ask(link, "end_listens", {"how": how})
        for task in listening:
            assert json.loads((await task).result or b"")["resultType"] == "complete"


@pytest.mark.covers("B-114")
async def test_a_listener_that_goes_away_cancels_its_subscription():
    async with linked(fake("modern")) as (_, link), asyncio.TaskGroup() as tasks:
        sink = Heard()
        listening = tasks.create_task(link.exchange(listen(), a_call(), sink))
        await eventually(lambda: bool(sink.messages))
        listening.cancel()
        await asyncio.wait({listening})
        assert await seen(link, "cancelled") == await seen(link, "listens")


@pytest.mark.parametrize(
    "line",
    ['{"jsonrpc":"2.0","id":1,"method":"roots/list"}', None],
    ids=["a request", "a cancellation of a call"],
)
async def test_a_modern_server_that_does_what_only_others_do_fails_the_call(line: str | None):
    async with linked(fake("modern")) as (_, link):
        # The id of the call itself: the first request of a link has the id 1.
        line = line or '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}'
        error = await failure(link, tool(link, "say", {"lines": [line], "answer": False}))
        assert type(error) is UpstreamProtocolError
        assert await ask(link, "echo", {"text": "same process"}) == "same process"


async def test_no_caller_can_turn_a_shared_process_into_a_server_of_the_other_era():
    async with linked(fake("modern")) as (_, link):
        answer = await link.exchange(Request("initialize", b"1", meta=modern_meta()), call := a_call(), Heard())
        assert json.loads(answer.error or b"")["code"] == -32601
        assert call.execution is Execution.NONE


# ---- health ----


@both_eras
async def test_check_asks_the_process_there_is_and_starts_none(era: str):
    async with programs(fake(era)) as its:
        link = its.link(await its.verdict())
        with pytest.raises(UpstreamUnavailable):
            await link.check()
        await link.open()
        await link.check()
        await failure(link, tool(link, "die"))
        for _ in range(2):
            with pytest.raises(UpstreamUnavailable) as caught:
                await link.check()
        assert link.stateful
        assert era == "modern" or type(caught.value) is SessionLost
        await link.open()
        await link.check()
        await link.close()


@both_eras
async def test_closing_fails_what_runs_and_later_calls_have_not_run(era: str):
    async with linked(fake(era)) as (_, link), asyncio.TaskGroup() as tasks:
        begun = asyncio.Event()
        holding = tasks.create_task(failure(link, tool(link, "hold", progressToken=1), Heard(begun.set)))
        await begun.wait()
        await link.close()
        assert (await holding).execution is Execution.UNKNOWN
        assert (await failure(link, listing(link))).execution is Execution.NONE
