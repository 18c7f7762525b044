"""Lets visitors in to pages that are not MCP: authentication, the chain around what they do, failures as JSON.

Knows no page. Host and Origin were looked at before (`server.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mcp_sidecar.call import Call, new_request_id
from mcp_sidecar.errors import HttpRefused, SidecarError
from mcp_sidecar.inbound.chain import Chain, let_through
from mcp_sidecar.inbound.http.guard import JSON
from mcp_sidecar.inbound.http.modern import advice
from mcp_sidecar.inbound.http.opening import read_opening
from mcp_sidecar.inbound.status import status_of
from mcp_sidecar.wire.faults import Disconnected
from mcp_sidecar.wire.http_server import Head, Reply, Request, fields

Deed = Callable[[Call, Request, Reply], Awaitable[Any]]
_LINES = fields((b"content-type", JSON), (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Door:
    """One for all pages; `chain` is that of the MCP face beside them."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    async def admit(self, request: Request, reply: Reply, rpc: str) -> Call | None:
        """Who asks to see something; None when the answer was no, and was given. Only refusals are logged."""
        call = _call(request, rpc)
        try:
            _check_site(request.head)
            await self._chain.admit(call)
        except SidecarError as failure:
            self._chain.refused(call, failure)
            _refuse(reply, failure, call)
            return None
        return call

    def doing(self, deed: Deed, rpc: str) -> Callable[[Request, Reply], Awaitable[None]]:
        """A page that does something, with a log line and a sample; web pages of others may not use it."""

        async def run(call: Call, visit: tuple[Request, Reply]) -> None:
            _check_own(visit[0].head)
            await deed(call, *visit)

        around = self._chain.around(run, _recover)

        async def page(request: Request, reply: Reply) -> None:
            await around((request, reply), _call(request, rpc))

        return page


def _call(request: Request, rpc: str) -> Call:
    opening = read_opening(request.head)
    return Call(
        rpc=rpc,
        request_id=opening.request_id or new_request_id(),
        peer=request.peer,
        trace=opening.trace,
        authorization=opening.authorization,
    )


def _check_site(head: Head) -> None:
    """Raise `HttpRefused` for what a browser asks for another page, which sends no Origin with every GET."""
    if head.headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):
        raise HttpRefused(403, "only the sidecar's own page may ask this")


def _check_own(head: Head) -> None:
    """Raise `HttpRefused` for what a form or a script of another site could send.

    An Origin on loopback passes the guard, and any program of this machine may serve a page there; a browser sends JSON
    to another origin only after it has asked, and nobody here says yes.
    """
    _check_site(head)
    origin, host = head.headers.get(b"origin"), head.headers.get(b"host") or b""
    if origin is not None and urlsplit(origin.decode("latin-1")).netloc != host.decode("latin-1"):
        raise HttpRefused(403, "only the sidecar's own page may do this")
    if (head.headers.get(b"content-type") or b"").split(b";", 1)[0].strip().lower() != JSON:
        raise HttpRefused(415, "the body must be application/json")


async def _recover(call: Call, visit: tuple[Request, Reply], failure: SidecarError, error: BaseException) -> None:
    reply = visit[1]
    if isinstance(error, Disconnected):
        return  # nobody is left to be told
    let_through(error)
    if not reply.started:
        _refuse(reply, failure, call)
    elif not reply.ended:
        reply.end()


def _refuse(reply: Reply, failure: SidecarError, call: Call) -> None:
    status = status_of(failure).http
    said = {"error": failure.message, "reason": failure.reason, "request_id": call.request_id}
    reply.send(status, _LINES + advice(failure), msgspec.json.encode(said))
