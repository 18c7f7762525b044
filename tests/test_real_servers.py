"""The whole way with nothing of ours at either end: official client, sidecar process, servers nobody here wrote."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc.aio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CreateMessageResult, ElicitResult, TextContent

from mcp_sidecar.client import SidecarClient
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.sdk import sidecar_transport
from mcp_sidecar.v1 import engine_pb2, engine_pb2_grpc
from tests.inbound.http.posts import META, message
from tests.inbound.waiting import eventually
from tests.support.real_servers import RealServer
from tests.support.sidecar_process import SidecarProcess, sidecar_process

SDKS = pytest.mark.parametrize("server", ["sdk2", "sdk1"])
ALL = pytest.mark.parametrize("server", ["sdk2", "sdk1", "everything"])
SECONDS = 20.0
Question = Callable[[Client], Awaitable[Any]]


@pytest.fixture(scope="module")
def urls(sdk2_server: RealServer, sdk1_server: RealServer, everything_server: RealServer) -> dict[str, str]:
    return {"sdk2": sdk2_server.url, "sdk1": sdk1_server.url, "everything": everything_server.url}


@pytest.fixture(scope="module")
def sidecar(urls: dict[str, str]) -> Iterator[SidecarProcess]:
    with sidecar_process(urls) as serving:
        yield serving


def modern(url: str, **more: Any) -> Client:
    return Client(url, mode="2026-07-28", cache=None, **more)


# What 2026-07-28 adds to every answer, or says differently on purpose.
_NEW = {"resultType", "ttlMs", "cacheScope", "_meta", "nextCursor", "execution", "$schema"}


def _plain(value: Any) -> Any:
    """The answer without what belongs to a revision."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in _NEW}
    return [_plain(item) for item in value] if isinstance(value, list) else value


async def answer_of(client: Client, question: Question) -> Any:
    try:
        result = await question(client)
    except MCPError as error:
        # Resource not found is -32002 in 2025 and has no code of its own since.
        return {-32002: -32602}.get(error.error.code, error.error.code), error.error.message
    return _plain(json.loads(result.model_dump_json(by_alias=True, exclude_none=True)))


QUESTIONS: dict[str, list[Question]] = {
    "sdk": [
        lambda client: client.list_tools(),
        lambda client: client.list_resources(),
        lambda client: client.list_resource_templates(),
        lambda client: client.list_prompts(),
        lambda client: client.call_tool("echo", {"text": 'ü "\\ \n 日本 \x00'}),
        lambda client: client.call_tool("add", {"a": 2**60, "b": -1}),
        lambda client: client.call_tool("forecast", {"city": "Oslo"}),
        lambda client: client.call_tool("fail", {"text": "on purpose"}),
        lambda client: client.call_tool("add", {"a": "no number", "b": 1}),
        lambda client: client.call_tool("nothing", {}),
        lambda client: client.call_tool("big", {"size": 200_000}),
        lambda client: client.read_resource("demo://greeting"),
        lambda client: client.read_resource("demo://item/a%20b"),
        lambda client: client.read_resource("demo://nothing"),
        lambda client: client.get_prompt("greet", {"who": "Bo"}),
        lambda client: client.get_prompt("nothing", {}),
    ],
    "everything": [
        lambda client: client.list_tools(),
        lambda client: client.list_resources(),
        lambda client: client.list_resource_templates(),
        lambda client: client.list_prompts(),
        lambda client: client.call_tool("echo", {"message": "hi"}),
        lambda client: client.call_tool("get-sum", {"a": 1.5, "b": 2}),
        lambda client: client.call_tool("get-structured-content", {"location": "New York"}),
        lambda client: client.call_tool("get-tiny-image", {}),
        lambda client: client.call_tool("get-sum", {"a": "x"}),
        lambda client: client.call_tool("nothing", {}),
        lambda client: client.read_resource("demo://resource/nothing/1"),
        lambda client: client.get_prompt("simple-prompt", {}),
        lambda client: client.get_prompt("nothing", {}),
    ],
}


@pytest.mark.covers("B-01", "B-10", "B-17", "B-40")
@ALL
async def test_every_answer_is_the_one_the_server_itself_would_give(sidecar, urls, server):
    async with (
        asyncio.timeout(SECONDS),
        Client(urls[server], cache=None) as direct,
        modern(sidecar.url(server)) as ours,
    ):
        for number, question in enumerate(QUESTIONS["everything" if server == "everything" else "sdk"]):
            expected, found = await answer_of(direct, question), await answer_of(ours, question)
            assert found == expected, f"question {number}"


@pytest.mark.covers("B-04", "B-14", "B-40")
@ALL
async def test_progress_arrives_in_order_and_before_the_result(sidecar, server):
    arguments: dict[str, Any] = {"steps": 20}
    tool, last = "progress", 20.0
    if server == "everything":
        tool, arguments, last = ("trigger-long-running-operation", {"duration": 0.2, "steps": 4}, 4.0)
    heard: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert total == last
        heard.append(progress)

    async with asyncio.timeout(SECONDS), modern(sidecar.url(server)) as client:
        result = await client.call_tool(tool, arguments, progress_callback=note)
        assert not result.is_error
        assert heard == sorted(set(heard))
        assert heard[-1] == last
        assert len(heard) == last


@pytest.mark.covers("B-04")
@SDKS
async def test_logs_come_when_they_are_asked_for_and_only_then(sidecar, server):
    async def said_to(level: Any) -> list[Any]:
        heard: list[Any] = []

        async def note(params: Any) -> None:
            heard.append(params.data)

        async with modern(sidecar.url(server), log_level=level, logging_callback=note) as client:
            await client.call_tool("chatty", {"lines": 3})
        return heard

    async with asyncio.timeout(SECONDS):
        assert await said_to("debug") == ["line 1", "line 2", "line 3"]
        assert await said_to("error") == []
        assert await said_to(None) == []


@pytest.mark.covers("B-04", "B-05")
@ALL
async def test_over_grpc_a_call_streams_its_notifications_and_then_one_response(sidecar, server):
    arguments: dict[str, Any] = {"steps": 5}
    name, told = "progress", "notifications/progress"
    if server == "everything":
        name, arguments = "trigger-long-running-operation", {"duration": 0.1, "steps": 5}
    # Without `_meta`, so that the sidecar asks for progress and logs by itself.
    body = json.dumps(
        {"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    ).encode()
    async with asyncio.timeout(SECONDS), grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
        stream = engine_pb2_grpc.MCPEngineStub(channel).CallStream(
            engine_pb2.CallRequest(server=server, message_json=body)
        )
        events = [event async for event in stream]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["notification_json"] * 5 + ["response"]
    assert [json.loads(event.notification_json)["method"] for event in events[:-1]] == [told] * 5
    response = events[-1].response
    assert json.loads(response.message_json)["id"] == "x"
    assert response.info.protocol_version == ("2026-07-28" if server == "sdk2" else "2025-11-25")


@pytest.mark.covers("B-04")
@SDKS
async def test_over_grpc_a_call_streams_its_logs_too(sidecar, server):
    heard: list[dict[str, Any]] = []
    async with asyncio.timeout(SECONDS), SidecarClient(sidecar.bound["grpc"]) as client:
        meta = {"io.modelcontextprotocol/logLevel": "info"}
        await client.call_tool(server, "chatty", {"lines": 2}, meta=meta, on_notification=heard.append)
    assert [one["params"]["data"] for one in heard] == ["line 1", "line 2"]


@pytest.mark.covers("B-01", "B-10")
@ALL
async def test_the_python_client_lists_calls_and_reads(sidecar, server):
    echo = {"message": "hi"} if server == "everything" else {"text": "hi"}
    async with asyncio.timeout(SECONDS), SidecarClient(sidecar.bound["grpc"]) as client:
        assert "echo" in [tool["name"] for tool in await client.list_tools(server)]
        assert "hi" in (await client.call_tool(server, "echo", echo)).text
        prompts = await client.request(server, "prompts/list")
        assert prompts["prompts"]
        listed = await client.request(server, "resources/list")
        read = await client.request(server, "resources/read", {"uri": listed["resources"][0]["uri"]})
        assert read["contents"]
        with pytest.raises(SidecarError) as refused:
            await client.request(server, "prompts/get", {"name": "nothing"})
        assert refused.value.execution.value == "done"
    # A client that has what it wants has not given up.
    await eventually(lambda: len(sidecar.calls(server=server, method="prompts/list", code="OK")) >= 1)
    assert sidecar.calls(server=server, method="prompts/list", code="CANCELLED") == []


@pytest.mark.covers("B-20")
@SDKS
@pytest.mark.parametrize("face", ["http", "grpc"])
async def test_a_call_given_up_is_cancelled_at_the_server(sidecar, server, face):
    text = f"{server}-{face}"

    async def given_up(client: SidecarClient) -> str:
        return (await client.call_tool(server, "given_up")).text

    async with asyncio.timeout(SECONDS), SidecarClient(sidecar.bound["grpc"]) as client:
        begun = asyncio.Event()

        async def call() -> None:
            arguments = {"seconds": 30, "text": text}
            if face == "grpc":
                await client.call_tool(server, "slow", arguments, on_notification=lambda _: begun.set())
                return

            async def note(progress: float, total: float | None, message: str | None) -> None:
                begun.set()

            async with modern(sidecar.url(server)) as official:
                await official.call_tool("slow", arguments, progress_callback=note)

        calling = asyncio.create_task(call())
        await begun.wait()
        calling.cancel()
        await asyncio.wait({calling})
        while text not in await given_up(client):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.005)
    await eventually(lambda: sidecar.calls(name="slow", code="CANCELLED", server=server))


@pytest.mark.covers("B-12")
async def test_an_answer_whose_stream_breaks_off_is_fetched_from_where_it_was(sidecar):
    async with asyncio.timeout(SECONDS), modern(sidecar.url("sdk1")) as client:
        result = await client.call_tool("reconnect", {})
        assert result.content[0].text == "reconnected"  # type: ignore[union-attr]


@pytest.mark.covers("B-14")
@SDKS
async def test_a_hundred_callers_at_once_get_what_is_theirs(sidecar, server):
    body = message(params={"name": "echo", "arguments": {"text": "TEXT"}, "_meta": META})

    async with asyncio.timeout(SECONDS), grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
        engine = engine_pb2_grpc.MCPEngineStub(channel)

        async def one(number: int) -> None:
            text = f"text-{number}-"
            request = engine_pb2.CallRequest(server=server, message_json=body.replace(b"TEXT", text.encode()))
            answer = json.loads((await engine.Call(request)).message_json)
            assert answer["id"] == 1
            assert answer["result"]["content"][0]["text"] == text

        async with asyncio.TaskGroup() as callers:
            for number in range(100):
                callers.create_task(one(number))


@pytest.mark.covers("B-10", "B-54")
async def test_the_sidecar_knows_what_each_server_speaks(sidecar):
    async with asyncio.timeout(SECONDS), SidecarClient(sidecar.bound["grpc"]) as client:
        for server in ("sdk2", "sdk1", "everything"):
            await client.list_tools(server)
        eras = {one.server: (one.era, one.protocol_version) for one in await client.list_connections()}
    assert eras["sdk2"] == ("modern", "2026-07-28")
    assert eras["sdk1"] == ("legacy", "2025-11-25")
    assert eras["everything"] == ("legacy", "2025-11-25")


@pytest.mark.covers("B-70", "B-76")
@pytest.mark.parametrize("face", ["http", "grpc"])
@pytest.mark.parametrize(
    ("server", "tool", "arguments", "said"),
    [
        ("sdk1", "ask_name", {}, "accept: Bo"),
        ("everything", "trigger-elicitation-request", {}, "User provided"),
        ("everything", "trigger-sampling-request", {"prompt": "hi", "maxTokens": 9}, "as you like"),
    ],
)
async def test_servers_of_2025_ask_clients_of_2026(
    sidecar: SidecarProcess, face: str, server: str, tool: str, arguments: dict[str, Any], said: str
):
    async def ask(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Bo"})

    async def sample(context: Any, params: Any) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=TextContent(type="text", text="as you like"), model="m")

    target: Any = sidecar.url(server) if face == "http" else sidecar_transport(sidecar.bound["grpc"], server=server)
    async with asyncio.timeout(SECONDS):
        async with Client(target, mode="2026-07-28", elicitation_callback=ask, sampling_callback=sample) as client:
            result = await client.call_tool(tool, arguments)
            assert said in result.content[0].text  # type: ignore[union-attr]
