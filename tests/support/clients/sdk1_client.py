"""A client on the official Python SDK 1.x: `python -m … URL`. Does what 2025-era clients do, a line of JSON for each.

Runs in an environment of its own, in which that version is installed. After `listening` and after `waiting` it waits
for a line on its input, so that the test can do its part.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import McpError


def say(step: str, what: Any) -> None:
    print(json.dumps({"step": step, "what": what}), flush=True)


async def told() -> str:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def elicit(_: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"name": f"Bo, asked: {params.message}"})


async def sample(_: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    content = types.TextContent(type="text", text="sampled")
    return types.CreateMessageResult(role="assistant", content=content, model="m")


async def roots(_: Any) -> types.ListRootsResult:
    return types.ListRootsResult(roots=[types.Root(uri="file:///r")])


async def run(url: str) -> None:
    heard: list[Any] = []
    logged: list[Any] = []
    news = asyncio.Event()

    async def hear(message: Any) -> None:
        if isinstance(message, types.ServerNotification) and not isinstance(
            message.root, types.ProgressNotification | types.LoggingMessageNotification
        ):
            heard.append(message.root.method)
            news.set()

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        logged.append(params.data)

    async with (
        streamable_http_client(url) as (read, write, _),
        ClientSession(
            read,
            write,
            elicitation_callback=elicit,
            sampling_callback=sample,
            list_roots_callback=roots,
            message_handler=hear,
            logging_callback=log,
        ) as session,
    ):

        async def call(tool: str, **arguments: Any) -> str:
            try:
                result = await session.call_tool(tool, arguments)
            except McpError as error:
                return f"error {error.error.code}"
            return result.content[0].text

        greeting = await session.initialize()
        say("initialize", [greeting.protocolVersion, greeting.serverInfo.name])
        say("tools", [tool.name for tool in (await session.list_tools()).tools])
        for tool in ("ask_elicitation", "ask_sampling", "ask_roots"):
            say(tool, await call(tool))
        steps: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            steps.append(progress)

        await session.call_tool("progress", {"steps": 3}, progress_callback=note)
        say("progress", steps)
        await session.set_logging_level("info")
        await call("progress", steps=2)
        say("logs", logged)
        await session.subscribe_resource("fake://a")
        say("listening", None)
        await told()
        await asyncio.wait_for(news.wait(), 10)
        say("heard", heard)
        say("waiting", None)
        await told()
        say("failures", [await call("crash"), await call("echo", text="fails"), await call("nothing")])
        say("still there", await call("echo", text="hi"))
    say("closed", None)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
