"""Serves `grpc.health.v1` from the health board; knows no lifecycle, no upstream and no credentials.

The stock servicer does not fit: it holds a lock while it writes (one watcher that does not read then blocks every
status change) and leaves Watch streams open while the server drains, which holds `server.stop` for its whole grace.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import grpc.aio
from grpc_health.v1 import health_pb2

from mcp_sidecar.errors import NotFound, Overloaded, SendQueueFull
from mcp_sidecar.inbound.grpc.writing import write
from mcp_sidecar.inbound.health import HealthBoard

_MAX_WATCHERS = 128
# Flow control lets a stream hold thousands of these messages: a write that waits has a reader that is gone.
_WRITE_SECONDS = 5.0

_Response: TypeAlias = health_pb2.HealthCheckResponse
_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class HealthService:
    """Check, List and Watch over one board. Not more than `max_watchers` streams at once.

    Its failures are our errors: it stands behind the chain, like every other service.
    No subclass of the generated servicer: what that adds, answers to RPCs not written here, runs in a thread pool.
    """

    def __init__(
        self, board: HealthBoard, *, max_watchers: int = _MAX_WATCHERS, write_seconds: float = _WRITE_SECONDS
    ) -> None:
        self._board = board
        self._max_watchers = max_watchers
        self._write_seconds = write_seconds
        self._watchers = 0

    async def Check(  # noqa: N802 - as the protocol has it, like the other two
        self, request: health_pb2.HealthCheckRequest, _context: _Context
    ) -> _Response:
        """The status of one service. Raises `NotFound` when there is none of that name."""
        status = self._board.status(request.service)
        if status is None:
            raise NotFound("there is no such service; List names them all")
        return _Response(status=_wire_status(status))

    async def List(  # noqa: N802
        self, _request: health_pb2.HealthListRequest, _context: _Context
    ) -> health_pb2.HealthListResponse:
        """Every service with its status."""
        statuses = self._board.statuses().items()
        return health_pb2.HealthListResponse(statuses={n: _Response(status=_wire_status(up)) for n, up in statuses})

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: _Context) -> None:  # noqa: N802
        """The status now and after every change, until the sidecar drains or the client leaves.

        A service that does not exist is watched as SERVICE_UNKNOWN: it may come. Raises `Overloaded` when there are too
        many watchers, `SendQueueFull` for one that does not read.
        """
        # With the headers out, ending works even while a write waits for a reader (else the client gets no status).
        await context.send_initial_metadata(())
        if self._watchers >= self._max_watchers:
            raise Overloaded("there are too many health watchers: use Check")
        self._watchers += 1
        try:
            await self._follow(request.service, context)
        except TimeoutError as error:
            raise SendQueueFull("the health stream is not being read") from error
        finally:
            self._watchers -= 1

    async def _follow(self, service: str, context: _Context) -> None:
        sent = None
        seen = self._board.version
        while True:
            # Read and compare: a wake-up means "something changed", and need not be about this service.
            status = _wire_status(self._board.status(service))
            if status != sent:
                async with asyncio.timeout(self._write_seconds):
                    await write(context, _Response(status=status))
                sent = status
            if self._board.ending:
                return
            seen = await self._board.changed(seen)


def _wire_status(up: bool | None) -> health_pb2.HealthCheckResponse.ServingStatus:
    if up is None:
        return _Response.SERVICE_UNKNOWN
    return _Response.SERVING if up else _Response.NOT_SERVING
