"""A link to something that says it is a sidecar: what it is sent, and what its failures and its nonsense mean here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from mcp_sidecar.call import Call, Deadline, trace
from mcp_sidecar.directory import configured
from mcp_sidecar.errors import (
    DeadlineExceeded,
    Execution,
    InvalidCall,
    NotFound,
    Overloaded,
    SidecarError,
    UpstreamLost,
    UpstreamProtocolError,
    UpstreamUnavailable,
)
from mcp_sidecar.outbound.credentials import NO_CREDENTIAL, Credential, CredentialsRefused
from mcp_sidecar.outbound.grpc import GrpcLink
from mcp_sidecar.protocol.eras import Era
from mcp_sidecar.settings import AdmissionSettings, UpstreamSettings
from mcp_sidecar.v1 import engine_pb2 as pb
from tests.inbound.waiting import eventually
from tests.outbound.calling import SECONDS
from tests.outbound.links import Heard, a_call, ask, showing, text_of
from tests.outbound.links import tool as tool_call
from tests.outbound.sidecars import PARENT, two_sidecars

both_eras = pytest.mark.parametrize("era", ["modern", "legacy"])
Answer = Callable[[pb.CallRequest, Any], Awaitable[None]]


class FarSidecar:
    """Answers `CallStream` as the test wants it and remembers what it was sent."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.requests: list[pb.CallRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.left: list[float | None] = []
        self.cancelled = 0

    async def call_stream(self, request: pb.CallRequest, context: Any) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.left.append(context.time_remaining())
        try:
            await self._answer(request, context)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@asynccontextmanager
async def linked(answer: Answer, credential: Credential = NO_CREDENTIAL) -> AsyncIterator[tuple[FarSidecar, GrpcLink]]:
    """A link to a sidecar that is not one."""
    far, server = FarSidecar(answer), grpc.aio.server()
    method = grpc.unary_stream_rpc_method_handler(
        far.call_stream, pb.CallRequest.FromString, pb.CallEvent.SerializeToString
    )
    service = grpc.method_handlers_generic_handler("mcp_sidecar.v1.MCPEngine", {"CallStream": method})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    upstream = configured(UpstreamSettings(name="near", url=f"grpc://127.0.0.1:{port}/far"))
    link = GrpcLink(upstream.endpoints[0], credential, 1.0)  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(SECONDS):
            yield far, link
    finally:
        await link.close()
        await server.stop(None)


def said(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode()


async def echo(request: pb.CallRequest, context: Any) -> None:
    asked = json.loads(request.message_json)
    content = [{"type": "text", "text": asked["params"].get("arguments", {}).get("text", "")}]
    answer = said(id=asked["id"], result={"content": content})
    await context.write(pb.CallEvent(response=pb.CallResponse(message_json=answer)))


async def never(request: pb.CallRequest, context: Any) -> None:
    await context.send_initial_metadata(())
    await asyncio.Event().wait()


async def refused(link: GrpcLink, asked: Call | None = None) -> SidecarError:
    """How a call fails; the call says the same of its execution."""
    asked = asked or a_call()
    with pytest.raises(SidecarError) as caught:
        await link.exchange(tool_call(link, "echo", {"text": "hi"}), asked, Heard())
    assert caught.value.execution is asked.execution
    return caught.value


@pytest.mark.covers("B-131")
async def test_what_a_call_carries_and_nothing_else():
    async with linked(echo, showing("t")) as (far, link):
        assert (link.era, link.stateful) == (Era.MODERN, False)
        asked = Call("test", "r-1", deadline=Deadline.after(5), trace=trace(PARENT, "", ""))
        assert text_of(await link.exchange(tool_call(link, "echo", {"text": "hi"}), asked, Heard())) == "hi"
        assert asked.execution is Execution.DONE
        assert far.requests[0].server == "far"
        ours = {key: value for key, value in far.metadata[0].items() if key != "user-agent"}
        assert ours == {"x-request-id": "r-1", "traceparent": PARENT, "authorization": "Bearer t"}
        assert 4 < (far.left[0] or 0) <= 5.1
        await ask(link, "echo", {"text": "hi"})
        assert (far.left[1] or 1e9) > 1e6  # none
        await link.check()
        assert json.loads(far.requests[-1].message_json)["method"] == "server/discover"


def status(code: grpc.StatusCode, execution: str = "") -> Answer:
    async def answer(request: pb.CallRequest, context: Any) -> None:
        trailers = (("mcp-sidecar-execution", execution),) if execution else ()
        await context.abort(code, "secret-words", trailers)

    return answer


@pytest.mark.covers("B-132")
@pytest.mark.parametrize(
    ("code", "execution", "kind", "certainty"),
    [
        ("UNAVAILABLE", "none", UpstreamUnavailable, Execution.NONE),
        ("UNAVAILABLE", "unknown", UpstreamLost, Execution.UNKNOWN),
        ("UNAVAILABLE", "", UpstreamLost, Execution.UNKNOWN),
        ("CANCELLED", "", UpstreamLost, Execution.UNKNOWN),
        ("UNKNOWN", "", UpstreamLost, Execution.UNKNOWN),
        ("DEADLINE_EXCEEDED", "unknown", DeadlineExceeded, Execution.UNKNOWN),
        ("INVALID_ARGUMENT", "none", InvalidCall, Execution.NONE),
        ("NOT_FOUND", "none", NotFound, Execution.NONE),
        ("UNAUTHENTICATED", "none", CredentialsRefused, Execution.NONE),
        ("PERMISSION_DENIED", "none", CredentialsRefused, Execution.NONE),
        ("INTERNAL", "done", UpstreamProtocolError, Execution.DONE),
        ("UNIMPLEMENTED", "", UpstreamProtocolError, Execution.UNKNOWN),
        ("UNAVAILABLE", "nonsense", UpstreamLost, Execution.UNKNOWN),
    ],
)
async def test_statuses_are_failures_of_ours_and_strange_words_are_not_repeated(
    code: str, execution: str, kind: type[SidecarError], certainty: Execution
):
    async with linked(status(grpc.StatusCode[code], execution)) as (_, link):
        error = await refused(link)
        assert (type(error), error.execution) == (kind, certainty)
        assert "secret" not in error.message


async def test_details_that_are_none_are_survived():
    async def answer(request: pb.CallRequest, context: Any) -> None:
        await context.abort(grpc.StatusCode.INTERNAL, "x", (("grpc-status-details-bin", b"\xff\xff"),))

    async with linked(answer) as (_, link):
        assert type(await refused(link)) is UpstreamProtocolError


@pytest.mark.covers("B-132")
async def test_a_time_to_come_back_is_passed_on():
    async with two_sidecars("modern", admission=AdmissionSettings(in_flight=1)) as (up, there, _):
        upstream = configured(UpstreamSettings(name="near", url=f"grpc://{there.address('grpc')}/far"))
        link = GrpcLink(upstream.endpoints[0], NO_CREDENTIAL, 1.0)  # type: ignore[arg-type]
        running = asyncio.ensure_future(ask(link, "hold", {"gate": "g"}))
        await up.until(lambda s: s.executions)
        error = await refused(link)
        assert (type(error), error.retry_after, error.execution) == (Overloaded, 1.0, Execution.NONE)
        assert "in_flight" in error.message
        up.release("g")
        await running
        await link.close()


def wrong(*sent: pb.CallEvent) -> Answer:
    async def answer(request: pb.CallRequest, context: Any) -> None:
        for event in sent:
            await context.write(event)

    return answer


def response(data: bytes) -> pb.CallEvent:
    return pb.CallEvent(response=pb.CallResponse(message_json=data))


@pytest.mark.covers("B-15")
@pytest.mark.parametrize(
    "sent",
    [
        (),
        (pb.CallEvent(),),
        (response(b"secret"),),
        (response(said(id="another", result={})),),
        (response(said(method="notifications/progress")),),
        (pb.CallEvent(notification_json=said(id="mine", result={})),),
        (pb.CallEvent(notification_json=said(id=1, method="roots/list")),),
        (pb.CallEvent(notification_json=b"["),),
        (pb.CallEvent(notification_json=said(method="notifications/message")),),
    ],
)
async def test_nonsense_fails_the_call_and_is_not_repeated(sent: tuple[pb.CallEvent, ...]):
    async with linked(wrong(*sent)) as (_, link):
        error = await refused(link)
        assert (type(error), error.execution) == (UpstreamProtocolError, Execution.UNKNOWN)
        assert "secret" not in error.message


async def test_a_status_that_never_follows_the_response_does_not_hold_it_back(monkeypatch: pytest.MonkeyPatch):
    async def answer(request: pb.CallRequest, context: Any) -> None:
        await echo(request, context)
        await asyncio.Event().wait()

    monkeypatch.setattr("mcp_sidecar.outbound.grpc._LAST_SECONDS", 0.05)
    async with linked(answer) as (far, link):
        assert await ask(link, "echo", {"text": "hi"}) == "hi"
        await eventually(lambda: far.cancelled == 1)


async def test_a_slow_sink_slows_the_other_side_down():
    async def answer(request: pb.CallRequest, context: Any) -> None:
        for number in range(2000):
            written.append(number)
            await context.write(pb.CallEvent(notification_json=log))

    log = said(method="notifications/message", params={"data": "x" * 1000})
    written: list[int] = []
    stuck = asyncio.Event()

    class Slow(Heard):
        async def notify(self, method: str, message: bytes) -> None:
            stuck.set()
            await asyncio.Event().wait()

    async with linked(answer) as (_, link), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(link.exchange(tool_call(link, "echo"), a_call(), Slow()))
        await stuck.wait()
        before = -1
        while before != len(written):
            before = len(written)
            await asyncio.sleep(0.05)
        assert len(written) < 1500
        running.cancel()


@pytest.mark.covers("B-132")
async def test_closing_a_link_ends_its_calls_as_lost():
    async with linked(never) as (far, link), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(refused(link))
        await eventually(lambda: far.requests)
        await link.close()
        error = await running
        assert (type(error), error.execution) == (UpstreamLost, Execution.UNKNOWN)


@pytest.mark.covers("B-132")
async def test_where_nobody_listens_nothing_ran():
    async with linked(echo) as (_, link):
        upstream = configured(UpstreamSettings(name="near", url="grpc://127.0.0.1:1/far"))
        nowhere = GrpcLink(upstream.endpoints[0], NO_CREDENTIAL, 1.0)  # type: ignore[arg-type]
        error = await refused(nowhere)
        assert (type(error), error.execution) == (UpstreamUnavailable, Execution.NONE)
        assert "127.0.0.1" not in error.message
        await nowhere.close()
        await link.open()
