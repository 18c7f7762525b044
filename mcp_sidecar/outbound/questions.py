"""What a server asks its client in the middle of a call: each question waits by itself. Knows no wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mcp_sidecar.call import new_request_id
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.outbound.link import Sink, refusal
from mcp_sidecar.protocol.eras import INTERNAL_ERROR
from mcp_sidecar.protocol.jsonrpc import Request, Response, encode_error
from mcp_sidecar.protocol.session import Session
from mcp_sidecar.tasks import Job

_MOST = 64  # questions of one call that may wait at once
_ABILITIES = (b'"elicitation"', b'"sampling"', b'"roots"')


class Questions:
    """The open questions of one exchange. Its stream is read on while they wait: there may be more than one.

    `answer` sends a response to the server and does not wait for that.
    """

    def __init__(
        self, tasks: asyncio.TaskGroup, session: Session, sink: Sink, answer: Callable[[Request, Response], None]
    ) -> None:
        self.sink = sink
        self._session = session
        self._tasks = tasks
        self._answer = answer
        self._open: set[Job[None]] = set()

    def put(self, question: Request) -> None:
        """Have the client answer; never waits. A ping is ours to answer, also when the exchange ends with it."""
        if question.method == "ping":
            self._answer(question, reply_of_nobody(question))
            return
        if len(self._open) >= _MOST:
            self._answer(question, _no_answer(question, f"more than {_MOST} questions at once"))
            return
        job = Job(self._tasks, self._ask(question), f"ask {question.method}")
        self._open.add(job)
        job.task.add_done_callback(lambda _: self._open.discard(job))

    def end(self) -> None:
        """The exchange is over: nobody waits for answers any more."""
        for job in tuple(self._open):
            job.cancel()

    async def _ask(self, question: Request) -> None:
        try:
            with self._session.asking(question, b'"%b"' % new_request_id().encode()) as asked:
                answer = await self.sink.ask(asked)
        except SidecarError as error:
            answer = _no_answer(question, error.message)
        self._answer(question, answer)


def may_be_asked(capabilities: bytes) -> bool:
    """A client of these capabilities (JSON text) can be asked something."""
    return any(word in capabilities for word in _ABILITIES)


def reply_of_nobody(question: Request) -> Response:
    """The answer to a question that no client is to be asked."""
    return Response(question.id, result=b"{}") if question.method == "ping" else refusal(question)


def _no_answer(question: Request, why: str) -> Response:
    return Response(question.id, error=encode_error(INTERNAL_ERROR, f"{question.method} was not answered: {why}"))
