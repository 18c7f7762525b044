"""Tests of leaving over gRPC: what callers, conversations and watchers see while a whole sidecar drains."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import grpc.aio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mcp_sidecar.settings import DrainSettings, UpstreamSettings
from mcp_sidecar.v1 import connections_pb2 as connections
from mcp_sidecar.v1 import engine_pb2 as pb
from tests.inbound.grpc.asking import asked, details, failed, frame, text_of, tool, trailers
from tests.inbound.waiting import eventually
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
READINESS = ("", "readiness", "mcp_sidecar.v1.MCPEngine", "mcp_sidecar.v1.ConnectionManager")
ECHO = asked(tool("echo", text="hi"))


async def health(sidecar: Sidecar, listener: str, service: str) -> int:
    async with grpc.aio.insecure_channel(sidecar.address(listener)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        status: int = (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)).status
        return status


def _said(sidecar: Sidecar, event: str) -> bool:
    return any(line["event"] == event for line in sidecar.lines)


@pytest.mark.covers("B-61", "B-62")
async def test_a_lame_duck_says_that_it_is_not_ready_on_both_ports_and_still_serves():
    drain = DrainSettings(lame_duck=0.5, grace=5.0)
    async with FakeServer() as up, Sidecar({"up": up.url}, drain=drain) as sidecar, asyncio.timeout(10):
        for listener in ("grpc", "health"):
            assert {await health(sidecar, listener, service) for service in READINESS} == {SERVING}
        watch: Any = health_pb2_grpc.HealthStub(sidecar.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        sidecar.stop()
        assert (await watch.read()).status == NOT_SERVING
        for listener in ("grpc", "health"):
            assert {await health(sidecar, listener, service) for service in READINESS} == {NOT_SERVING}
            for service in ("liveness", "startup", "upstream/up"):
                assert await health(sidecar, listener, service) == SERVING
        assert text_of((await sidecar.engine.Call(ECHO)).message_json) == "hi"
        assert not _said(sidecar, "stopping")
        assert await watch.read() is grpc.aio.EOF
        assert await watch.code() is grpc.StatusCode.OK


@pytest.mark.covers("B-62", "B-34")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_while_draining_new_calls_are_refused_as_not_executed_and_those_in_flight_finish(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        held: list[Any] = [sidecar.engine.Call(asked(tool("hold", gate="g", text=str(n)))) for n in range(10)]
        streamed: Any = sidecar.engine.CallStream(asked(tool("hold", gate="g", text="streamed")))
        await up.until(lambda s: len(s.executions) == 11)
        sidecar.stop()
        await eventually(lambda: _said(sidecar, "draining"))
        calls = {
            "Call": lambda: sidecar.engine.Call(ECHO),
            "CallTool": lambda: sidecar.engine.CallTool(
                pb.CallToolRequest(tool="echo", arguments_json=b'{"text":"hi"}')
            ),
            "ListTools": lambda: sidecar.engine.ListTools(pb.ListToolsRequest()),
            "CallStream": lambda: sidecar.engine.CallStream(ECHO).read(),
            "Stream": lambda: sidecar.engine.Stream(pb.StreamRequest()).read(),
            "WatchConnections": lambda: sidecar.connections.WatchConnections(
                connections.WatchConnectionsRequest()
            ).read(),
        }
        for name, call in calls.items():
            refused = await failed(call())
            assert (name, refused.code()) == (name, grpc.StatusCode.UNAVAILABLE)
            assert trailers(refused)["mcp-sidecar-execution"] == "none"
            assert details(refused)[ErrorInfo].reason == "DRAINING"
            assert details(refused)[RetryInfo].retry_delay.ToMilliseconds() > 0
        assert len(up.executions) == 11
        up.release("g")
        assert [text_of((await call).message_json) for call in held] == [str(n) for n in range(10)]
        events = [event async for event in streamed]
        assert text_of(events[-1].response.message_json) == "streamed"
        await sidecar.stopped()
        assert Counter(line["code"] for line in sidecar.calls(name="hold")) == {"OK": 11}


@pytest.mark.covers("B-62", "B-06")
async def test_a_conversation_is_told_of_the_drain_finishes_what_it_began_and_refuses_the_rest():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        idle: Any = sidecar.engine.BiDiStream()
        await idle.initial_metadata()
        busy: Any = sidecar.engine.BiDiStream()
        await busy.write(frame(tool("hold", id="held", gate="g")))
        await up.until(lambda s: s.executions)
        sidecar.stop()
        draining = (await idle.read()).draining
        assert 0 < draining.grace_ms <= 2000
        assert draining.reason
        assert await idle.read() is grpc.aio.EOF
        assert await idle.code() is grpc.StatusCode.OK
        assert (await busy.read()).WhichOneof("frame") == "draining"
        await busy.write(frame(tool("echo", id="late", text="hi")))
        refusal = json.loads((await busy.read()).message_json)
        assert (refusal["id"], refusal["error"]["data"]["reason"]) == ("late", "DRAINING")
        assert refusal["error"]["data"]["execution"] == "none"
        late: Any = sidecar.engine.BiDiStream()
        assert (await late.read()).WhichOneof("frame") == "draining"
        assert await late.read() is grpc.aio.EOF
        up.release("g")
        assert json.loads((await busy.read()).message_json)["id"] == "held"
        assert await busy.read() is grpc.aio.EOF
        assert await busy.code() is grpc.StatusCode.OK
        await sidecar.stopped()


@pytest.mark.covers("B-62", "B-63")
@pytest.mark.parametrize("pod_grace", [None, 2.0])
async def test_a_busy_sidecar_leaves_without_a_cancelled_call_and_in_time(pod_grace: float | None):
    drain = DrainSettings(lame_duck=0.1, grace=1.5) if pod_grace is None else DrainSettings()
    ends: Counter[str] = Counter()
    async with FakeServer() as up, asyncio.timeout(20):
        async with Sidecar({"up": up.url}, drain=drain, pod_grace=pod_grace) as sidecar:

            async def caller() -> None:
                """Calls until it is refused; a refused caller goes elsewhere."""
                while True:
                    try:
                        await sidecar.engine.Call(ECHO)
                        ends["OK"] += 1
                    except grpc.aio.AioRpcError as error:
                        ends[f"{error.code().name} {trailers(error).get('mcp-sidecar-execution')}"] += 1
                        return

            async def conversation() -> None:
                stream: Any = sidecar.engine.BiDiStream()
                await stream.write(frame(tool("hold", gate="g")))
                kinds = []
                while (answer := await stream.read()) is not grpc.aio.EOF:
                    kinds.append(answer.WhichOneof("frame"))
                ends[f"conversation {kinds} {(await stream.code()).name}"] += 1

            async def watcher() -> None:
                watch: Any = health_pb2_grpc.HealthStub(sidecar.channel).Watch(health_pb2.HealthCheckRequest())
                seen = [answer.status async for answer in watch]
                ends[f"watch {seen} {(await watch.code()).name}"] += 1

            async with asyncio.TaskGroup() as clients:
                for _ in range(64):
                    clients.create_task(caller())
                for _ in range(5):
                    clients.create_task(conversation())
                clients.create_task(watcher())
                await up.until(lambda s: sum(one.tool == "hold" for one in s.executions) == 5)
                await eventually(lambda: ends["OK"] > 200)
                sidecar.stop()
                await eventually(lambda: any("UNAVAILABLE" in end for end in ends))
                up.release("g")
            stopping = asyncio.get_running_loop().time()
            await sidecar.stopped(2.0)
            assert asyncio.get_running_loop().time() - stopping < 2.0
    del ends["OK"]
    assert ends == {
        "UNAVAILABLE none": 64,
        "conversation ['draining', 'message_json'] OK": 5,
        f"watch {[SERVING, NOT_SERVING]} OK": 1,
    }


@pytest.mark.covers("B-62", "B-63")
async def test_a_call_that_outlives_the_grace_is_ended_and_the_sidecar_leaves_all_the_same():
    drain = DrainSettings(lame_duck=0.0, grace=0.1)
    async with FakeServer() as up, Sidecar({"up": up.url}, drain=drain) as sidecar, asyncio.timeout(10):
        held: Any = sidecar.engine.Call(asked(tool("hold", gate="g")))
        stream: Any = sidecar.engine.BiDiStream()
        await stream.write(frame(tool("hold", id=2, gate="g")))
        await up.until(lambda s: len(s.executions) == 2)
        sidecar.stop()
        error = await failed(held)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await sidecar.stopped(5)
        await up.until(lambda s: len(s.cancelled) == 2)
        stream.cancel()


@pytest.mark.covers("B-63")
@pytest.mark.parametrize("rude", ["server/discover", "initialize"])
async def test_a_server_that_does_not_answer_a_handshake_does_not_hold_up_the_end(rude: str):
    era: Any = "modern" if rude == "server/discover" else "legacy"
    drain = DrainSettings(lame_duck=0.0, grace=0.05)
    async with FakeServer(era=era, script={rude: "never_answers"}) as up:
        async with (
            Sidecar({"up": UpstreamSettings(name="up", url=up.url)}, drain=drain) as sidecar,
            asyncio.timeout(10),
        ):
            call: Any = sidecar.engine.Call(ECHO, timeout=0.1)
            await up.until(lambda s: s.count(rude))
            await failed(call)
            sidecar.stop()
            await sidecar.stopped(3.0)
