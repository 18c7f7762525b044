"""One call's way through the engine: to whom, under which limits, and under whose names."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_sidecar import errors
from mcp_sidecar.call import Deadline, trace
from mcp_sidecar.engine.listeners import _end_when_draining
from mcp_sidecar.errors import Execution
from mcp_sidecar.lifecycle import Phase
from mcp_sidecar.outbound.connection import State
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.jsonrpc import Request
from tests.engine.engines import ERAS, Heard, bench, request, text_of, tool
from tests.protocol.spellings import FRAGILE
from tests.support.fake_server import FakeServer

LIST = request("tools/list")
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.covers("B-09")
async def test_the_only_server_needs_no_name_and_a_wrong_name_is_told_the_right_ones():
    async with FakeServer() as one, FakeServer("legacy") as other:
        async with bench({"one": one.url}) as over:
            await over.run(tool("echo", text="x"))
            assert over.call.server == "one"
        async with bench({"one": one.url, "other": other.url}) as over:
            for name in ("third", "One"):
                with pytest.raises(errors.UnknownUpstream, match="known: one, other"):
                    await over.run(LIST, name)
            for name in ("one", "other"):
                await over.run(tool("echo", text=name), name)
                assert over.call.server == name
        assert [run.arguments["text"] for run in one.executions] == ["x", "one"]
        assert [run.arguments["text"] for run in other.executions] == ["other"]


async def test_without_any_server_the_error_says_how_to_get_one():
    async with bench({}) as over:
        with pytest.raises(errors.UnknownUpstream, match="--upstream"):
            await over.run(LIST)


@pytest.mark.parametrize("era", ERAS)
async def test_what_became_of_a_call_is_written_down(era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        await over.run(tool("echo", text="x"))
        call = over.call
        assert (call.method, call.name, call.server, call.execution) == ("tools/call", "echo", "up", Execution.DONE)
        assert call.protocol_version == ("2026-07-28" if era == "modern" else "2025-11-25")
        assert call.connection_id == over.dialer.pool.connections()[0].id
        assert up.violations == []


@pytest.mark.covers("B-03")
@pytest.mark.parametrize(
    ("method", "field"), [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")]
)
@pytest.mark.parametrize("wrong", [{}, {"name": 1, "uri": 1}, {"name": None, "uri": None}])
async def test_a_request_that_names_nothing_reaches_no_server(method: str, field: str, wrong: dict[str, Any]):
    async with FakeServer() as up, bench({"up": up.url}) as over:
        with pytest.raises(errors.InvalidCall) as refusal:
            await over.run(request(method, **wrong))
        assert refusal.value.violations == ((f"params.{field}", "must be a string"),)
        assert up.requests == []


@pytest.mark.covers("B-02", "B-14")
@pytest.mark.parametrize("era", ERAS)
async def test_arguments_reach_the_server_byte_for_byte(era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        for value in FRAGILE.values():
            if b'"a":1,"a":2' in value:
                continue  # the fake refuses duplicates wherever they are
            arguments = b'{"text":"x","odd":%b}' % value
            params = {"name": b'"echo"', "arguments": arguments, "com.example/unknown": value}
            sent = Request("tools/call", b'"mine"', params, modern_meta() | {"com.example/meta": value})
            assert (await over.run(sent)).id == b'"mine"'
            body = up.requests[-1].body
            assert b'"arguments":' + arguments + b"," in body
            assert b'"com.example/unknown":' + value + b"," in body
            assert b'"com.example/meta":' + value in body
            assert b"mine" not in body


@pytest.mark.covers("B-14")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("answers", ["json", "sse"])
async def test_many_callers_with_equal_ids_and_tokens_each_get_their_own(era: Any, answers: Any):
    async with FakeServer(era, answers) as up, bench({"up": up.url}) as over:

        async def one(number: int) -> None:
            heard = Heard()
            sent = tool("progress", {"progressToken": "same"}, id="same", steps=number % 5)
            echo = tool("echo", {"progressToken": "same"}, id="same", text=f"nonce {number}")
            answer, other = await asyncio.gather(over.run(sent, heard=heard), over.run(echo))
            assert answer.id == other.id == b'"same"'
            assert text_of(json.loads(answer.result or b"")) == f"{number % 5} steps"
            assert text_of(json.loads(other.result or b"")) == f"nonce {number}"
            told = [message["params"] for message in heard.messages]
            assert [params["progress"] for params in told] == list(range(1, number % 5 + 1))
            assert {params["progressToken"] for params in told} <= {"same"}

        await asyncio.gather(*map(one, range(40)))
        assert up.violations == []


@pytest.mark.covers("B-35")
@pytest.mark.parametrize("era", ERAS)
async def test_the_callers_trace_travels_in_headers_and_in_the_message_whatever_it_holds(era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        state = 'v="1":{"sampling":{}},y@z="\\'
        await over.run(tool("echo", text="x"), trace=trace(PARENT, state, None))
        received = up.requests[-1]
        assert received.fault == "" and up.violations == []
        assert received.meta["traceparent"] == PARENT
        assert received.meta["tracestate"] == received.headers["tracestate"] == state
        assert received.headers["traceparent"] == PARENT
        assert received.headers["x-request-id"] == "rid"


@pytest.mark.covers("B-35")
async def test_the_messages_own_trace_wins_over_the_transports():
    own = PARENT.replace("4bf9", "beef")
    async with FakeServer() as up, bench({"up": up.url}) as over:
        await over.run(tool("echo", {"traceparent": own}, text="x"), trace=trace(PARENT, "v=1", None))
        assert up.requests[-1].headers["traceparent"] == up.requests[-1].meta["traceparent"] == own
        assert "tracestate" not in up.requests[-1].headers
        assert over.call.trace.traceparent == own
        await over.run(tool("echo", {"traceparent": "nonsense"}, text="x"), trace=trace(PARENT, None, None))
        assert up.requests[-1].headers["traceparent"] == PARENT


async def test_more_calls_than_are_allowed_at_once_are_refused_as_not_executed():
    async with FakeServer() as up, bench({"up": up.url}, in_flight=2) as over:
        held = [asyncio.create_task(over.run(tool("hold", gate="g"))) for _ in range(2)]
        await up.until(lambda s: len(s.executions) == 2)
        with pytest.raises(errors.Overloaded, match=r"admission\.in_flight") as refusal:
            await over.run(LIST)
        assert (refusal.value.execution, refusal.value.retry_after) == (Execution.NONE, 1.0)
        up.release("g")
        await asyncio.gather(*held)
        await over.run(LIST)
        assert over.lifecycle.in_flight == 0


@pytest.mark.covers("B-62")
async def test_a_draining_sidecar_takes_no_call_and_lets_the_others_finish():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        held = asyncio.create_task(over.run(tool("hold", gate="g", text="done")))
        await up.until(lambda s: s.executions)
        over.lifecycle.advance(Phase.LAME_DUCK)
        await over.run(LIST)
        over.lifecycle.advance(Phase.DRAINING)
        for late in (LIST, tool("echo", text="x"), request("subscriptions/listen", notifications={})):
            with pytest.raises(errors.Draining) as refusal:
                await over.run(late)
            assert refusal.value.execution is Execution.NONE
        up.release("g")
        assert text_of(json.loads((await held).result or b"")) == "done"
        assert over.lifecycle.in_flight == 0


@pytest.mark.covers("B-20")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 12, 20, 40])
async def test_a_call_cancelled_at_any_moment_leaves_nothing_behind(turns: int, era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        running = asyncio.create_task(over.run(tool("hold", gate="g")))
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await up.until(lambda s: all(run.finished or s.cancelled for run in s.executions))
        assert over.lifecycle.in_flight == 0
        up.release("g")
        assert text_of(await over.result(tool("echo", text="next"))) == "next"
        assert all(one.in_flight == 0 for one in over.dialer.pool.connections())
        assert up.violations == []


@pytest.mark.covers("B-53")
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_nobody_waited_for_says_nothing_good_about_its_connection(era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        await over.run(LIST)
        (connection,) = over.dialer.pool.connections()
        over.dialer.pool.report(connection, errors.UpstreamLost("broken"))
        over.dialer.health("up").up = False
        heard_at = connection.heard_at
        with pytest.raises(errors.DeadlineExceeded):
            await over.run(tool("hold", gate="g"), deadline=Deadline.after(0.05))
        assert connection.state is State.DISCONNECTED
        assert over.dialer.health("up").up is False
        assert connection.heard_at == heard_at
        await over.run(LIST)
        assert over.dialer.pool.rows()[0].state is State.CONNECTED
        assert over.dialer.health("up").up is True


@pytest.mark.covers("B-10")
@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_server_that_went_back_to_the_old_era_is_asked_anew_and_the_call_runs_once(attempts: int):
    async with FakeServer("modern") as up, bench({"up": up.url}, attempts=attempts) as over:
        await over.run(LIST)
        up.era = "legacy"
        assert text_of(await over.result(tool("add", a=1, b=2))) == "3"
        assert over.call.protocol_version == "2025-11-25"
        assert len(up.executions) == 1
        assert text_of(await over.result(tool("add", a=2, b=2))) == "4"
        assert up.count("server/discover") == 2


@pytest.mark.covers("B-10")
async def test_a_server_that_moved_on_to_the_modern_era_is_asked_anew_and_the_call_runs_once():
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        await over.run(LIST)
        up.era = "modern"
        assert text_of(await over.result(tool("add", a=1, b=2))) == "3"
        assert over.call.protocol_version == "2026-07-28"
        assert len(up.executions) == 1
        assert text_of(await over.result(tool("add", a=2, b=2))) == "4"
        assert up.count("server/discover") == 2


async def test_a_modern_server_that_refuses_a_request_as_invalid_is_believed():
    async with FakeServer("modern") as up, bench({"up": up.url}) as over:
        await over.run(LIST)
        # The fake answers requests whose version it cannot tell with -32602, all others it knows with a result.
        answer = await over.run(request("com.example/unknown"))
        assert json.loads(answer.error or b"")["code"] == -32601
        assert over.call.execution is Execution.DONE
        assert over.call.protocol_version == "2026-07-28"


async def test_a_phase_that_changes_while_a_subscription_ends_breaks_nothing():
    async def ends() -> None:
        async with asyncio.timeout(0) as scope:
            try:
                await asyncio.sleep(1)
            finally:
                assert scope.expired()
                _end_when_draining(scope, Phase.DRAINING)

    with pytest.raises(TimeoutError):
        await ends()
