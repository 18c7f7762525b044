"""What a server asks its client in the middle of a call: each question waits by itself. Knows no wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from mcp_sidecar.call import new_request_id
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.outbound.link import Sink, refusal
from mcp_sidecar.protocol.eras import INTERNAL_ERROR
from mcp_sidecar.protocol.jsonrpc import Request, Response, encode_error
from mcp_sidecar.protocol.session import Session
from mcp_sidecar.tasks import Job

_MOST = 64  # questions of one call that may wait at once
_LATE_SECONDS = 1.0  # for the answer to a server that had no need of it any more
_ABILITIES = (b'"elicitation"', b'"sampling"', b'"roots"')


class Questions:
    """The open questions of one exchange. Its stream is read on while they wait: there may be more than one.

    `answer` sends a response to the server and does not wait for that. `give` waits, and raises `SidecarError` when the
    server has not got it: the server waits for it, and would for ever, so the exchange is ended (see `cut_off`).
    """

    # Most exchanges are never asked anything.
    _exchange: asyncio.Task[object] | None = None
    _cancelling = 0
    _failure: SidecarError | None = None

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        session: Session,
        sink: Sink,
        answer: Callable[[Session, Request, Response], None],
        give: Callable[[Session, Request, Response], Awaitable[None]],
    ) -> None:
        self.sink = sink
        self._session = session
        self._tasks = tasks
        self._answer = answer
        self._give = give
        self._open: dict[Job[None], bool] = {}  # whether the client has answered

    def watch(self) -> None:
        """The current task is that of the exchange, and may be ended."""
        task = self._exchange = asyncio.current_task()
        self._cancelling = task.cancelling() if task is not None else 0

    def put(self, question: Request) -> None:
        """Have the client answer; never waits. A ping is ours to answer, also when the exchange ends with it."""
        if question.method == "ping":
            self._answer(self._session, question, reply_of_nobody(question))
        elif len(self._open) >= _MOST:
            self._answer(self._session, question, _no_answer(question, f"more than {_MOST} questions at once"))
        else:
            self._begin(self._ask(question), f"ask {question.method}", answered=False)

    def _begin(self, work: Coroutine[Any, Any, None], name: str, *, answered: bool) -> None:
        job = Job(self._tasks, work, name)
        self._open[job] = answered
        job.task.add_done_callback(lambda _: self._open.pop(job, None))

    def end(self) -> None:
        """The exchange is over: nobody waits for answers any more."""
        self._exchange = None
        for job, answered in tuple(self._open.items()):
            if answered:  # the server may be about to say that it has it
                asyncio.get_running_loop().call_later(_LATE_SECONDS, job.cancel)
            else:
                job.cancel()

    def cut_off(self) -> SidecarError | None:
        """Why the exchange was cancelled, if that was done here and by nobody else."""
        if self._failure is None or self._exchange is None:
            return None
        return self._failure if self._exchange.uncancel() <= self._cancelling else None

    async def _ask(self, question: Request) -> None:
        try:
            with self._session.asking(question, b'"%b"' % new_request_id().encode()) as asked:
                answer = await self.sink.ask(asked)
        except SidecarError as error:
            answer = _no_answer(question, error.message)
        self._begin(self._deliver(question, answer), f"answer {question.method}", answered=True)

    async def _deliver(self, question: Request, answer: Response) -> None:
        try:
            await self._give(self._session, question, answer)
        except SidecarError as failure:
            if self._exchange is not None and self._failure is None:
                self._failure = failure
                self._exchange.cancel()


def may_be_asked(capabilities: bytes) -> bool:
    """A client of these capabilities (JSON text) can be asked something."""
    return any(word in capabilities for word in _ABILITIES)


def reply_of_nobody(question: Request) -> Response:
    """The answer to a question that no client is to be asked."""
    return Response(question.id, result=b"{}") if question.method == "ping" else refusal(question)


def _no_answer(question: Request, why: str) -> Response:
    return Response(question.id, error=encode_error(INTERNAL_ERROR, f"{question.method} was not answered: {why}"))
