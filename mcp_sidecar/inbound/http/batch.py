"""Runs several messages that came in one POST. Knows no wire and no upstream."""

from __future__ import annotations

import asyncio

from mcp_sidecar.call import Call
from mcp_sidecar.errors import Cancelled, InvalidCall, SidecarError
from mcp_sidecar.inbound.chain import Chain, let_through
from mcp_sidecar.inbound.http.post import Post
from mcp_sidecar.inbound.http.sessions import HttpSession
from mcp_sidecar.inbound.session.conversation import Conversation
from mcp_sidecar.inbound.status import error_of
from mcp_sidecar.protocol import batch
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.tasks import Job

_MOST = 64


class _Member:
    """One request of a batch."""

    def __init__(self, request: Request, post: Post, session: HttpSession) -> None:
        self.request = request
        self.session = session
        self._post = post

    async def notify(self, method: str, message: bytes) -> None:
        await self._post.notify(method, message)

    async def ask(self, request: Request) -> Response:
        return await self._post.ask(request)


class Batches:
    """Runs batches: each request in them is a call of its own, with its line in the log."""

    def __init__(self, chain: Chain, conversation: Conversation, tasks: asyncio.TaskGroup) -> None:
        self._conversation = conversation
        self._tasks = tasks
        self._run = chain.around(self._handle, _recover)

    async def run(self, call: Call, post: Post, session: HttpSession) -> None:
        """Answer a whole batch. Raises `InvalidCall` and its kin for one that cannot be taken."""
        if session.client.version != batch.VERSION:
            raise InvalidCall("a JSON-RPC batch is accepted in sessions of 2025-03-26 only")
        jobs = []
        messages = batch.split(post.request.body, _MOST)
        post.silence.add(post)
        for message in messages:
            if isinstance(message, Request) and message.id:
                jobs.append(Job(self._tasks, self._one(call, message, post, session), "request of a batch"))
            else:
                await self._conversation.take(call, message, session, post)
        if jobs:
            await _all(jobs)
            await post.end_batch()

    async def _one(self, call: Call, request: Request, post: Post, session: HttpSession) -> None:
        own = Call("", call.request_id, call.peer, call.deadline, call.trace, call.principal, client=session.client)
        own.method = request.method
        response = await self._run(_Member(request, post, session), own)
        if response is not None:
            await post.take(response)

    async def _handle(self, call: Call, member: _Member) -> Response | None:
        return await self._conversation.take(call, member.request, member.session, member)


async def _all(jobs: list[Job[None]]) -> None:
    """Wait for every one; none is left when this is cancelled."""
    try:
        await asyncio.wait({job.task for job in jobs})
    except asyncio.CancelledError:
        for job in jobs:
            job.cancel()
        raise
    for job in jobs:
        job.result()


async def _recover(call: Call, member: _Member, failure: SidecarError, error: BaseException) -> Response | None:
    """A failure as the response of one request, None for one that was cancelled; the others go on."""
    let_through(error)
    if isinstance(failure, Cancelled):
        return None
    return Response(member.request.id, error=error_of(failure, call.request_id))
