"""The official SDK over gRPC: agents that know nothing of the sidecar but one line."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import ElicitResult

from mcp_sidecar.sdk import sidecar_transport
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

MODES = pytest.mark.parametrize("mode", ["2026-07-28", "auto", "legacy"])
ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])


def text_of(result: Any) -> str:
    text: str = result.content[0].text
    return text


@pytest.mark.covers("B-76")
@MODES
@ERAS
async def test_tools_are_listed_and_called_with_progress(mode: Any, era: Any):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(20):
        async with Client(sidecar_transport(sidecar.address("grpc"), server="up"), mode=mode) as client:
            assert "echo" in {tool.name for tool in (await client.list_tools()).tools}
            told: list[float] = []

            async def tell(progress: float, total: float | None, message: str | None) -> None:
                assert (total, message) == (3, f"step {progress:g} of 3")
                told.append(progress)

            result = await client.call_tool("progress", {"steps": 3}, progress_callback=tell)
            assert text_of(result) == "3 steps"
            assert told == [1, 2, 3]
            with pytest.raises(MCPError):
                await client.call_tool("crash", {})
        assert up.violations == []


@pytest.mark.covers("B-76")
@MODES
@ERAS
async def test_the_user_is_asked_through_grpc(mode: Any, era: Any):
    async def ask(context: Any, params: Any) -> ElicitResult:
        assert params.message == "What is your name?"
        return ElicitResult(action="accept", content={"name": "Bo"})

    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(20):
        transport = sidecar_transport(sidecar.address("grpc"), server="up")
        async with Client(transport, mode=mode, elicitation_callback=ask) as client:
            assert text_of(await client.call_tool("ask_elicitation", {})) == "accept: Bo"
        assert len(up.executions) >= 1


@pytest.mark.covers("B-76")
@MODES
@ERAS
async def test_a_cancelled_call_is_cancelled_at_the_server(mode: Any, era: Any):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(20):
        async with Client(sidecar_transport(sidecar.address("grpc"), server="up"), mode=mode) as client:
            call = asyncio.create_task(client.call_tool("hold", {"gate": "g"}))
            await up.until(lambda _: bool(up.executions))
            call.cancel()
            await up.until(lambda _: len(up.cancelled) == 1)
            await asyncio.wait({call})
            assert text_of(await client.call_tool("echo", {"text": "still here"})) == "still here"


@pytest.mark.covers("B-76")
@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
@ERAS
async def test_a_resource_that_changes_is_told_through_grpc(mode: Any, era: Any):
    told = asyncio.Queue[str]()

    async def hear(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            told.put_nowait(str(message.params.uri))

    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(20):
        transport = sidecar_transport(sidecar.address("grpc"), server="up")
        async with Client(transport, mode=mode, message_handler=hear) as client:
            if mode == "legacy":
                with pytest.warns(MCPDeprecationWarning):
                    await client.subscribe_resource("fake://greeting")
                up.push("notifications/resources/updated", {"uri": "fake://greeting"})
                assert await told.get() == "fake://greeting"
            else:
                async with client.listen(resource_subscriptions=["fake://greeting"]) as changes:
                    up.push("notifications/resources/updated", {"uri": "fake://greeting"})
                    assert (await anext(aiter(changes))).uri == "fake://greeting"  # type: ignore[union-attr]


@pytest.mark.covers("B-76")
async def test_a_sidecar_that_is_not_there_fails_the_client():
    async with asyncio.timeout(20):
        with pytest.raises(BaseException) as failed:  # noqa: PT011  # whatever shape the SDK gives it
            async with Client(sidecar_transport("127.0.0.1:1", server="up")):
                pass
        assert not isinstance(failed.value, TimeoutError)
