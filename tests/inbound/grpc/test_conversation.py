"""Tests of `mcp_sidecar.inbound.grpc.conversation`: many calls on one stream, through a whole sidecar."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from mcp_sidecar.settings import GrpcSettings
from mcp_sidecar.v1 import engine_pb2 as pb
from mcp_sidecar.v1 import engine_pb2_grpc
from tests.inbound.grpc.asking import asked, details, failed, frame, request, text_of, tool, trailers
from tests.inbound.grpc.kinds import SMALL_WINDOW
from tests.inbound.waiting import eventually
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
RPC = "/mcp_sidecar.v1.MCPEngine/BiDiStream"


@asynccontextmanager
async def talking(era: Any = "modern", **settings: Any) -> AsyncIterator[tuple[FakeServer, Sidecar, Any]]:
    """An upstream, a sidecar and an open conversation."""
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}, **settings) as sidecar, asyncio.timeout(15):
        stream = sidecar.engine.BiDiStream()
        yield up, sidecar, stream
        await stream.done_writing()
        while await stream.read() is not grpc.aio.EOF:
            pass
        assert up.violations == []


async def said(stream: Any) -> dict[str, Any]:
    """The next message, parsed."""
    message: dict[str, Any] = json.loads((await stream.read()).message_json)
    return message


@pytest.mark.covers("B-30")
@pytest.mark.parametrize(("timeout", "code"), [(0.3, "DEADLINE_EXCEEDED"), (None, "CANCELLED")])
async def test_many_conversations_that_are_cut_off_are_all_called_so(timeout: float | None, code: str):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(15):
        streams: list[Any] = [sidecar.engine.BiDiStream(timeout=timeout) for _ in range(20)]
        for stream in streams:
            await stream.write(frame(tool("echo", text="hi")))
            assert text_of((await stream.read()).message_json) == "hi"
        for stream in streams:
            if timeout is None:
                stream.cancel()
            else:
                assert (await stream.code()).name == code
        await eventually(lambda: len(sidecar.calls(method="")) == len(streams))
        assert {line["code"] for line in sidecar.calls(method="")} == {code}


@pytest.mark.covers("B-06")
@ERAS
async def test_calls_on_one_stream_are_answered_in_the_order_of_their_completion(era: Any):
    async with talking(era) as (up, _, stream):
        for name in ("a", "b", "c"):
            await stream.write(frame(tool("hold", id=name, gate=name, text=name)))
        await up.until(lambda s: len(s.executions) == 3)
        for name in ("c", "a", "b"):
            up.release(name)
            answer = await stream.read()
            assert json.loads(answer.message_json)["id"] == name
            assert text_of(answer.message_json) == name
            assert answer.info.execution == pb.EXECUTION_DONE


@pytest.mark.covers("B-06", "B-14")
@ERAS
async def test_two_hundred_calls_in_flight_on_one_stream_all_get_their_own_answer(era: Any):
    async with talking(era, grpc=GrpcSettings(send_queue=1000)) as (up, sidecar, stream):
        for number in range(200):
            await stream.write(frame(tool("hold", id=number, gate="g", text=f"t{number}")))
        await up.until(lambda s: len(s.executions) == 200, 10)
        up.release("g")
        answers = [(await stream.read()).message_json for _ in range(200)]
        assert {json.loads(one)["id"]: text_of(one) for one in answers} == {n: f"t{n}" for n in range(200)}
        assert len(sidecar.calls(rpc=RPC, method="tools/call", code="OK")) == 200


@pytest.mark.covers("B-06")
@ERAS
async def test_notifications_of_a_call_come_before_its_answer_and_with_its_own_token(era: Any):
    async with talking(era) as (_, _, stream):
        for name in ("x", "y"):
            meta = {"progressToken": f"token-{name}"}
            params = {"name": "progress", "arguments": {"steps": 3}, "_meta": meta}
            await stream.write(frame(request("tools/call", id=name, **params)))
        progress: dict[str, list[int]] = {"token-x": [], "token-y": []}
        answered: list[str] = []
        while len(answered) < 2:
            message = await said(stream)
            if "id" in message:
                assert progress[f"token-{message['id']}"] == [1, 2, 3]
                answered.append(message["id"])
            else:
                progress[message["params"]["progressToken"]].append(message["params"]["progress"])


async def test_an_opened_stream_names_its_server_and_every_call_goes_there():
    async with FakeServer() as one, FakeServer() as two, Sidecar({"one": one.url, "two": two.url}) as sidecar:
        async with asyncio.timeout(5):
            stream: Any = sidecar.engine.BiDiStream()
            await stream.write(pb.ClientFrame(open=pb.Open(server="two", protocol_version="2026-07-28")))
            opened = (await stream.read()).opened
            assert (opened.server, opened.protocol_version) == ("two", "2026-07-28")
            await stream.write(frame(tool("echo", text="hi")))
            assert text_of((await stream.read()).message_json) == "hi"
            assert (len(one.executions), len(two.executions)) == (0, 1)
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF
            nameless: Any = sidecar.engine.BiDiStream(iter([frame(tool("echo", id=5, text="hi"))]))
            error = await said(nameless)  # both have it
            assert (error["id"], error["error"]["data"]["reason"]) == (5, "UNKNOWN_TOOL")
            assert await nameless.read() is grpc.aio.EOF
            assert await nameless.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    "frames",
    [
        [pb.ClientFrame(open=pb.Open(protocol_version="2031-01-01"))],
        [pb.ClientFrame(open=pb.Open()), pb.ClientFrame(open=pb.Open())],
        [frame(tool("echo", text="hi")), pb.ClientFrame(open=pb.Open())],
    ],
)
async def test_opening_a_stream_with_another_version_or_twice_ends_it(frames: list[pb.ClientFrame]):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        stream: Any = sidecar.engine.BiDiStream(iter(frames))

        async def end() -> None:
            while await stream.read() is not grpc.aio.EOF:
                pass

        error = await failed(end())
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert details(error)
        assert [line["code"] for line in sidecar.calls(method="")] == ["INVALID_ARGUMENT"]


@pytest.mark.covers("B-09")
async def test_opening_a_stream_to_a_server_that_there_is_not_ends_it_with_the_names_there_are():
    async with FakeServer() as up, Sidecar({"one": up.url, "two": up.url}) as sidecar, asyncio.timeout(5):
        stream: Any = sidecar.engine.BiDiStream(iter([pb.ClientFrame(open=pb.Open(server="nope"))]))
        error = await failed(stream.read())
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert "'nope'; known: one, two" in (error.details() or "")
        assert trailers(error)["mcp-sidecar-execution"] == "none"


@pytest.mark.covers("B-06", "B-20")
@ERAS
async def test_a_cancelled_notification_cancels_that_call_and_it_gets_no_answer(era: Any):
    async with talking(era) as (up, sidecar, stream):
        for name in ("keep", "drop"):
            await stream.write(frame(tool("hold", id=name, gate=name)))
        await up.until(lambda s: len(s.executions) == 2)
        await stream.write(
            frame(request("notifications/cancelled", id=None, requestId="drop", reason="changed my mind"))
        )
        await up.until(lambda s: s.cancelled)
        assert up.cancelled[0].tool == "hold"
        assert up.cancelled[0].how == ("closed" if era == "modern" else "notified")
        up.release("drop")
        up.release("keep")
        assert (await said(stream))["id"] == "keep"
        await stream.write(frame(tool("echo", id="drop", text="the id is free again")))
        assert (await said(stream))["result"]["content"][0]["text"] == "the id is free again"
        assert [line["code"] for line in sidecar.calls(name="hold")] == ["CANCELLED", "OK"]


async def test_cancelling_what_is_not_there_disturbs_nothing():
    async with talking() as (_, _, stream):
        for params in ({"requestId": "nobody"}, {"requestId": 7}, {"requestId": {"a": 1}}, {}):
            await stream.write(frame(request("notifications/cancelled", id=None, **params)))
        await stream.write(frame(request("notifications/nonsense", id=None)))
        await stream.write(frame(tool("echo", id=1, text="hi")))
        assert (await said(stream))["id"] == 1


@pytest.mark.covers("B-06")
async def test_an_id_in_use_is_refused_and_the_call_that_has_it_goes_on():
    async with talking() as (up, _, stream):
        await stream.write(frame(tool("hold", id=1, gate="g", text="first")))
        await up.until(lambda s: s.executions)
        await stream.write(frame(tool("echo", id=1, text="second")))
        refusal = await said(stream)
        assert "id" not in refusal  # that would end the first call
        assert refusal["error"]["code"] == -32600
        up.release("g")
        assert (await said(stream))["result"]["content"][0]["text"] == "first"
        assert len(up.executions) == 1


@pytest.mark.covers("B-06")
@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 100 + b"]" * 100, -32700),
        (b"[]", -32600),
        (b"[" + tool("echo", text="hi") + b"]", -32600),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}', -32602),
    ],
)
async def test_a_message_that_cannot_be_read_is_answered_and_the_conversation_goes_on(message: bytes, code: int):
    async with talking() as (up, _, stream):
        await stream.write(frame(message))
        assert (await said(stream))["error"]["code"] == code
        assert up.requests == []
        await stream.write(frame(tool("echo", id=2, text="hi")))
        assert (await said(stream))["id"] == 2


@pytest.mark.covers("B-411")
async def test_a_message_that_cannot_be_read_has_a_line_of_its_own_under_the_id_that_the_answer_names():
    async with talking() as (_, sidecar, stream):
        await stream.write(frame(b"{"))
        await stream.write(frame(b'{"jsonrpc":"2.0","id":7,"method":"tools/list","params":[]}'))
        ids = [(await said(stream))["error"]["data"]["requestId"] for _ in range(2)]
        await eventually(lambda: len(sidecar.calls(rpc=RPC)) == 2)
        lines = sidecar.calls(rpc=RPC)
        assert [line["request_id"] for line in lines] == ids
        assert ids[1].endswith("/7")
        assert {(line["code"], line["execution"]) for line in lines} == {("INVALID_ARGUMENT", "none")}


@pytest.mark.covers("B-22")
async def test_a_conversation_that_ends_in_failure_does_not_say_that_nothing_has_run():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(15):
        stream: Any = sidecar.engine.BiDiStream()
        await stream.write(frame(tool("echo", text="hi")))
        await stream.read()
        await stream.write(pb.ClientFrame(open=pb.Open(server="up")))
        error = await failed(stream.read())
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert trailers(error)["mcp-sidecar-execution"] == "unknown"


async def test_a_message_over_the_limit_is_answered_and_the_conversation_goes_on():
    async with talking(grpc=GrpcSettings(max_message=1000)) as (_, _, stream):
        await stream.write(frame(tool("echo", text="x" * 1000)))
        assert "grpc.max_message" in (await said(stream))["error"]["message"]
        await stream.write(frame(tool("echo", id=2, text="hi")))
        assert (await said(stream))["id"] == 2


@pytest.mark.covers("B-01", "B-22")
async def test_a_failed_call_is_a_json_rpc_error_on_the_stream_and_says_whether_it_may_have_run():
    async with talking() as (up, sidecar, stream):
        await stream.write(frame(tool("crash", id=1, code=-32099)))
        own = await stream.read()
        assert json.loads(own.message_json)["error"]["code"] == -32099
        assert own.info.execution == pb.EXECUTION_DONE
        up.next_reply("closes_before_reply")
        await stream.write(frame(tool("echo", id=2, text="hi")))
        lost = await stream.read()
        error = json.loads(lost.message_json)
        assert (error["id"], error["error"]["data"]["execution"]) == (2, "unknown")
        assert lost.info.execution == pb.EXECUTION_UNKNOWN
        assert error["error"]["data"]["requestId"] == lost.info.request_id
        assert [line["code"] for line in sidecar.calls(method="tools/call")] == ["OK", "UNAVAILABLE"]


async def test_more_calls_than_a_stream_may_hold_are_refused_under_their_own_id():
    async with talking(grpc=GrpcSettings(send_queue=1000)) as (up, _, stream):
        for number in range(256):
            await stream.write(frame(tool("hold", id=number, gate="g")))
        await up.until(lambda s: len(s.executions) == 256, 10)
        await stream.write(frame(tool("echo", id="one too many", text="hi")))
        refusal = await said(stream)
        assert refusal["id"] == "one too many"
        assert refusal["error"]["data"]["reason"] == "OVERLOADED"
        up.release("g")
        for _ in range(256):
            await stream.read()


@pytest.mark.covers("B-06")
async def test_a_client_that_closes_its_side_still_gets_what_it_asked_for():
    async with talking() as (up, sidecar, stream):
        for name in ("a", "b"):
            await stream.write(frame(tool("hold", id=name, gate=name)))
        await stream.done_writing()
        await up.until(lambda s: len(s.executions) == 2)
        for name in ("b", "a"):
            up.release(name)
            assert (await said(stream))["id"] == name
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        assert len(sidecar.calls(rpc=RPC, method="")) == 1


@pytest.mark.covers("B-20", "B-30")
@ERAS
async def test_a_client_that_leaves_has_all_its_calls_cancelled_upstream(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        stream: Any = sidecar.engine.BiDiStream()
        for number in range(20):
            await stream.write(frame(tool("hold", id=number, gate="g")))
        await up.until(lambda s: len(s.executions) == 20)
        stream.cancel()
        await up.until(lambda s: len(s.cancelled) == 20)
        await eventually(lambda: len(sidecar.calls(code="CANCELLED")) == 21)
        assert len(sidecar.calls()) == 21


async def test_the_streams_deadline_is_that_of_its_calls():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        await sidecar.engine.Call(asked(request("tools/list")))
        stream: Any = sidecar.engine.BiDiStream(timeout=0.3)
        await stream.write(frame(tool("hold", id=1, gate="g")))
        error = await said(stream)
        assert (error["id"], error["error"]["data"]["reason"]) == (1, "DEADLINE_EXCEEDED")
        assert (await failed(stream.read())).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await up.until(lambda s: s.cancelled)


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.covers("B-07")
@pytest.mark.parametrize("limit", [{"send_queue": 20}, {"send_queue_bytes": 2_000_000}])
async def test_a_client_that_does_not_read_is_ended_when_its_queue_is_full_and_nobody_else_notices(limit: Any):
    async with FakeServer() as up, Sidecar({"up": up.url}, grpc=GrpcSettings(**limit)) as sidecar, asyncio.timeout(20):
        options = [("grpc.use_local_subchannel_pool", 1), *SMALL_WINDOW]
        async with grpc.aio.insecure_channel(sidecar.address("grpc"), options=options) as channel:
            await sidecar.engine.Call(asked(tool("echo", text="warm")))
            brisk: Any = sidecar.engine.BiDiStream()
            before = _memory()
            deaf: Any = engine_pb2_grpc.MCPEngineStub(channel).BiDiStream()

            def is_over() -> bool:
                return bool(sidecar.calls(rpc=RPC, method=""))

            async def flood() -> None:
                while not is_over():
                    await deaf.write(frame(tool("big", id=next(numbers), bytes=100_000)))

            numbers = itertools.count()
            flooding = asyncio.get_running_loop().create_task(flood())
            while not is_over():
                await brisk.write(frame(tool("echo", text="hi")))
                answer = await said(brisk)
                assert answer.get("error") is None
            told = sidecar.calls(rpc=RPC, method="")[0]
            assert (told["code"], told["execution"]) == ("RESOURCE_EXHAUSTED", "unknown")
            await flooding
            assert _memory() - before < 64 * 2**20

            async def read_on() -> None:
                while await deaf.read() is not grpc.aio.EOF:
                    pass

            error = await failed(read_on())
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert trailers(error)["mcp-sidecar-execution"] == "unknown"  # the tools ran, and their answers are lost
            await brisk.write(frame(tool("echo", text="still here")))
            assert text_of((await brisk.read()).message_json) == "still here"
            await brisk.done_writing()
            assert await brisk.read() is grpc.aio.EOF


async def test_one_answer_larger_than_the_whole_queue_still_arrives():
    async with talking(grpc=GrpcSettings(send_queue_bytes=1000)) as (_, _, stream):
        await stream.write(frame(tool("big", bytes=100_000)))
        assert len(text_of((await stream.read()).message_json)) == 100_000
