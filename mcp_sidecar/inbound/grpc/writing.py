"""Writing to a stream of grpc.aio, whose words for an RPC that is over are those of an error. Knows no message."""

from __future__ import annotations

from typing import Any

import grpc.aio

from mcp_sidecar.wire.faults import Disconnected

# What was begun has failed, and not its beginning: two writes at once would be a bug of ours. The words are
# those of grpc 1.85: with others, clients that go while they do not read count as bugs (tests/inbound/grpc/test_chain).
_OVER = 'Failed "execute_batch"'


async def write(context: grpc.aio.ServicerContext[Any, Any], message: object) -> None:
    """Send one message. Raises `Disconnected` when the RPC has ended meanwhile: cancelled, too late, or cut off.

    While the client reads, its end cancels the handler; a write that waits for it fails before that.
    """
    try:
        await context.write(message)
    except grpc.aio.InternalError as error:
        if not str(error).startswith(_OVER):
            raise
        raise Disconnected("the client is gone") from error
