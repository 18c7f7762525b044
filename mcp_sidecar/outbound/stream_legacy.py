"""Carries legacy conversations over one stream of messages each; knows neither what they mean nor what streams."""

from __future__ import annotations

from asyncio import TaskGroup, shield
from collections.abc import Awaitable, Callable
from functools import partial

from mcp_sidecar.call import Call
from mcp_sidecar.errors import UpstreamLost, UpstreamUnavailable
from mcp_sidecar.outbound.carrier import Receive, Stray
from mcp_sidecar.outbound.legacy_refusals import SessionLost
from mcp_sidecar.outbound.stream import Stream, Wire
from mcp_sidecar.protocol import batch
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.protocol.session import Session


class StreamCarrier:
    """A fresh wire for each session; see `Carrier`. `shared` is `Stream`'s."""

    stray: Stray

    def __init__(
        self,
        upstream: str,
        transport: str,
        open_wire: Callable[[], Awaitable[Wire]],
        tasks: TaskGroup,
        *,
        handshake_seconds: float,
        shared: bool = True,
    ) -> None:
        self.transport = transport
        self.handshake_seconds = handshake_seconds
        self.has_own_stream = False
        self._upstream = upstream
        self._open_wire = open_wire
        self._tasks = tasks
        self._shared = shared
        self._stream: Stream | None = None
        self._session: Session | None = None
        self._closed = False

    async def begin(
        self, session: Session, request_id: bytes, message: bytes, call: Call, receive: Receive
    ) -> Response:
        await self._end()
        wire = None if self._closed else await self._open_wire()
        if wire is None or self._closed:
            if wire is not None:
                await wire.close()
            raise UpstreamUnavailable(f"the connection to the MCP server {self._upstream!r} was closed")
        stray = partial(self.stray, session)
        stream = Stream(
            wire,
            self._upstream,
            self._tasks,
            progress_of,
            stray,
            shared=self._shared,
            batches=lambda: session.version == batch.VERSION,
        )
        self._stream, self._session = stream, session
        try:
            return await stream.exchange(request_id, message, call, receive, ours=True)
        except BaseException:
            await self._end()
            raise

    async def request(
        self, session: Session, request_id: bytes, message: bytes, call: Call, receive: Receive, *, ours: bool
    ) -> Response:
        return await self._standing(session).exchange(request_id, message, call, receive, ours=ours)

    async def tell(self, session: Session, message: bytes, call: Call) -> None:
        await self._standing(session).send(message, call)

    async def hear(self, session: Session, opened: Callable[[], None]) -> None:
        """What belongs to no exchange comes anyway: there is nothing to do but to notice the end."""
        stream = self._standing(session)
        opened()
        raise UpstreamLost((await shield(stream.lost)).message)

    def _standing(self, session: Session) -> Stream:
        """The stream of a session. Raises `SessionLost` when it is gone, and the session with it."""
        if self._stream is None or self._session is not session or self._stream.lost.done():
            raise SessionLost(f"the MCP server {self._upstream!r} went away, and its session with it")
        return self._stream

    def close_idle(self, unused_for: float) -> None:
        if self._stream is not None:
            self._stream.close_idle(unused_for)

    async def end(self, session: Session) -> None:
        """The wire is the session, and `begin` ends it."""

    async def close(self, session: Session | None) -> None:  # noqa: ARG002
        self._closed = True
        await self._end()

    async def _end(self) -> None:
        stream, self._stream, self._session = self._stream, None, None
        if stream is not None:
            await stream.close()


def progress_of(notification: Request) -> bytes:
    """The request that a notification names: only progress does, by its token, which is the id."""
    if notification.method != "notifications/progress":
        return b""
    return notification.params.get("progressToken", b"null")
