"""Discovery and leaving as the process does them: names of the machine, preStop hooks, signals, little time."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.inbound.http.posts import message, post
from tests.inbound.waiting import eventually
from tests.kube.objects import endpoint, piece, port
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.kube_api import Fault, kube_api
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import SidecarProcess, run, sidecar_process

DNS = {"MCP_SIDECAR_DISCOVERY_MODE": "dns", "MCP_SIDECAR_DISCOVERY_INTERVAL": "200ms"}


async def status(sidecar: SidecarProcess, path: str) -> int:
    return (await raw_http.request("GET", sidecar.probe(path))).status


async def until_started(sidecar: SidecarProcess) -> None:
    async with asyncio.timeout(20):
        while await status(sidecar, "/startupz") != 200:
            pass


@pytest.mark.covers("B-230", "B-232")
async def test_a_name_is_resolved_and_its_server_called_by_that_name():
    async with FakeServer() as up:
        with sidecar_process({"up": f"http://localhost:{up.port}/mcp"}, environ=DNS) as sidecar:
            await until_started(sidecar)
            for _ in range(5):
                assert (await Modern(sidecar.url("up")).call("echo", {"text": "x"})).status == 200
            assert {request.headers["host"] for request in up.requests} == {f"localhost:{up.port}"}
            code, out, _ = await run("status", "-o", "json", "--address", sidecar.bound["grpc"])
            (server,) = json.loads(out)["servers"]
            assert code == 0
            assert f"127.0.0.1:{up.port}" in [end["address"] for end in server["endpoints"]]
            code, out, _ = await run("status", "--address", sidecar.bound["grpc"])
            assert "ORIGIN" in out and "configuration" in out


@pytest.mark.covers("B-231")
async def test_a_name_that_nobody_has_is_unavailable_and_takes_nobody_along():
    async with FakeServer() as up:
        ups = {"up": up.url, "lost": "http://no-such-host.invalid:8080/mcp"}
        with sidecar_process(ups, environ=DNS) as sidecar:
            await until_started(sidecar)
            assert (await Modern(sidecar.url("up")).call("echo", {"text": "x"})).status == 200
            refused = await post(sidecar.url("lost"), message())
            assert refused.status == 502
            assert refused.headers["mcp-sidecar-execution"] == "none"


@pytest.mark.covers("B-233")
async def test_a_required_upstream_that_nobody_knows_is_a_problem_of_the_configuration():
    code, _, err = await run("check", environ={"MCP_SIDECAR_START_REQUIRE": "weather"})
    assert code == 64
    assert "start.require" in err and "weather" in err


@asynccontextmanager
async def held(sidecar: SidecarProcess, up: FakeServer) -> AsyncIterator[asyncio.Task[raw_http.Reply]]:
    """A call that runs until its gate is opened."""
    client = Modern(sidecar.url("up"))
    call = asyncio.create_task(client.call("hold", {"gate": "g", "text": "held"}))
    await up.until(lambda s: s.executions)
    try:
        yield call
    finally:
        call.cancel()
        await asyncio.wait({call})


@pytest.mark.covers("B-234")
@pytest.mark.parametrize("grace", [2, 30])
async def test_a_pre_stop_hook_keeps_it_ready_and_serving_and_the_signal_finds_the_work_done(grace: int):
    environ = {
        "MCP_SIDECAR_POD_GRACE_SECONDS": str(grace),
        "MCP_SIDECAR_DRAIN_LAME_DUCK": "500ms",
        "MCP_SIDECAR_DRAIN_GRACE": "10s",
    }
    async with FakeServer() as up:
        with sidecar_process({"up": up.url}, environ=environ) as sidecar:
            async with held(sidecar, up) as call:
                hook = asyncio.create_task(run("drain", "--wait", "20", "--address", sidecar.bound["http"]))
                kept: list[int] = []
                while (
                    True
                ):  # until calls are refused: as a lame duck it serves everybody, and says that it is the last time
                    ready, reply = (
                        await status(sidecar, "/readyz"),
                        await Modern(sidecar.url("up")).call("echo", {"text": "x"}),
                    )
                    if reply.status != 200:
                        break
                    if reply.headers.get("connection") == "close":
                        kept.append(ready)
                assert kept and set(kept[:-1]) <= {200}
                assert (reply.status, reply.headers["mcp-sidecar-execution"]) == (503, "none")
                assert reply.headers["retry-after"]
                assert await status(sidecar, "/readyz") == 503
                up.release("g")
                assert (await call).status == 200
            code, out, _ = await hook
            assert code == 0, out
            began = time.monotonic()
            sidecar.signal(signal.SIGTERM)
            assert await sidecar.ended() == 0
            assert time.monotonic() - began < 5  # nothing is waited for a second time
            events = [line["event"] for line in sidecar.lines]
            assert events.count("draining") == 1


@pytest.mark.covers("B-234")
@pytest.mark.parametrize("grace", [2, 30])
async def test_beside_an_application_that_has_ended_the_signal_ends_it_as_soon_as_nothing_runs(grace: int):
    environ = {
        "MCP_SIDECAR_POD_GRACE_SECONDS": str(grace),
        "MCP_SIDECAR_DRAIN_LAME_DUCK": "0s",
        "MCP_SIDECAR_DRAIN_GRACE": "25s",
    }
    async with FakeServer() as up:
        with sidecar_process({"up": up.url}, environ=environ) as sidecar:
            async with held(sidecar, up) as call:
                sidecar.signal(signal.SIGTERM)
                await eventually(lambda: [line for line in sidecar.lines if line["event"] == "draining"])
                up.release("g")
                assert (await call).status == 200
            assert await sidecar.ended(10) == 0
            (stopping,) = (line for line in sidecar.lines if line["event"] == "stopping")
            assert stopping["in_flight"] == 0


def slice_of(up: FakeServer, *, name: str = "x1", **conditions: bool) -> dict[str, Any]:
    return piece("weather", [endpoint("127.0.0.1", **conditions)], ports=[port(up.port)], name=f"weather-{name}")


@pytest.mark.covers("B-220", "B-232", "B-233")
async def test_servers_of_a_namespace_are_called_as_they_come_and_go_and_without_the_api_server(tmp_path: Path):
    async with kube_api() as api, FakeServer() as a, FakeServer("legacy") as b:
        environ = {
            "MCP_SIDECAR_DISCOVERY_MODE": "namespace",
            "MCP_SIDECAR_DISCOVERY_KUBECONFIG": api.kubeconfig(tmp_path, token=api.token),
            "MCP_SIDECAR_START_REQUIRE": "weather",
        }
        with sidecar_process({}, environ=environ) as sidecar:
            await eventually(lambda: any(one.path.endswith("endpointslices") for one in api.asked), 20)
            assert await status(sidecar, "/startupz") == 503
            api.put("endpointslices", slice_of(a))
            await until_started(sidecar)
            client = Modern(sidecar.url())
            assert (await client.call("echo", {"text": "x"})).status == 200
            api.put("endpointslices", slice_of(a, ready=False, serving=True, terminating=True))
            api.put("endpointslices", slice_of(b, name="x2"))
            async with asyncio.timeout(10):
                while not b.executions:
                    assert (await client.call("echo", {"text": "x"})).status == 200
            seen = len(a.executions)
            for _ in range(5):
                assert (await client.call("echo", {"text": "x"})).status == 200
            assert len(a.executions) == seen
            api.fault = Fault.STALL
            for _ in range(5):
                assert (await client.call("echo", {"text": "x"})).status == 200
            code, out, _ = await run("status", "-o", "json", "--address", sidecar.bound["grpc"])
            (server,) = json.loads(out)["servers"]
            assert (code, server["origin"], server["state"]) == (0, "Service tools/weather", "up")
            assert {end["state"] for end in server["endpoints"]} == {"ready", "leaving"}
