"""Unmodified official clients of the 2025 era at the sidecar, in front of servers of both eras."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent

from tests.inbound.waiting import eventually
from tests.support.fake_server import FakeServer
from tests.support.real_servers import sdk1_python
from tests.support.relay import Relay
from tests.support.sidecar import Sidecar

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
SECONDS = 20.0
ROOT = Path(__file__).resolve().parents[3]


async def elicit(_: Any, params: Any) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": f"Bo, asked: {params.message}"})


async def sample(_: Any, params: Any) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="yes"), model="m")


async def roots(_: Any) -> ListRootsResult:
    return ListRootsResult(roots=[Root.model_validate({"uri": "file:///r"})])


def official(url: str, **more: Any) -> Client:
    # The SDK warns of what 2026-07-28 dropped. Where the test ends, so does this.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    asked: dict[str, Any] = {"elicitation_callback": elicit, "sampling_callback": sample, "list_roots_callback": roots}
    return Client(url, mode="legacy", cache=None, **asked, **more)


@contextlib.asynccontextmanager
async def between(era: Any, **ways: Any) -> AsyncIterator[tuple[FakeServer, Sidecar]]:
    async with asyncio.timeout(SECONDS), FakeServer(era, **ways) as up, Sidecar({"up": up.url}) as sidecar:
        yield up, sidecar
        assert up.violations == []


def said(result: Any) -> str:
    text: str = result.content[0].text
    return text


@pytest.mark.covers("B-80", "B-81")
@ERAS
async def test_the_official_client_of_the_2025_era_is_served(era):
    async with between(era) as (_, sidecar):
        for url in (sidecar.url("up"), sidecar.url()):
            async with official(url) as client:
                assert client.server_info is not None
                assert client.server_info.name == "fake"
                assert client.protocol_version == "2025-11-25"
                assert "echo" in {tool.name for tool in (await client.list_tools()).tools}
                assert said(await client.call_tool("echo", {"text": "hi"})) == "hi"
                assert (await client.read_resource("fake://item/a")).contents[0].text == "a"  # type: ignore[union-attr]
                assert (await client.get_prompt("greet", {"who": "Bo"})).messages
                await client.send_ping()
                for tool in ("nothing", "crash"):
                    with pytest.raises(MCPError):
                        await client.call_tool(tool, {})
                assert (await client.call_tool("fail", {})).is_error


@pytest.mark.covers("B-82")
@ERAS
async def test_its_user_is_asked_whatever_the_servers_era(era):
    async with between(era) as (_, sidecar), official(sidecar.url("up")) as client:
        for _ in range(3):
            assert said(await client.call_tool("ask_elicitation", {})) == "accept: Bo, asked: What is your name?"
            assert said(await client.call_tool("ask_sampling", {})) == "sampled: yes"
            assert said(await client.call_tool("ask_roots", {})) == "roots: ['file:///r']"


@pytest.mark.covers("B-82")
@ERAS
async def test_many_questions_at_once_find_their_calls(era):
    async with between(era) as (_, sidecar), official(sidecar.url("up")) as client:

        async def one(number: int) -> None:
            answer = await client.call_tool("ask_elicitation", {"text": f"n{number}"})
            assert said(answer) == f"accept: Bo, asked: n{number}"

        async with asyncio.TaskGroup() as calls:
            for number in range(20):
                calls.create_task(one(number))


@pytest.mark.covers("B-81")
@ERAS
async def test_progress_arrives_in_order_and_before_the_result(era):
    heard: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async with between(era) as (_, sidecar), official(sidecar.url("up")) as client:
        await client.call_tool("progress", {"steps": 20}, progress_callback=note)
        assert heard == list(range(1, 21))


@pytest.mark.covers("B-84")
@ERAS
async def test_a_call_given_up_is_cancelled_at_the_server(era):
    async with between(era) as (up, sidecar), official(sidecar.url("up")) as client:
        calling = asyncio.create_task(client.call_tool("hold", {"gate": "never"}))
        await up.until(lambda up: up.executions)
        calling.cancel()
        await asyncio.wait({calling})
        await up.until(lambda up: up.cancelled)
        await eventually(lambda: sidecar.calls(name="hold", code="CANCELLED"))
        assert said(await client.call_tool("echo", {"text": "hi"})) == "hi"


@pytest.mark.covers("B-87")
@ERAS
async def test_news_and_subscribed_resources_reach_it(era):
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: Any) -> None:
        if (method := getattr(message, "method", "")).startswith("notifications/"):
            heard.put_nowait(method)

    async with between(era) as (up, sidecar), official(sidecar.url("up"), message_handler=hear) as client:
        await up.until(lambda up: up.streams == 1)
        up.push("notifications/tools/list_changed")
        assert await heard.get() == "notifications/tools/list_changed"
        await client.subscribe_resource("fake://a")
        await up.until(lambda up: up.streams == 1)
        up.push("notifications/resources/updated", {"uri": "fake://a"})
        assert await heard.get() == "notifications/resources/updated"
        await client.unsubscribe_resource("fake://a")


@pytest.mark.covers("B-85")
@ERAS
async def test_it_fetches_the_answer_of_a_call_whose_connection_was_lost(era):
    async with between(era) as (up, sidecar), Relay(urlsplit(sidecar.url()).port or 0) as relay:
        async with official(f"http://127.0.0.1:{relay.port}/servers/up/mcp") as client:
            begun = asyncio.Event()

            async def note(progress: float, total: float | None, message: str | None) -> None:
                begun.set()

            async def call() -> Any:
                return await client.call_tool("hold", {"gate": "g", "text": "late"}, progress_callback=note)

            async with asyncio.TaskGroup() as tasks:
                calling = tasks.create_task(call())
                await begun.wait()
                relay.cut()
                up.release("g")
            assert said(calling.result()) == "late"
            assert len(up.executions) == 1
            assert [one for one in up.cancelled if one.tool] == []


@pytest.mark.covers("B-81")
async def test_a_call_that_fails_does_not_end_its_session():
    async with asyncio.timeout(SECONDS), FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        async with official(sidecar.url("up")) as client:
            up.next_reply("status_503")
            with pytest.raises(MCPError) as failed:
                await client.call_tool("echo", {"text": "hi"})
            assert failed.value.error.code == -31014
            assert said(await client.call_tool("echo", {"text": "hi"})) == "hi"


@contextlib.asynccontextmanager
async def program(url: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """The client on SDK 1.x, and what it says of each step as far as that was read."""
    process = await asyncio.create_subprocess_exec(
        sdk1_python(),
        *("-m", "tests.support.clients.sdk1_client", url),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process, {}
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_step(process: asyncio.subprocess.Process, steps: dict[str, Any], wanted: str) -> None:
    assert process.stdout is not None
    while wanted not in steps:
        line = await process.stdout.readline()
        assert line, f"it ended after {list(steps)}"
        found = json.loads(line)
        steps[found["step"]] = found["what"]


def go_on(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")


@pytest.mark.covers("B-80", "B-81", "B-82", "B-87")
@ERAS
async def test_a_client_on_the_sdk_before_is_served_in_full(era):
    sdk1_python()
    async with (
        asyncio.timeout(SECONDS),
        FakeServer(era) as up,
        Sidecar({"up": up.url}) as sidecar,
        program(sidecar.url("up")) as (process, steps),
    ):
        await until_step(process, steps, "listening")
        await up.until(lambda up: up.streams == 1)
        up.push("notifications/resources/updated", {"uri": "fake://a"})
        go_on(process)
        await until_step(process, steps, "waiting")
        up.next_reply("status_503", on="echo")
        go_on(process)
        await until_step(process, steps, "closed")
        assert await process.wait() == 0
        assert steps["initialize"] == ["2025-11-25", "fake"]
        assert "echo" in steps["tools"]
        assert steps["ask_elicitation"] == "accept: Bo, asked: What is your name?"
        assert steps["ask_sampling"] == "sampled: sampled"
        assert steps["ask_roots"] == "roots: ['file:///r']"
        assert steps["progress"] == [1, 2, 3]
        assert steps["logs"] == ["step 1", "step 2"]
        assert steps["heard"] == ["notifications/resources/updated"]
        assert steps["failures"] == ["error -32603", "error -31014", "error -32602"]
        assert steps["still there"] == "hi"
