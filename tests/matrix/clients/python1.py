"""A client of the matrix on the official Python SDK 1.x, which speaks 2025 only: `python -m … TARGET MODE WORDS`.

MODE is `legacy`. A TARGET that is a JSON list is a server's command. Runs in an environment of its own, in which that
version is installed; type checkers see the other one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

from mcp import ClientSession, McpError, types
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl

from tests.matrix.clients import checks


class Python1:
    """The checks' words in those of the SDK."""

    def __init__(self, session: ClientSession, heard: list[Callable[[str], None]], revision: str) -> None:
        self._session = session
        self._heard = heard
        self.revision = revision

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self._session.list_tools()).tools]

    async def call(self, tool: str, arguments: checks.Words, heard: checks.Progress | None = None) -> tuple[str, bool]:
        async def note(progress: float, total: float | None, message: str | None) -> None:
            if heard:
                heard(progress)

        result = await self._session.call_tool(tool, arguments, progress_callback=note if heard else None)
        return "".join(getattr(block, "text", "") for block in result.content), result.isError

    async def read(self, uri: str) -> int | None:
        try:
            await self._session.read_resource(AnyUrl(uri))
        except McpError as error:
            return error.error.code
        return None

    async def give_up(self, call: asyncio.Task[Any]) -> None:
        # This SDK tells the server nothing by itself: whoever gives up names the request, here the latest one.
        latest = self._session._request_id - 1
        call.cancel()
        await asyncio.wait({call})
        given_up = types.CancelledNotification(params=types.CancelledNotificationParams(requestId=latest))
        await self._session.send_notification(types.ClientNotification(given_up))

    @contextlib.asynccontextmanager
    async def subscribed(self, uri: str, updated: Callable[[str], None]) -> AsyncIterator[None]:
        self._heard.append(updated)
        await self._session.subscribe_resource(AnyUrl(uri))
        yield
        await self._session.unsubscribe_resource(AnyUrl(uri))


async def _elicited(context: Any, params: Any) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content=checks.ANSWER)


async def _sampled(context: Any, params: Any) -> types.CreateMessageResult:
    said = types.TextContent(type="text", text=checks.RHYME)
    return types.CreateMessageResult(role="assistant", content=said, model="a table")


@contextlib.asynccontextmanager
async def connected(target: str, mode: str) -> AsyncIterator[Python1]:
    heard: list[Callable[[str], None]] = []

    async def note(message: Any) -> None:
        notification = getattr(message, "root", None)
        if isinstance(notification, types.ResourceUpdatedNotification):
            for tell in heard:
                tell(str(notification.params.uri))

    async with _streams(target) as (reading, writing, *_):
        async with ClientSession(
            reading, writing, elicitation_callback=_elicited, sampling_callback=_sampled, message_handler=note
        ) as session:
            greeted = await session.initialize()
            yield Python1(session, heard, str(greeted.protocolVersion))


def _streams(target: str) -> Any:
    if target.startswith("["):
        program, *arguments = json.loads(target)
        return stdio_client(StdioServerParameters(command=program, args=arguments, env=dict(os.environ)))
    return streamable_http_client(target)


if __name__ == "__main__":
    checks.main(connected)
