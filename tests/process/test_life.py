"""The life of the process: how it starts, what it says first, how it ends and with which exit code."""

from __future__ import annotations

import asyncio
import signal
import socket
import time

import grpc.aio
import pytest

from mcp_sidecar.v1 import engine_pb2, engine_pb2_grpc
from tests.inbound.http.posts import message
from tests.inbound.waiting import eventually
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import LISTENERS, NotServing, run, sidecar_process

NOBODY = "http://127.0.0.1:9/mcp"
ON_ANY_PORT = [word for name in LISTENERS for word in (f"--{name}", "127.0.0.1:0")]


@pytest.mark.covers("B-62")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_first_and_ends_well_on_a_signal(number):
    with sidecar_process({"up": NOBODY}) as sidecar:
        assert set(sidecar.bound) == set(LISTENERS)
        for address in sidecar.bound.values():
            host, _, port = address.rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            await writer.wait_closed()
        sidecar.signal(number)
        assert await sidecar.ended() == 0
        first, *_, last = sidecar.lines
        assert (first["event"], last["event"]) == ("listening", "stopped")
        assert {key: first[key] for key in LISTENERS} == sidecar.bound
        assert "signal" in [line["event"] for line in sidecar.lines]
        assert sidecar.err.read_text() == ""


@pytest.mark.covers("B-60")
async def test_every_problem_of_a_configuration_is_told_before_a_port_is_taken(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("upstreams:\n- name: UP\n  url: ftp://x\npoool: {idle: 3s}\nlog: {level: loud}\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [word.replace(":0", f":{port}") for word in ON_ANY_PORT]  # would fail with 1
        code, out, err = await run("serve", "-c", str(config), *words, "--ready-file", str(tmp_path / "ready"))
    assert (code, out) == (64, "")
    for hint in ("upstreams[0].name", "upstreams[0].url", "poool", "pool", "log.level", f"{config}:4"):
        assert hint in err, (hint, err)
    assert not (tmp_path / "ready").exists()


@pytest.mark.covers("B-65")
@pytest.mark.parametrize("listener", LISTENERS)
async def test_a_taken_port_fails_the_start_and_is_named(listener):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = [*ON_ANY_PORT]
        words[words.index(f"--{listener}") + 1] = address
        code, out, err = await run("serve", "--upstream", f"up={NOBODY}", *words)
    assert code == 1
    assert f'"cannot listen on {address}: ' in out + err
    assert "listening" not in out.split('"event":"')[-1]


@pytest.mark.covers("B-65")
async def test_two_sidecars_do_not_share_a_port_without_a_word():
    with sidecar_process({"up": NOBODY}) as first, pytest.raises(NotServing, match="cannot listen on"):
        with sidecar_process({"up": NOBODY}, "--grpc", first.bound["grpc"]):
            pass


async def test_a_ready_file_that_cannot_be_written_fails_the_start(tmp_path):
    words = ["--upstream", f"up={NOBODY}", "--ready-file", str(tmp_path / "missing" / "ready"), *ON_ANY_PORT]
    code, out, _ = await run("serve", *words)
    assert code == 1
    assert "missing" in out


@pytest.mark.covers("B-64")
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(second):
    async with FakeServer() as up:
        with sidecar_process({"up": up.url}, environ={"MCP_SIDECAR_DRAIN_LAME_DUCK": "60s"}) as sidecar:
            held = {"name": "hold", "arguments": {"gate": "never"}}
            async with Modern(sidecar.url("up")).opened("tools/call", held, progressToken=1):
                sidecar.signal(signal.SIGTERM)
                await eventually(lambda: [line for line in sidecar.lines if line["event"] == "draining"])
                began = time.monotonic()
                sidecar.signal(second)
                assert await sidecar.ended() == 1
                assert time.monotonic() - began < 2
            assert sidecar.lines[-1]["event"] == "leaving"
            await up.until(lambda up: up.cancelled)


@pytest.mark.covers("B-62", "B-63")
async def test_a_pod_that_gives_two_seconds_gets_its_calls_finished_and_an_end_in_time():
    async with FakeServer() as up:
        environ = {
            "MCP_SIDECAR_POD_GRACE_SECONDS": "2",
            "MCP_SIDECAR_DRAIN_LAME_DUCK": "5s",
            "MCP_SIDECAR_DRAIN_GRACE": "15s",
        }
        with sidecar_process({"up": up.url}, environ=environ) as sidecar:
            async with grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel, asyncio.TaskGroup() as tasks:
                engine = engine_pb2_grpc.MCPEngineStub(channel)

                async def over_grpc(arguments: bytes) -> str:
                    request = engine_pb2.CallRequest(server="up", message_json=arguments)
                    try:
                        await engine.Call(request)
                    except grpc.aio.AioRpcError as error:
                        trailers = dict(error.trailing_metadata() or ())
                        return f"{error.code().name} {trailers.get('mcp-sidecar-execution')}"
                    return "OK"

                quick = message(params={"name": "slow", "arguments": {"seconds": 0.4, "text": "x"}})
                never = message(params={"name": "hold", "arguments": {"gate": "never"}})
                finished = [tasks.create_task(over_grpc(quick)) for _ in range(10)]
                ended = [tasks.create_task(over_grpc(never)) for _ in range(10)]
                posted = tasks.create_task(Modern(sidecar.url("up")).call("slow", {"seconds": 0.4, "text": "x"}))
                await up.until(lambda up: len(up.executions) == 21)
                began = time.monotonic()
                sidecar.signal(signal.SIGTERM)
                assert await sidecar.ended() == 0
                took = time.monotonic() - began
            assert took < 2.0
            assert [await one for one in finished] == ["OK"] * 10
            assert (await posted).status == 200
            assert [await one for one in ended] == ["UNAVAILABLE unknown"] * 10
            await up.until(lambda up: len(up.cancelled) == 10)
            codes = [line["code"] for line in sidecar.calls()]
            assert len(codes) == 21  # one line a call, also for those that were ended


@pytest.mark.covers("B-62")
async def test_a_reader_of_the_log_that_does_not_read_blocks_nothing():
    async with FakeServer() as up:
        read, write = socket.socketpair()
        with read, write:
            write.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            with sidecar_process({"up": up.url}, "--log-level", "debug", stdout=write.fileno()) as sidecar:
                for number in range(100):
                    reply = await Modern(sidecar.url("up")).call("echo", {"text": str(number)})
                    assert reply.status == 200
                sidecar.signal(signal.SIGTERM)
                assert await sidecar.ended() == 0
