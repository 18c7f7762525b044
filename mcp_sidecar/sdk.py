"""A transport for the official MCP Python SDK over the sidecar's gRPC API; knows no MCP method (extra `sdk`).

async with mcp.Client(sidecar_transport("127.0.0.1:15051", server="weather")) as client: ...
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

try:
    import anyio
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter
except ImportError as missing:
    raise ImportError('the official MCP SDK is needed: pip install "mcp-sidecar[sdk]"') from missing

from mcp_sidecar.client import DEFAULT_ADDRESS, Conversation, SidecarClient
from mcp_sidecar.errors import SidecarError

# What is still in flight when the agent leaves may be cancelled in good order; then the stream is.
_GOODBYE_SECONDS = 0.5

Incoming = SessionMessage | Exception
Streams = tuple[MemoryObjectReceiveStream[Incoming], MemoryObjectSendStream[SessionMessage]]


def sidecar_transport(
    address: str = DEFAULT_ADDRESS, *, server: str = "", token: str | None = None
) -> AbstractAsyncContextManager[Streams]:
    """A `mcp.client.Transport`: one conversation with `server` (empty: the only one, or all as one) on one stream.

    `address` is `host:port` or `unix:///path`; `token` is sent as a bearer token. Either era may be spoken: the client
    chooses with its `mode`. When the stream breaks, what is in flight fails with the SDK's own "connection closed",
    after a `SidecarError` that says why.
    """
    return _transport(address, server, token)


@asynccontextmanager
async def _transport(address: str, server: str, token: str | None) -> AsyncIterator[Streams]:
    arriving, incoming = anyio.create_memory_object_stream[Incoming](0)
    outgoing, leaving = anyio.create_memory_object_stream[SessionMessage](0)
    with arriving, incoming, outgoing, leaving:
        async with (
            SidecarClient(address, token=token) as sidecar,
            sidecar.conversation(server) as talk,
            anyio.create_task_group() as group,
        ):
            ended = anyio.Event()
            group.start_soon(_receive, talk, arriving, ended)
            group.start_soon(_send, talk, leaving)
            try:
                yield incoming, outgoing
            finally:
                with anyio.move_on_after(_GOODBYE_SECONDS, shield=True), contextlib.suppress(SidecarError):
                    await talk.finish()
                    await ended.wait()
                group.cancel_scope.cancel()


async def _receive(talk: Conversation, arriving: MemoryObjectSendStream[Incoming], ended: anyio.Event) -> None:
    """What the sidecar says, until the stream ends; its end is the end of the SDK's stream too."""
    try:
        # The SDK closes its end first when it leaves: nobody misses what still comes.
        with arriving, contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            try:
                async for message in talk:
                    await arriving.send(SessionMessage(jsonrpc_message_adapter.validate_python(message, by_name=False)))
            except SidecarError as error:
                await arriving.send(error)
    finally:
        ended.set()


async def _send(talk: Conversation, leaving: MemoryObjectReceiveStream[SessionMessage]) -> None:
    """What the SDK says. A stream that broke is told by `_receive`, which reads its status."""
    with leaving:
        async for outgoing in leaving:
            message = outgoing.message.model_dump(by_alias=True, mode="json", exclude_unset=True)
            try:
                await talk.send(message)
            except SidecarError:
                return
