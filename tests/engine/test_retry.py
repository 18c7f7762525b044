"""What may be sent once more (`engine.retry`), and how often it is and what is said of it then."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from mcp_sidecar import errors
from mcp_sidecar.call import Deadline
from mcp_sidecar.engine.retry import is_repeatable, may_go_elsewhere, may_repeat
from mcp_sidecar.errors import Execution, SidecarError
from mcp_sidecar.outbound.credentials import CredentialsRefused
from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.settings import TimeoutSettings, ToolSettings
from tests.engine.engines import ERAS, bench, request, settings, text_of, tool
from tests.support.fake_server import FakeServer

ADD = tool("add", a=1, b=2)
LIST = request("tools/list")
NO_TOOLS = ToolSettings()
RETRIED = ToolSettings(retry=("ad*",))


@pytest.mark.covers("B-23")
@pytest.mark.parametrize("execution", Execution)
@pytest.mark.parametrize("kind", [errors.UpstreamUnavailable, errors.UpstreamLost])
def test_a_tool_call_is_repeated_only_when_it_cannot_have_run_or_is_listed(
    kind: type[SidecarError], execution: Execution
):
    error = kind("x", execution=execution)
    assert may_repeat(error, ADD, NO_TOOLS) is (execution is Execution.NONE)
    assert may_repeat(error, ADD, RETRIED) is (execution is not Execution.DONE)
    assert may_repeat(error, LIST, NO_TOOLS) is (execution is not Execution.DONE)


@pytest.mark.parametrize(
    "error",
    [
        errors.UpstreamProtocolError("x"),
        errors.UpstreamRefused(-32603, "x"),
        errors.DeadlineExceeded("x"),
        errors.Cancelled("x"),
        errors.InvalidCall("x"),
        errors.PoolExhausted("x"),
        errors.Overloaded("x"),
        errors.Draining("x"),
        errors.Bug("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_only_a_closed_way_is_tried_again(error: SidecarError):
    assert not may_repeat(error, LIST, NO_TOOLS)
    assert not may_repeat(error, ADD, RETRIED)


@pytest.mark.covers("B-223")
@pytest.mark.parametrize("execution", Execution)
def test_a_call_goes_to_another_endpoint_only_when_it_has_not_run_and_not_for_ever(execution: Execution):
    error = errors.UpstreamUnavailable("x", execution=execution, retry_after=60.0)
    assert may_go_elsewhere(error, 1) is (execution is Execution.NONE)
    assert not may_go_elsewhere(error, 4)
    assert not may_go_elsewhere(errors.Draining("x"), 1)
    assert not may_go_elsewhere(errors.PoolExhausted("x"), 1)


@pytest.mark.parametrize(("seconds", "again"), [(None, True), (0.0, True), (1.0, True), (1.1, False), (60.0, False)])
def test_a_server_that_wants_a_long_pause_is_left_alone(seconds: float | None, again: bool):
    error = errors.UpstreamUnavailable("x", execution=Execution.UNKNOWN, retry_after=seconds)
    assert may_repeat(error, LIST, NO_TOOLS) is again


@pytest.mark.parametrize("state", ["requestState", "inputResponses"])
def test_an_answer_to_a_servers_question_is_never_repeated(state: str):
    assert not is_repeatable(request("tools/call", name="add", **{state: {}}), RETRIED)
    assert not is_repeatable(request("resources/read", uri="x", **{state: {}}), NO_TOOLS)


@pytest.mark.parametrize(
    ("method", "repeatable"),
    [
        ("resources/read", True),
        ("prompts/get", True),
        ("completion/complete", True),
        ("server/discover", True),
        ("resources/templates/list", True),
        ("tools/call", False),
        ("tasks/cancel", False),
        ("tasks/update", False),
        ("subscriptions/listen", False),
        ("com.example/read", False),
    ],
)
def test_what_only_reads_is_repeatable_and_what_nobody_knows_is_not(method: str, repeatable: bool):
    assert is_repeatable(Request(method), RETRIED) is repeatable


def test_tools_are_listed_by_pattern_and_a_nameless_one_matches_none():
    assert not is_repeatable(request("tools/call", name="Add"), RETRIED)  # names differ by case
    assert not is_repeatable(request("tools/call", name=1), ToolSettings(retry=("?*",)))


# Rudeness on the wire, what the caller of a tool hears of it, and whether a read is asked again.
FATES: dict[str, tuple[type[SidecarError], Execution, bool]] = {
    "closes_before_reply": (errors.UpstreamLost, Execution.UNKNOWN, True),
    "reset": (errors.UpstreamLost, Execution.UNKNOWN, True),
    "truncated_body": (errors.UpstreamLost, Execution.UNKNOWN, True),
    "ends_without_final": (errors.UpstreamLost, Execution.UNKNOWN, True),
    "status_503": (errors.UpstreamUnavailable, Execution.UNKNOWN, False),
    "status_401": (CredentialsRefused, Execution.NONE, True),
    "status_500": (errors.UpstreamProtocolError, Execution.UNKNOWN, False),
    "status_307": (errors.UpstreamProtocolError, Execution.NONE, False),
    "html200": (errors.UpstreamProtocolError, Execution.UNKNOWN, False),
    "wrong_id": (errors.UpstreamProtocolError, Execution.UNKNOWN, False),
    "result_of_no_shape": (errors.UpstreamProtocolError, Execution.UNKNOWN, False),
    "error_of_no_shape": (errors.UpstreamProtocolError, Execution.UNKNOWN, False),
}


@pytest.mark.covers("B-22", "B-23")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("rudeness", FATES)
async def test_a_failed_tool_call_says_whether_it_may_have_run_and_runs_once(rudeness: str, era: Any):
    kind, execution, _ = FATES[rudeness]
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        await over.run(LIST)
        up.next_reply(rudeness, on="add", times=2)
        with pytest.raises(kind) as failure:
            await over.run(ADD)
        assert type(failure.value) is kind
        assert failure.value.execution is over.call.execution is execution
        refused = execution is Execution.NONE and issubclass(kind, errors.UpstreamUnavailable)
        assert up.count("tools/call") == (2 if refused else 1)
        assert (await over.run(tool("echo", text="still there"))).error is None


@pytest.mark.covers("B-23")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("rudeness", FATES)
async def test_a_read_is_asked_again_after_a_lost_connection_and_not_after_nonsense(rudeness: str, era: Any):
    kind, _, again = FATES[rudeness]
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        await over.run(LIST)
        up.next_reply(rudeness, on="resources/read")
        read = request("resources/read", uri="fake://greeting")
        if again:
            assert (await over.result(read))["contents"][0]["text"] == "hello"
        else:
            with pytest.raises(kind):
                await over.run(read)
        assert up.count("resources/read") == 1 + again


@pytest.mark.covers("B-11", "B-23")
@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_server_that_forgets_every_session_is_asked_once_more_and_no_oftener(attempts: int):
    async with FakeServer("legacy") as up, bench({"up": up.url}, attempts=attempts) as over:
        await over.run(LIST)
        up.next_reply("404_once", on="add", times=9)
        with pytest.raises(errors.UpstreamUnavailable, match="lost its session") as failure:
            await over.run(ADD)
        assert failure.value.execution is Execution.NONE
        assert up.count("tools/call") == 2


@pytest.mark.covers("B-11", "B-23")
async def test_a_session_that_is_forgotten_before_it_has_begun_is_begun_again():
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        up.next_reply("404_once", on="notifications/initialized")
        assert text_of(await over.result(tool("echo", text="hi"))) == "hi"
        assert (up.count("initialize"), up.count("tools/call")) == (2, 1)


@pytest.mark.covers("B-23")
async def test_a_read_of_which_the_caller_has_heard_is_not_begun_again():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        await over.run(LIST)
        up.next_reply("ends_without_final", on="resources/read")
        with pytest.raises(errors.UpstreamLost):
            await over.run(request("resources/read", {"progressToken": "p"}, uri="fake://greeting"))
        assert up.count("resources/read") == 1


@pytest.mark.covers("B-23")
@pytest.mark.parametrize("era", ERAS)
async def test_a_listed_tool_is_called_again_as_often_as_is_allowed_and_no_more(era: Any):
    async with FakeServer(era) as up:
        listed = settings("up", up.url, tools=RETRIED)
        async with bench({"up": listed}, attempts=3) as over:
            up.next_reply("closes_before_reply", on="add", times=2)
            assert text_of(await over.result(ADD)) == "3"
            assert len(up.executions) == 3
            ids = [received.id for received in up.requests if received.rpc == "tools/call"]
            assert len(set(ids)) == 3
            up.next_reply("closes_before_reply", on="add", times=3)
            with pytest.raises(errors.UpstreamLost):
                await over.run(ADD)
            assert len(up.executions) == 6


async def test_one_attempt_never_repeats():
    async with FakeServer() as up, bench({"up": up.url}, attempts=1) as over:
        up.next_reply("closes_before_reply", on="tools/list")
        with pytest.raises(errors.UpstreamLost):
            await over.run(LIST)


@pytest.mark.covers("B-22")
@pytest.mark.parametrize("last", ["status_401", "gone"])
async def test_a_call_that_may_have_run_before_is_not_called_unrun_because_of_its_last_attempt(last: str):
    async with FakeServer() as up, bench({"up": settings("up", up.url, tools=RETRIED)}) as over:
        await over.run(LIST)
        up.next_reply("closes_before_reply", on="add")
        if last != "gone":
            up.next_reply(last, on="add")
        running = asyncio.create_task(over.run(ADD))
        await up.until(lambda s: s.executions)
        if last == "gone":
            await up.stop()
        with pytest.raises(errors.UpstreamLost) as failure:
            await running
        assert failure.value.execution is over.call.execution is Execution.UNKNOWN
        assert len(up.executions) == 1


@pytest.mark.covers("B-22")
async def test_a_deadline_between_two_attempts_leaves_the_call_in_doubt():
    async with FakeServer() as up, bench({"up": settings("up", up.url, tools=RETRIED)}) as over:
        await over.run(LIST)
        up.next_reply("closes_before_reply", on="add")
        up.next_reply("never_answers", on="add")
        with pytest.raises(errors.DeadlineExceeded) as failure:
            await over.run(ADD, deadline=Deadline.after(0.2))
        assert failure.value.execution is Execution.UNKNOWN


@pytest.mark.covers("B-22")
@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_is_not_there_has_run_nothing(era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        await up.stop()
        with pytest.raises(errors.UpstreamUnavailable) as never:
            await over.run(ADD)
        await up.start()
        await over.run(ADD)
        await up.stop()
        with pytest.raises(errors.UpstreamUnavailable) as gone:
            await over.run(ADD)
        assert never.value.execution is gone.value.execution is Execution.NONE
        await up.start()
        assert text_of(await over.result(ADD)) == "3"
        assert len(up.executions) == 2


@pytest.mark.covers("B-23")
@pytest.mark.parametrize("era", ERAS)
async def test_sockets_the_server_closed_while_they_idled_cost_no_call(era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}) as over:
        for count in itertools.count(1):
            assert text_of(await over.result(ADD)) == "3"
            assert len(up.executions) == count
            if count == 10:
                break
            up.close_idle_sockets()
            await up.until(lambda s: s.open_connections == 0)
            await asyncio.sleep(0.005)  # what the server's end did arrives at ours


@pytest.mark.covers("B-21", "B-22")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("whose", ["caller", "upstream"])
async def test_the_sooner_deadline_ends_the_call_and_cancels_it_upstream(whose: str, era: Any):
    async with FakeServer(era) as up:
        patience = TimeoutSettings(call=0.1 if whose == "upstream" else 60.0)
        async with bench({"up": settings("up", up.url, timeout=patience)}) as over:
            await over.run(LIST)
            with pytest.raises(errors.DeadlineExceeded) as failure:
                await over.run(tool("hold", gate="g"), deadline=Deadline.after(0.1 if whose == "caller" else 60))
            assert failure.value.execution is Execution.UNKNOWN
            await up.until(lambda s: s.cancelled)
            assert [one.how for one in up.cancelled] == ["closed" if era == "modern" else "notified"]
            assert over.lifecycle.in_flight == 0


async def test_a_call_without_time_left_reaches_no_server():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        await over.run(LIST)
        with pytest.raises(errors.DeadlineExceeded) as failure:
            await over.run(ADD, deadline=Deadline.after(0))
        assert failure.value.execution is Execution.NONE
        await over.run(LIST)
        assert up.count("tools/call") == 0
