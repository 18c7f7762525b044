"""Tokens and certificates that are replaced while calls and sessions go on."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import grpc.aio
import pytest

from mcp_sidecar.settings import AuthSettings, UpstreamAuthSettings, UpstreamSettings
from mcp_sidecar.v1 import engine_pb2
from tests.inbound.waiting import eventually
from tests.outbound.calling import connections, tool
from tests.support.certificates import Mounted
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

CANARY = "c4n4ry"


def shown_to(url: str, files: Mounted) -> UpstreamSettings:
    return UpstreamSettings("near", url, auth=UpstreamAuthSettings(files.path("token")))


@pytest.mark.covers("B-284")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_rotated_token_is_shown_on_the_connection_and_in_the_session_there_are(era, tmp_path: Path):
    files = Mounted(tmp_path / "v", token=b"one")
    async with FakeServer(era, authorization=True) as up, Sidecar({"near": shown_to(up.url, files)}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        (before,) = await connections(sidecar)
        files.replace(token=b"two")
        async with asyncio.timeout(10):
            while up.requests[-1].headers["authorization"] != "Bearer two":
                await tool(sidecar, "echo", {"text": "hi"})
        (after,) = await connections(sidecar)
        assert after.id == before.id
        assert [request.message["method"] for request in up.requests if request.message].count("initialize") == (
            era == "legacy"
        )
        assert up.violations == []


async def accepts(sidecar: Sidecar, secret: str) -> None:
    """Return once the sidecar has read its list with this token."""
    async with asyncio.timeout(10):
        while True:
            try:
                await sidecar.engine.ListTools(
                    engine_pb2.ListToolsRequest(), timeout=5, metadata=(("authorization", f"Bearer {secret}"),)
                )
            except grpc.aio.AioRpcError:
                continue
            return


@pytest.mark.covers("B-283", "B-284")
@pytest.mark.parametrize("scheme", ["grpc", "http"])
async def test_a_token_that_is_rotated_and_withdrawn_under_load_loses_no_call(scheme: str, tmp_path: Path):
    accepted = tmp_path / "accepted"
    accepted.write_text(f"{CANARY}0\n")
    files = Mounted(tmp_path / "v", token=f"{CANARY}0".encode())
    guarded = AuthSettings(mode="token", token_file=str(accepted))
    async with FakeServer() as up, Sidecar({"up": up.url}, auth=guarded) as there:
        way = {"grpc": f"grpc://{there.address('grpc')}/up", "http": there.url("up")}[scheme]
        async with Sidecar({"near": shown_to(way, files)}) as here:
            stop = asyncio.Event()

            async def call() -> int:
                count = 0
                while not stop.is_set():
                    assert await tool(here, "echo", {"text": "hi"}) == "hi"
                    count += 1
                return count

            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(call()) for _ in range(4)]
                for number in (1, 2):
                    newer = f"agent-{number} {CANARY}{number}\n"
                    accepted.write_text(accepted.read_text() + newer)
                    await accepts(there, f"{CANARY}{number}")
                    files.replace(token=f"{CANARY}{number}".encode())
                    accepted.write_text(newer)  # whoever still shows the old one is refused
                    newest = partial(there.calls, subject=f"agent-{number}", code="OK", name="echo")
                    await eventually(newest, 10)
                stop.set()
            made = sum(task.result() for task in running)
            assert made > 10
            assert len(up.executions) == made
            assert CANARY not in repr(here.lines) + repr(there.lines)


@pytest.mark.covers("B-284")
async def test_a_token_file_that_cannot_be_used_is_told_once_and_the_last_token_stays(tmp_path: Path):
    files = Mounted(tmp_path / "v", token=CANARY.encode())
    async with FakeServer(authorization=True) as up, Sidecar({"near": shown_to(up.url, files)}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        files.replace(token=b"")
        async with asyncio.timeout(10):
            while not [line for line in sidecar.lines if line["event"] == "credentials"]:
                await tool(sidecar, "echo", {"text": "hi"})
        for _ in range(3):
            await tool(sidecar, "echo", {"text": "hi"})
        (line,) = (line for line in sidecar.lines if line["event"] == "credentials")
        assert "it holds no token; what was read before stays in force" in line["trouble"]
        assert CANARY not in repr(sidecar.lines)


@pytest.mark.covers("B-284")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_server_that_refuses_the_token_is_shown_the_newest_one_at_once(era, tmp_path: Path):
    files = Mounted(tmp_path / "v", token=b"one")
    async with FakeServer(era, authorization=True) as up, Sidecar({"near": shown_to(up.url, files)}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        files.replace(token=b"two")
        up.next_reply("status_401")
        assert await tool(sidecar, "echo", {"text": "hi"}) == "hi"
        assert up.requests[-1].headers["authorization"] == "Bearer two"
        assert len(up.executions) == 2
