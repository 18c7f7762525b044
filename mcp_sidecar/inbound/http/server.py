"""The HTTP face: paths to servers, the chain around each call, versions to eras. Knows no upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from mcp_sidecar.call import ANONYMOUS, Call, certified, new_request_id
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.errors import HttpRefused, Overloaded, SidecarError
from mcp_sidecar.inbound.chain import Chain, let_through
from mcp_sidecar.inbound.http import modern
from mcp_sidecar.inbound.http.guard import Guard, named_server
from mcp_sidecar.inbound.http.legacy import LegacyFace, is_legacy
from mcp_sidecar.inbound.http.modern import Post
from mcp_sidecar.inbound.http.opening import Opening, read_opening
from mcp_sidecar.inbound.http.silence import Silence
from mcp_sidecar.protocol.jsonrpc import Response
from mcp_sidecar.settings import HttpSettings
from mcp_sidecar.wire.faults import Disconnected
from mcp_sidecar.wire.http_server import Reply, Request, fields

KEEP_ALIVE_SECONDS = 15.0
Page = Callable[[Request, Reply], Awaitable[None]]


class HttpFace:
    """What a listener calls for each request. `pages` are those that are not MCP, by path; `/api/…/` is all below it.

    `keep_alive` is in seconds: how long a stream may be silent. `tasks` is the parent of what outlasts a connection.
    """

    def __init__(
        self,
        engine: Engine,
        guard: Guard,
        chain: Chain,
        settings: HttpSettings,
        tasks: asyncio.TaskGroup,
        pages: Mapping[str, Page] | None = None,
        *,
        keep_alive: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self._engine = engine
        self._guard = guard
        self._pages = pages or {}
        self._silence = Silence(keep_alive)
        self._chain = chain
        self._legacy = LegacyFace(engine, guard, chain, settings, tasks, self._silence)
        self._run = chain.around(self._exchange, recover, conclude=modern.conclude)

    def __call__(self, request: Request, reply: Reply) -> Awaitable[object]:
        """Answer one request, whatever it is."""
        opening = request.head.conclusion
        if not isinstance(opening, Opening):
            if (page := self._page(request.head.path)) is not None:
                return self._show(page, request, reply)
            opening = request.head.conclusion = read_opening(request.head)
            opening.legacy = is_legacy(request.head)
        if opening.legacy:
            return self._legacy(request, reply, opening)
        call = Call(
            rpc="",
            request_id=opening.request_id or new_request_id(),
            peer=request.peer,
            trace=opening.trace,
            principal=certified(request.certified) if request.certified else ANONYMOUS,
            authorization=opening.authorization,
        )
        return self._run(Post(request, opening, reply, call.request_id, self._silence), call)

    @property
    def sessions(self) -> int:
        """How many 2025-era clients there are."""
        return self._legacy.sessions

    async def close(self) -> None:
        """End their sessions."""
        await self._legacy.close()

    def refused(self, peer: str, status: int, why: str) -> bytes:
        """What a listener calls for a request that cannot even be read; logs it. The field lines of its answer."""
        call = Call(rpc="", request_id=new_request_id(), peer=peer)
        failure = Overloaded(why, retry_after=1.0) if status == 503 else HttpRefused(status, why)
        self._chain.refused(call, failure)
        told = fields((b"x-request-id", call.request_id.encode()), (b"mcp-sidecar-execution", b"none"))
        return told + modern.advice(failure)

    def _page(self, path: str) -> Page | None:
        """The page of a path: its own, or the one of every path below a folder of `/api/`."""
        page = self._pages.get(path)
        if page is None and path.startswith("/api/"):
            page = self._pages.get(path[: path.find("/", 5) + 1])
        return page

    async def _show(self, page: Page, request: Request, reply: Reply) -> None:
        try:
            self._guard.check_page(request.head.headers)
        except HttpRefused as refusal:
            modern.refuse(reply, refusal, self.refused(request.peer, refusal.status, refusal.message))
            return
        await page(request, reply)

    def _exchange(self, call: Call, post: Post) -> Awaitable[Response | None]:
        """The response to come, None for a notification; raises what can be refused at once."""
        server = post.opening.server
        if server is None:
            server = self._check(post.request, post.opening)
        message = modern.read(post, call)
        return self._engine.run(call, message, server, post) if message.id else _nothing()

    def _check(self, request: Request, opening: Opening) -> str:
        """May this head come in at all? Returns the server it names; raises `HttpRefused`."""
        self._guard.check_source(request.head.headers)
        server = named_server(request.head.path)
        self._guard.check_types(request.head)
        opening.server = server
        return server


async def _nothing() -> None:
    """A notification has no response, and this revision has none on HTTP that a server would have to hear."""


async def recover(call: Call, post: Post, failure: SidecarError, error: BaseException) -> None:
    """Turn whatever came out of a handler into an answer. Nothing but our own words reaches the client."""
    post.stop()
    if isinstance(error, Disconnected):
        return  # nobody is left to be told
    let_through(error)
    try:
        await post.fail(failure, call)
    except Disconnected:
        return
