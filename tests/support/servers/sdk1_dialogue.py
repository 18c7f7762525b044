"""Tools that ask the client, and a resource that tells when it changed, in the words of the Python SDK 1.x."""

from __future__ import annotations

from typing import Any

import anyio
from mcp import types
from mcp.server.fastmcp import Context
from pydantic import AnyUrl

from tests.support.servers.sdk_tools import Name, count, told

_SUBSCRIBED: set[tuple[AnyUrl, Any]] = set()
"""Resources, each with a session to tell."""


async def ask_name(ctx: Context) -> str:  # type: ignore[type-arg,unused-ignore]
    """Ask the user for a name."""
    return told(await ctx.elicit("What is your name?", Name))


async def ask_rhyme(word: str, ctx: Context) -> str:  # type: ignore[type-arg,unused-ignore]
    """Ask the client's model for a rhyme."""
    said = types.TextContent(type="text", text=f"What rhymes with {word}?")
    rhyme = await ctx.session.create_message(
        [types.SamplingMessage(role="user", content=said)], max_tokens=10, related_request_id=ctx.request_id
    )
    return f"{word} rhymes with {getattr(rhyme.content, 'text', None)}"


async def count_up() -> str:
    """Change the counter, and tell who subscribed to it."""
    number = count.up()
    for uri, session in list(_SUBSCRIBED):
        try:
            await session.send_resource_updated(uri)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            _SUBSCRIBED.discard((uri, session))
    return number


def furnish_dialogue(server: Any) -> None:
    """Register everything with a `FastMCP`."""
    for tool in (ask_name, ask_rhyme, count_up):
        server.tool()(tool)
    low = server._mcp_server

    @low.subscribe_resource()
    async def subscribe(uri: AnyUrl) -> None:
        _SUBSCRIBED.add((uri, low.request_context.session))

    @low.unsubscribe_resource()
    async def unsubscribe(uri: AnyUrl) -> None:
        _SUBSCRIBED.discard((uri, low.request_context.session))

    declared = low.get_capabilities

    def get_capabilities(*arguments: Any) -> types.ServerCapabilities:
        # The SDK never says so by itself, whatever is registered.
        capabilities = declared(*arguments)
        capabilities.resources.subscribe = True
        return capabilities

    low.get_capabilities = get_capabilities
