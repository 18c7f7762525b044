"""Every outcome of every kind of call: one log line, one sample, one status, and all three agree."""

from __future__ import annotations

import ast
import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest

import mcp_sidecar
from mcp_sidecar.errors import Execution, NotFound, UpstreamLost
from mcp_sidecar.inbound.grpc.metadata import RpcCall
from mcp_sidecar.inbound.grpc.writing import write
from mcp_sidecar.inbound.instruments import CALLS, RPC_SECONDS
from mcp_sidecar.settings import AuthSettings
from tests.inbound.grpc.kinds import KINDS, SERVICE, SMALL_WINDOW, STREAMS_OUT, Served, ended, served
from tests.inbound.waiting import eventually

SECRET = "the-password-is-hunter2"


async def _fine(_: RpcCall) -> None:
    return


async def _bug(_: RpcCall) -> None:
    raise ValueError(SECRET)


async def _foreign_cancellation(_: RpcCall) -> None:
    raise asyncio.CancelledError


async def _cancelled_task_awaited(_: RpcCall) -> None:
    other = asyncio.get_running_loop().create_task(asyncio.sleep(10))
    asyncio.get_running_loop().call_soon(other.cancel)
    await other


async def _timeout(_: RpcCall) -> None:
    raise TimeoutError(SECRET)


async def _group(_: RpcCall) -> None:
    raise ExceptionGroup(SECRET, [ValueError(SECRET), NotFound(SECRET)])


async def _group_with_a_cancellation(_: RpcCall) -> None:
    raise BaseExceptionGroup(SECRET, [asyncio.CancelledError()])


async def _our_own(_: RpcCall) -> None:
    raise NotFound("there is no such thing")


async def _lost(_: RpcCall) -> None:
    raise UpstreamLost("it went away", execution=Execution.UNKNOWN)


async def _forever(_: RpcCall) -> None:
    await asyncio.Event().wait()


async def _agreed(here: Served, code: str) -> None:
    """One line, one sample in each instrument, all with this code."""
    await eventually(here.codes)
    assert here.codes() == [code]
    assert here.samples()[CALLS] == here.samples()[RPC_SECONDS] == [code]


@pytest.mark.covers("B-30", "B-31")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("act", "code", "execution"),
    [
        (_fine, "OK", "done"),
        (_bug, "INTERNAL", "none"),
        (_foreign_cancellation, "CANCELLED", "none"),
        (_cancelled_task_awaited, "CANCELLED", "none"),
        (_timeout, "INTERNAL", "none"),
        (_group, "INTERNAL", "none"),
        (_group_with_a_cancellation, "INTERNAL", "none"),
        (_our_own, "NOT_FOUND", "none"),
        (_lost, "UNAVAILABLE", "unknown"),
    ],
)
async def test_line_sample_and_status_of_a_call_agree_whatever_its_end(
    act: Callable[[RpcCall], Awaitable[None]], code: str, execution: str, kind: str
):
    async with served(act) as here:
        async with asyncio.timeout(1):
            outcome = await here.call(kind)
        assert outcome.code == code
        await _agreed(here, code)
        line = here.lines[-1]
        assert outcome.trailers["mcp-sidecar-execution"] == line["execution"] == execution
        assert outcome.trailers["x-request-id"] == line["request_id"]
        assert line["rpc"] == f"/{SERVICE}/{kind}"


@pytest.mark.covers("B-32")
@pytest.mark.parametrize("act", [_bug, _timeout, _group])
async def test_a_bug_shows_its_stack_to_the_log_only(act: Callable[[RpcCall], Awaitable[None]]):
    async with served(act) as here:
        outcome = await here.call("UnaryUnary")
        assert outcome.details == f"internal error; request id {outcome.trailers['x-request-id']}"
        assert SECRET not in repr(outcome.trailers)
        assert SECRET in here.lines[-1]["stack"]
        assert here.lines[-1]["level"] == "error"


@pytest.mark.covers("B-30", "B-31")
@pytest.mark.parametrize("kind", STREAMS_OUT)
async def test_a_stream_that_fails_has_delivered_what_came_before(kind: str):
    async with served(_our_own) as here:
        outcome = await here.call(kind)
        assert (outcome.messages, outcome.code) == ([b"one"], "NOT_FOUND")


@pytest.mark.covers("B-30", "B-33")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_without_credentials_is_refused_counted_and_logged_once(kind: str, tmp_path: Path):
    tokens = tmp_path / "tokens"
    tokens.write_text("let-me-in\n")
    async with served(_fine, auth=AuthSettings(mode="token", token_file=str(tokens))) as here:
        refused = await here.call(kind, mute=True)
        assert (refused.code, refused.messages) == ("UNAUTHENTICATED", [])
        await _agreed(here, "UNAUTHENTICATED")
        here.lines.clear()
        let_in = await here.call(kind, metadata=(("authorization", "Bearer let-me-in"),))
        assert let_in.code == "OK"
        assert here.samples()[CALLS] == ["UNAUTHENTICATED", "OK"]
        assert "let-me-in" not in repr(here.lines)


@pytest.mark.covers("B-30")
@pytest.mark.parametrize("kind", KINDS)
async def test_an_unknown_method_is_logged_and_counted_like_any_other(kind: str):
    async with served(_fine) as here:
        outcome = await here.call(kind, rpc="/no.Such/Method", mute=True)
        assert (outcome.code, outcome.details) == ("UNIMPLEMENTED", "there is no RPC /no.Such/Method")
        await _agreed(here, "UNIMPLEMENTED")
        assert here.lines[-1]["rpc"] == "/no.Such/Method"


async def test_the_name_of_an_unknown_method_is_cut_before_it_is_repeated():
    async with served(_fine) as here:
        outcome = await here.call("UnaryUnary", rpc="/no.Such/" + "x" * 5000)
        assert outcome.code == "UNIMPLEMENTED"
        assert max(len(outcome.details), len(here.lines[-1]["rpc"])) < 200


@pytest.mark.covers("B-30")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_its_client_cancels_is_logged_and_counted_as_cancelled(kind: str):
    reached = asyncio.Event()

    async def wait(call: RpcCall) -> None:
        reached.set()
        await _forever(call)

    async with served(wait) as here:
        call = here.start(kind)
        await reached.wait()
        call.cancel()
        assert (await ended(call, kind)).code == "CANCELLED"
        await _agreed(here, "CANCELLED")
        assert here.lines[-1]["level"] == "info"


@pytest.mark.covers("B-30", "B-21")
@pytest.mark.parametrize("kind", KINDS)
# C-core rounds timeouts up on the wire: the client gives up before the time that the server was told.
@pytest.mark.parametrize("timeout", [0.02, 0.333])
async def test_a_call_that_outlives_its_deadline_is_logged_and_counted_as_such(kind: str, timeout: float):
    reached = asyncio.Event()

    async def wait(call: RpcCall) -> None:
        reached.set()
        await _forever(call)

    seen = False
    while not seen:  # in so little time a busy machine may not bring the call to the server, or not to its handler
        async with served(wait) as here:
            assert (await here.call(kind, timeout=timeout)).code == "DEADLINE_EXCEEDED"
            if seen := reached.is_set():
                await _agreed(here, "DEADLINE_EXCEEDED")


async def _abort(call: RpcCall) -> None:
    await call.context.abort(grpc.StatusCode.NOT_FOUND, "gone", (("x-more", "there is"),))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_handler_that_aborts_ends_the_call_with_its_own_status_and_one_line(kind: str):
    async with served(_abort) as here:
        outcome = await here.call(kind)
        assert (outcome.code, outcome.details, outcome.trailers["x-more"]) == ("NOT_FOUND", "gone", "there is")
        await eventually(here.codes)
        assert len(here.codes()) == 1
        assert here.samples()[CALLS] == here.codes()


def test_nothing_but_the_recovery_step_aborts_a_call():
    # An abort elsewhere would be a bug in the log; one with OK would hang its client until the deadline.
    package = Path(mcp_sidecar.__file__).parent
    aborting = {
        str(path.relative_to(package))
        for path in (package / "inbound").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("abort", "abort_with_status")
        and "context" in ast.dump(node)
    }
    assert aborting == {"inbound/grpc/status.py"}


# Ways to hang a client in grpc.aio (docs/decisions/0004); foreign cancellations are in the table above.


@pytest.mark.covers("B-31")
@pytest.mark.parametrize("kind", STREAMS_OUT)
async def test_two_writes_at_once_break_the_call_but_do_not_hang_its_client(kind: str):
    async def write_twice(call: RpcCall) -> None:
        await asyncio.gather(*(call.context.write(b"x" * 1_000_000) for _ in range(4)))

    async with served(write_twice, client=SMALL_WINDOW) as here:
        async with asyncio.timeout(1):
            outcome = await here.call(kind)
        assert outcome.code == "INTERNAL"
        await _agreed(here, "INTERNAL")


async def _write_too_much(call: RpcCall) -> None:
    async with asyncio.timeout(0.02):
        while True:
            await call.context.write(b"x" * 100_000)


@pytest.mark.covers("B-30", "B-401")
@pytest.mark.parametrize("kind", ["UnaryGenerator", "StreamGenerator"])
async def test_a_client_that_does_not_read_and_goes_has_cancelled_its_call(kind: str):
    ready = asyncio.Event()

    async def write_on(call: RpcCall) -> None:
        while True:
            asyncio.get_running_loop().call_later(0.1, ready.set)
            await write(call.context, b"x" * 100_000)

    async with served(write_on, client=SMALL_WINDOW) as here:
        call = here.start(kind)
        await ready.wait()
        call.cancel()
        await _agreed(here, "CANCELLED")
        assert here.lines[-1]["level"] == "info"


@pytest.mark.covers("B-31")
@pytest.mark.parametrize("kind", STREAMS_OUT)
async def test_a_write_that_is_stuck_ends_with_a_status_and_without_noise(kind: str, caplog: pytest.LogCaptureFixture):
    async with served(_write_too_much, client=SMALL_WINDOW) as here:
        with caplog.at_level(logging.WARNING):
            call = here.start(kind)
            await eventually(here.codes)
            async with asyncio.timeout(3):
                outcome = await ended(call, kind)
        assert outcome.code == "INTERNAL"
        await _agreed(here, "INTERNAL")
        assert caplog.records == []


@pytest.mark.covers("B-31")
async def test_the_server_gives_up_on_a_status_that_nobody_reads(caplog: pytest.LogCaptureFixture):
    gone = asyncio.Event()

    async def write_and_go(call: RpcCall) -> None:
        call.context.add_done_callback(lambda _: gone.set())  # type: ignore[arg-type]  # the stub wants a class
        await _write_too_much(call)

    async with served(write_and_go, client=SMALL_WINDOW) as here:
        with caplog.at_level(logging.WARNING):
            call = here.start("UnaryStream")
            async with asyncio.timeout(3):
                await gone.wait()
        assert (await ended(call, "UnaryStream")).code == "INTERNAL"
        assert caplog.records == []
