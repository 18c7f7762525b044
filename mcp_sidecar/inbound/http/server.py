"""The HTTP face: paths to servers, the chain around each call, versions to eras. Knows no upstream."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_sidecar.call import Call, request_id, trace
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.inbound.chain import Next, Step, compose
from mcp_sidecar.inbound.http.guard import Guard, Refused
from mcp_sidecar.inbound.http.modern import TEXT, Answer, ModernFace
from mcp_sidecar.inbound.http.silence import Silence
from mcp_sidecar.inbound.status import named
from mcp_sidecar.wire.faults import Disconnected
from mcp_sidecar.wire.http_server import Reply, Request

KEEP_ALIVE_SECONDS = 15.0
_SERVER_PATH = re.compile(r"/servers/([a-z0-9-]{1,63})/mcp\Z")
Page = Callable[[Request, Reply], Awaitable[None]]


@dataclass(slots=True)
class _Posted:
    request: Request
    answer: Answer


class HttpFace:
    """What a listener calls for each request. `pages` are the paths that are not MCP, by path.

    `keep_alive` is in seconds: how long a stream may be silent.
    """

    def __init__(
        self,
        engine: Engine,
        guard: Guard,
        steps: Sequence[Step],
        pages: Mapping[str, Page] | None = None,
        *,
        keep_alive: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self._modern = ModernFace(engine)
        self._guard = guard
        self._pages = pages or {}
        self._silence = Silence(keep_alive)
        self._run = compose((recovery, *steps), self._exchange)

    async def __call__(self, request: Request, reply: Reply) -> None:
        """Answer one request, whatever it is."""
        if (page := self._pages.get(request.path)) is not None:
            await self._show(page, request, reply)
            return
        call = _read_call(request)
        await self._run(call, _Posted(request, Answer(reply, call, self._silence)))

    async def _show(self, page: Page, request: Request, reply: Reply) -> None:
        try:
            self._guard.check_source(request.headers)
        except Refused as refusal:
            reply.send(refusal.status, (TEXT,), f"{refusal.message}\n".encode())
            return
        await page(request, reply)

    async def _exchange(self, call: Call, posted: _Posted) -> None:
        request, answer = posted.request, posted.answer
        self._guard.check_source(request.headers)
        server = _server(request.path)
        self._guard.check_types(request)
        response = await self._modern.handle(call, request, server, answer)
        if response is None:
            answer.accept()
        else:
            await answer.finish(response)


def _server(path: str) -> str:
    """The upstream a path names; empty for the path of all of them."""
    if path == "/mcp":
        return ""
    match = _SERVER_PATH.match(path)
    if match is None:
        raise Refused(404, "there are /mcp and /servers/NAME/mcp here")
    return match[1]


async def recovery(call: Call, posted: _Posted, inner: Next) -> Any:
    """Turn whatever comes out of the chain into an answer. Nothing but our own words reaches the client."""
    try:
        await inner(call, posted)
    except Disconnected:
        return  # nobody is left to be told
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        await _tell(call, posted, named(error, call))
    except Exception as error:  # noqa: BLE001  # the call's boundary
        await _tell(call, posted, named(error, call))
    finally:
        posted.answer.stop()


async def _tell(call: Call, posted: _Posted, failure: SidecarError) -> None:
    try:
        await posted.answer.fail(failure, call)
    except Disconnected:
        return


def _read_call(request: Request) -> Call:
    get = request.headers.get
    return Call(
        rpc="",
        request_id=request_id(_text(get(b"x-request-id"))),
        peer=request.peer,
        trace=trace(_text(get(b"traceparent")), _text(get(b"tracestate")), _text(get(b"baggage"))),
        authorization=_text(get(b"authorization")),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
