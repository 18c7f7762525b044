"""A client of the matrix on the official Python SDK 2.x: `python -m … TARGET MODE WORDS` (see `checks.main`).

MODE is `modern` or `legacy`, with `grpc-` in front to reach `ADDRESS/SERVER` of a sidecar over gRPC. A TARGET that is
a JSON list is a server's command.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError

from tests.matrix.clients import checks

_MODES = {"modern": "2026-07-28", "legacy": "legacy"}


class Python2:
    """The checks' words in those of the SDK."""

    def __init__(self, client: Client, heard: list[Callable[[str], None]]) -> None:
        self._client = client
        self._heard = heard
        self.revision = client.protocol_version

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def call(self, tool: str, arguments: checks.Words, heard: checks.Progress | None = None) -> tuple[str, bool]:
        async def note(progress: float, total: float | None, message: str | None) -> None:
            if heard:
                heard(progress)

        result = await self._client.call_tool(tool, arguments, progress_callback=note if heard else None)
        return "".join(getattr(block, "text", "") for block in result.content), bool(result.is_error)

    async def read(self, uri: str) -> int | None:
        try:
            await self._client.read_resource(uri)
        except MCPError as error:
            return error.error.code
        return None

    async def give_up(self, call: asyncio.Task[Any]) -> None:
        call.cancel()
        await asyncio.wait({call})

    @contextlib.asynccontextmanager
    async def subscribed(self, uri: str, updated: Callable[[str], None]) -> AsyncIterator[None]:
        if self.revision != _MODES["modern"]:
            self._heard.append(updated)
            await self._client.session.subscribe_resource(uri)
            yield
            await self._client.session.unsubscribe_resource(uri)
            return
        async with self._client.listen(resource_subscriptions=[uri]) as subscription:

            async def listen() -> None:
                async for event in subscription:
                    if isinstance(event, ResourceUpdated):
                        updated(event.uri)

            listening = asyncio.create_task(listen(), name="listening")
            yield
            listening.cancel()
            await asyncio.wait({listening})


async def _elicited(context: Any, params: Any) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content=checks.ANSWER)


async def _sampled(context: Any, params: Any) -> types.CreateMessageResult:
    said = types.TextContent(type="text", text=checks.RHYME)
    return types.CreateMessageResult(role="assistant", content=said, model="a table")


@contextlib.asynccontextmanager
async def connected(target: str, mode: str) -> AsyncIterator[Python2]:
    heard: list[Callable[[str], None]] = []

    async def note(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            for tell in heard:
                tell(str(message.params.uri))

    async with Client(
        _transport(target, mode),
        mode=_MODES[mode.removeprefix("grpc-")],
        cache=None,
        elicitation_callback=_elicited,
        sampling_callback=_sampled,
        message_handler=note,
    ) as client:
        yield Python2(client, heard)


def _transport(target: str, mode: str) -> Any:
    if mode.startswith("grpc-"):
        from mcp_sidecar.sdk import sidecar_transport

        address, server = target.rsplit("/", 1)
        return sidecar_transport(address, server=server)
    if target.startswith("["):
        program, *arguments = json.loads(target)
        return StdioServerParameters(command=program, args=arguments, env=dict(os.environ))
    return target


if __name__ == "__main__":
    checks.main(connected)
