"""Tools that ask the client, and a resource that tells when it changed, in the words of the Python SDK 2.x.

A question is a parameter: the SDK asks for it in the way of the era that the client speaks.
"""

# Without postponed annotations: the SDK looks for the resolvers in them.
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, ElicitationResult, Resolve, Sample
from mcp_types import (
    CreateMessageResult,
    EmptyResult,
    SamplingMessage,
    SubscribeRequestParams,
    TextContent,
    UnsubscribeRequestParams,
)

from tests.support.servers.sdk_tools import COUNTER, Name, count, told

_SUBSCRIBED: set[tuple[str, Any]] = set()
"""Resources, each with a 2025-era connection to tell. Others listen, which is the SDK's business."""


def _whose_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


def _rhyme_on(word: str) -> Sample:
    said = TextContent(type="text", text=f"What rhymes with {word}?")
    return Sample([SamplingMessage(role="user", content=said)], max_tokens=10)


async def ask_name(answer: Annotated[ElicitationResult[Name], Resolve(_whose_name)]) -> str:
    """Ask the user for a name."""
    return told(answer)


async def ask_rhyme(word: str, rhyme: Annotated[CreateMessageResult, Resolve(_rhyme_on)]) -> str:
    """Ask the client's model for a rhyme."""
    return f"{word} rhymes with {getattr(rhyme.content, 'text', None)}"


async def count_up(ctx: Context[Any, Any]) -> str:
    """Change the counter, and tell who subscribed to it."""
    number = count.up()
    await ctx.notify_resource_updated(COUNTER)
    for uri, connection in list(_SUBSCRIBED):
        await connection.notify("notifications/resources/updated", {"uri": uri})
    return number


async def _subscribe(ctx: Any, params: SubscribeRequestParams) -> EmptyResult:
    _SUBSCRIBED.add((str(params.uri), ctx.session._connection))
    return EmptyResult()


async def _unsubscribe(ctx: Any, params: UnsubscribeRequestParams) -> EmptyResult:
    _SUBSCRIBED.discard((str(params.uri), ctx.session._connection))
    return EmptyResult()


def furnish_dialogue(server: Any) -> None:
    """Register everything with an `MCPServer`."""
    for tool in (ask_name, ask_rhyme, count_up):
        server.tool()(tool)
    low = server._lowlevel_server
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, _subscribe)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, _unsubscribe)
