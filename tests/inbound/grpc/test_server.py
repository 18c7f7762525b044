"""Tests of `mcp_sidecar.inbound.grpc.server`: options, listeners, sizes, crowds, and what is no message at all."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mcp_sidecar.documented import LARGEST, MIB
from mcp_sidecar.inbound.grpc.server import is_local, options
from mcp_sidecar.settings import AdmissionSettings, GrpcSettings, KeepaliveSettings, ListenSettings
from mcp_sidecar.v1 import connections_pb2 as pb
from mcp_sidecar.v1 import connections_pb2_grpc, engine_pb2_grpc
from tests.inbound.grpc.asking import asked, failed, text_of, tool, trailers
from tests.inbound.grpc.kinds import ended
from tests.support.fake_server import FakeServer
from tests.support.sidecar import ON_ANY_PORT, Sidecar

AGES = {
    "grpc.max_connection_idle_ms": 900_000,
    "grpc.max_connection_age_ms": 1_800_000,
    "grpc.max_connection_age_grace_ms": 300_000,
}
NOTHING = ListenSettings(grpc=(), http="off", health="off", metrics="off")
NOWHERE = {"up": "http://127.0.0.1:9/mcp"}


def test_settings_go_to_grpc_under_its_own_names():
    assert dict(options(GrpcSettings(), local=True)) == {
        "grpc.so_reuseport": 0,
        "grpc.max_concurrent_streams": 256,
        "grpc.http2.max_deallocating_streams": 256,
        "grpc.http2.bdp_probe": 0,
        "grpc.http2.lookahead_bytes": 262_144,
        "grpc.max_receive_message_length": 8 * MIB,
        "grpc.max_send_message_length": -1,
        "grpc.max_metadata_size": 16_384,
        "grpc.absolute_max_metadata_size": 20_480,
        "grpc.server_handshake_timeout_ms": 10_000,
        "grpc.keepalive_time_ms": 300_000,
        "grpc.keepalive_timeout_ms": 60_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_ping_interval_without_data_ms": 300_000,
    }


@pytest.mark.covers("B-37")
def test_only_listeners_that_others_reach_limit_the_age_of_connections():
    local, network = (dict(options(GrpcSettings(), local=here)) for here in (True, False))
    assert network == local | AGES


def test_every_keepalive_setting_reaches_grpc_in_milliseconds():
    chosen = KeepaliveSettings(
        max_connection_idle=1.5,
        max_connection_age=2.5,
        max_connection_age_grace=3.5,
        time=4.5,
        timeout=5.5,
        min_time=6.5,
        permit_without_stream=False,
    )
    given = dict(options(GrpcSettings(keepalive=chosen), local=False))
    names = [*AGES, "grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms"]
    names += ["grpc.http2.min_ping_interval_without_data_ms", "grpc.keepalive_permit_without_calls"]
    assert [given[name] for name in names] == [1500, 2500, 3500, 4500, 5500, 6500, 0]


async def test_the_largest_values_that_settings_take_are_taken_by_grpc():
    largest = float(LARGEST // 1000)
    times = {field.name: largest for field in dataclasses.fields(KeepaliveSettings) if field.type == "float"}
    chosen = GrpcSettings(
        max_message=LARGEST,
        max_concurrent_streams=LARGEST,
        keepalive=KeepaliveSettings(**times),  # type: ignore[arg-type]
    )
    given = options(chosen, local=False)
    assert all(-1 <= value <= LARGEST for _, value in given)
    server = grpc.aio.server(options=given)
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await server.stop(None)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.8.9.10:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:///run/x.sock", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.1.2.3:1", False),
        ("sidecar.example:1", False),
    ],
)
def test_an_address_is_local_when_only_this_machine_reaches_it(address: str, local: bool):
    assert is_local(address) is local


@pytest.mark.covers("B-37")
async def test_a_stream_lives_on_over_loopback_and_a_socket_when_one_over_the_network_has_grown_too_old(tmp_path: Path):
    addresses = ("127.0.0.1:0", "0.0.0.0:0", f"unix://{tmp_path}/grpc.sock")
    listen = dataclasses.replace(ON_ANY_PORT, grpc=addresses)
    young = KeepaliveSettings(max_connection_age=0.05, max_connection_age_grace=0.05)
    async with Sidecar(NOWHERE, listen=listen, grpc=GrpcSettings(keepalive=young)) as sidecar:
        bound = sidecar.bound["grpc"]
        targets = [bound[0], bound[1].replace("0.0.0.0", "127.0.0.1"), bound[2].replace("unix://", "unix:")]
        channels = [grpc.aio.insecure_channel(target) for target in targets]
        async with asyncio.timeout(10):
            watches: list[Any] = []
            for channel in channels:
                stub = connections_pb2_grpc.ConnectionManagerStub(channel)
                watches.append(stub.WatchConnections(pb.WatchConnectionsRequest()))
                await watches[-1].initial_metadata()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await watches[1].read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert [watch.done() for watch in watches] == [False, True, False]
            for channel in channels:
                await channel.close()


async def failure_to(listen: Any) -> str:
    """What a sidecar says that cannot listen there."""
    with pytest.raises((OSError, ExceptionGroup)) as caught:
        async with Sidecar(NOWHERE, listen=listen):
            pass
    error = caught.value
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, OSError)
    return str(error)


@pytest.mark.covers("B-65")
@pytest.mark.parametrize("listener", ["grpc", "health", "http", "metrics"])
async def test_a_second_instance_on_the_same_port_fails_and_names_it(listener: str):
    async with Sidecar(NOWHERE) as first:
        taken = first.address(listener)
        wanted: Any = (taken,) if listener == "grpc" else taken
        listen = dataclasses.replace(NOTHING, **{listener: wanted})
        assert f"cannot listen on {taken}" in await failure_to(listen)


@pytest.mark.covers("B-423")
async def test_a_unix_socket_that_is_served_is_not_taken_over(tmp_path):
    path = f"unix://{tmp_path}/grpc.sock"
    listen = dataclasses.replace(NOTHING, grpc=(path,))
    async with Sidecar(NOWHERE, listen=listen):
        assert f"cannot listen on {path}" in await failure_to(listen)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/grpc.sock")


@pytest.mark.covers("B-423")
async def test_a_unix_socket_that_a_dead_process_left_is_replaced_and_another_file_is_not(tmp_path):
    place = tmp_path / "grpc.sock"
    listen = dataclasses.replace(NOTHING, grpc=(f"unix://{place}",))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    async with Sidecar(NOWHERE, listen=listen) as sidecar:
        assert sidecar.address("grpc") == f"unix://{place}"
    place.unlink(missing_ok=True)
    place.write_text("precious")
    assert f"cannot listen on unix://{place}" in await failure_to(listen)
    assert place.read_text() == "precious"


async def test_fifteen_kilobytes_of_metadata_are_accepted_and_thirty_refused():
    async with Sidecar(NOWHERE) as sidecar:
        request = pb.ListServersRequest()
        for _ in range(10):  # gRPC refuses by chance between its two limits
            await sidecar.connections.ListServers(request, metadata=(("x-token", "x" * 15_000),), timeout=5)
        refused = await failed(
            sidecar.connections.ListServers(request, metadata=(("x-token", "x" * 30_000),), timeout=5)
        )
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await sidecar.connections.ListServers(request, timeout=5)


@pytest.mark.covers("B-03")
@pytest.mark.parametrize("over", [1, 4 * MIB + 1024])
async def test_a_message_over_the_limit_is_refused_and_the_connection_stays(over: int):
    room = 4 * MIB - len(tool("echo", text=""))
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, _takes_all(sidecar) as channel:
        engine = engine_pb2_grpc.MCPEngineStub(channel)
        largest = await engine.Call(asked(tool("echo", text="x" * room)), timeout=10)
        assert len(text_of(largest.message_json)) == room
        before = len(up.requests)
        refused = await failed(engine.Call(asked(tool("echo", text="x" * (room + over))), timeout=10))
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(up.requests) == before
        if over == 1:
            assert "grpc.max_message" in str(refused.details())
            assert sidecar.calls()[-1]["code"] == "RESOURCE_EXHAUSTED"
        await engine.Call(asked(tool("echo", text="small")), timeout=10)


async def test_an_answer_larger_than_a_request_may_be_passes():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, _takes_all(sidecar) as channel:
        answer = await engine_pb2_grpc.MCPEngineStub(channel).Call(asked(tool("big", bytes=9 * MIB)), timeout=20)
        assert len(text_of(answer.message_json)) == 9 * MIB


def _takes_all(sidecar: Sidecar) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(sidecar.address("grpc"), options=[("grpc.max_receive_message_length", -1)])


async def test_a_thousand_calls_at_once_over_one_connection_are_all_answered():
    async with FakeServer() as up, Sidecar({"up": up.url}, admission=AdmissionSettings(in_flight=1000)) as sidecar:
        calls = [sidecar.engine.Call(asked(tool("echo", text=str(number))), timeout=30) for number in range(1000)]
        answers = await asyncio.gather(*calls)
        assert [text_of(answer.message_json) for answer in answers] == [str(number) for number in range(1000)]
        assert len(sidecar.calls(code="OK")) == 1000


@pytest.mark.covers("B-30", "B-31")
@pytest.mark.parametrize(
    ("rpc", "kind"), [("Call", "UnaryUnary"), ("CallStream", "UnaryStream"), ("BiDiStream", "StreamStream")]
)
async def test_what_is_no_protobuf_message_is_refused_behind_the_chain(
    rpc: str, kind: str, caplog: pytest.LogCaptureFixture
):
    async with Sidecar(NOWHERE) as sidecar, asyncio.timeout(5):
        path, channel = f"/mcp_sidecar.v1.MCPEngine/{rpc}", sidecar.channel
        start: Any = {
            "UnaryUnary": channel.unary_unary,
            "UnaryStream": channel.unary_stream,
            "StreamStream": channel.stream_stream,
        }[kind](path)
        with caplog.at_level(logging.WARNING):
            outcome = await ended(start(iter([b"\xff\xff"]) if kind == "StreamStream" else b"\xff\xff"), kind)
        assert outcome.code == "INVALID_ARGUMENT"
        assert "protobuf" in outcome.details
        assert [line["code"] for line in sidecar.calls(rpc=path)] == ["INVALID_ARGUMENT"]
        assert caplog.records == []


async def test_a_unary_call_to_a_stream_and_back_gets_a_status():
    async with Sidecar(NOWHERE) as sidecar, asyncio.timeout(5):
        unary: Any = sidecar.channel.unary_unary("/mcp_sidecar.v1.MCPEngine/BiDiStream")
        assert (await ended(unary(b""), "UnaryUnary")).code == "OK"  # an empty frame is answered with a JSON-RPC error
        stream: Any = sidecar.channel.stream_stream("/mcp_sidecar.v1.ConnectionManager/ListServers")
        outcome = await ended(stream(iter([b"", b"", b""])), "StreamStream")
        assert outcome.code in ("OK", "UNIMPLEMENTED", "INTERNAL")


@pytest.mark.covers("B-36")
async def test_reflection_answers_only_when_it_is_switched_on():
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    async with asyncio.timeout(5):
        async with Sidecar(NOWHERE) as silent:
            stream: Any = reflection_pb2_grpc.ServerReflectionStub(silent.channel).ServerReflectionInfo(
                iter([question])
            )
            assert (await ended(stream, "StreamStream")).code == "UNIMPLEMENTED"
        async with Sidecar(NOWHERE, grpc=GrpcSettings(reflection=True)) as open_:
            stream = reflection_pb2_grpc.ServerReflectionStub(open_.channel).ServerReflectionInfo(iter([question]))
            outcome = await ended(stream, "StreamStream")
            assert outcome.code == "OK"
            names = {service.name for service in outcome.messages[0].list_services_response.service}  # type: ignore[attr-defined]
            assert {"mcp_sidecar.v1.MCPEngine", "mcp_sidecar.v1.ConnectionManager", "grpc.health.v1.Health"} <= names
            assert [line["code"] for line in open_.calls()] == ["OK"]


async def test_the_kubelets_port_serves_health_and_nothing_else():
    async with Sidecar(NOWHERE) as sidecar, grpc.aio.insecure_channel(sidecar.address("health")) as channel:
        servers = connections_pb2_grpc.ConnectionManagerStub(channel).ListServers(pb.ListServersRequest(), timeout=5)
        refused = await failed(servers)
        assert refused.code() is grpc.StatusCode.UNIMPLEMENTED
        assert trailers(refused)["mcp-sidecar-execution"] == "none"
