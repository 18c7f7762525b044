"""A modern client on a legacy server: the call is held open while the client answers what the server asks.

The client's own call ends with `input_required` (MCP 2026-07-28, basic/patterns/mrtr); its retry, named by a sealed
`requestState`, meets the exchange where it stands. Knows no era and no wire.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Coroutine, Iterable

from mcp_sidecar.call import Call, Deadline
from mcp_sidecar.engine import inputs, legs
from mcp_sidecar.engine.seal import Seal, looks_sealed
from mcp_sidecar.errors import Execution, Overloaded
from mcp_sidecar.outbound.link import Sink, refusal
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.settings import HoldSettings
from mcp_sidecar.tasks import Job, first_of

# Servers that ask several things at once send them one after the other.
_GATHER_SECONDS = 0.02
_PROGRESS = "notifications/progress"
_TOKEN = "progressToken"  # noqa: S105  # a name
Begin = Callable[[Sink], Coroutine[None, None, Response]]


class Hold:
    """The exchanges that wait for a client, each until it comes back or `settings.expire` is over."""

    def __init__(self, settings: HoldSettings, tasks: asyncio.TaskGroup) -> None:
        self._settings = settings
        self._tasks = tasks
        self._seal = Seal()
        self._parked: dict[str, _Held] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def knows(self, request: Request, *, modern: bool) -> bool:
        """The request goes on with something that was held: here, or by a sidecar that is no more.

        A `modern` server, or one that may be, may be a sidecar itself, and then the state is for it.
        """
        state = request.text(inputs.STATE)
        return state in self._parked or (not modern and looks_sealed(state))

    def whose(self, call: Call, request: Request, servers: Iterable[str]) -> str:
        """The server that the request's state is about, also if that is used up or expired; empty if it is not ours."""
        state = request.text(inputs.STATE) or ""
        held = self._parked.get(state)
        if held is not None:
            return held.call.server
        if not looks_sealed(state):
            return ""
        return next((one for one in servers if self._seal.holds(state, _subject(call, request, one))), "")

    async def begin(
        self, call: Call, request: Request, exchange: Begin, sink: Sink, own: Call, until: Deadline
    ) -> Response:
        """Run an exchange whose server may ask. `own` is the call of the exchange, which may outlive `call`.

        Raises what the exchange does, or `TimeoutError` at `until`.
        """
        held = _Held(own, _subject(call, request))
        held.job = Job(self._tasks, exchange(held), f"held {request.method}")
        return await self._leg(held, call, request, sink, until)

    async def resume(self, call: Call, request: Request, sink: Sink, until: Deadline) -> Response:
        """Hand over the answers and go on. Raises `InvalidCall`, for a state that is not good (any more) above all."""
        state = request.text(inputs.STATE) or ""
        answers = inputs.answers_in(request)
        held = self._parked.get(state)
        if held is None or held.subject != _subject(call, request) or not self._seal.holds(state, held.subject):
            raise inputs.unknown_state()
        held.answer(answers, request.meta.get(eras.META_CAPABILITIES, b"{}"))
        del self._parked[state]
        held.unpark()
        with legs.resumed(call, held.call):
            return await self._leg(held, call, request, sink, until)

    async def _leg(self, held: _Held, call: Call, request: Request, sink: Sink, until: Deadline) -> Response:
        """From the client's coming to its going: with the final response, or with questions."""
        held.attach(sink, request.meta.get(_TOKEN))
        try:
            async with asyncio.timeout(until.remaining()):
                await held.turn()
        except BaseException:
            held.job.cancel()  # nobody waits for it any more
            raise
        finally:
            held.detach()
            _copy_facts(held.call, call)
        if not held.job.done:
            return Response(request.id, result=self._park(held))
        response = held.job.result()
        response.id = request.id
        return response

    def _park(self, held: _Held) -> bytes:
        if len(self._parked) >= self._settings.most:
            held.job.cancel()
            raise Overloaded(
                f"{len(self._parked)} calls wait for their clients, the most allowed (hold.most)",
                execution=Execution.UNKNOWN,
                retry_after=1.0,
            )
        state = self._seal.make(held.subject)
        self._parked[state] = held
        held.park(asyncio.get_running_loop().call_later(self._settings.expire, self._expire, state))
        return inputs.input_required(held.questions, state)

    def _expire(self, state: str) -> None:
        """The client never came back: the call is cancelled at the server and freed."""
        held = self._parked.pop(state, None)
        if held is not None:
            held.job.cancel()


def _subject(call: Call, request: Request, server: str = "") -> bytes:
    """What a state is good for: this principal, this server and this request, but for its id and its answers."""
    digest = hashlib.sha256()
    plain = inputs.without_answers(request)
    parts = (call.principal.subject, server or call.server, request.method)
    for part in (
        *(part.encode() for part in parts),
        *(b for pair in sorted(plain.params.items()) for b in _bytes(pair)),
    ):
        digest.update(b"%d:%b" % (len(part), part))
    return digest.digest()


def _bytes(pair: tuple[str, bytes]) -> tuple[bytes, bytes]:
    return pair[0].encode(), pair[1]


def _copy_facts(own: Call, call: Call) -> None:
    call.execution = own.execution
    call.connection_id = own.connection_id
    call.protocol_version = own.protocol_version
    call.fault = own.fault


class _Held:
    """One exchange and its open questions, by the keys that the client is told; the sink of the exchange."""

    job: Job[Response]

    def __init__(self, call: Call, subject: bytes) -> None:
        self.call = call
        self.subject = subject
        self.questions: dict[str, Request] = {}
        self._answers: dict[str, asyncio.Future[Response]] = {}
        self._keys = itertools.count(1)
        self._asked: asyncio.Future[None] | None = None  # somebody waits for a question
        self._sink: Sink | None = None
        self._token: bytes | None = None
        self._expiry: asyncio.TimerHandle | None = None

    async def turn(self) -> None:
        """Until the exchange has ended or waits for the client."""
        if not self.questions:
            self._asked = asyncio.get_running_loop().create_future()
            await first_of(self.job, self._asked)
            self._asked = None
        if not self.job.done:
            await asyncio.wait({self.job.task}, timeout=_GATHER_SECONDS)

    def attach(self, sink: Sink, token: bytes | None) -> None:
        """A client listens; it knows the progress by `token`."""
        self._sink, self._token = sink, token

    def detach(self) -> None:
        self._sink = None

    def park(self, expiry: asyncio.TimerHandle) -> None:
        self._expiry = expiry

    def unpark(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()

    def answer(self, answers: dict[str, bytes], capabilities: bytes) -> None:
        """Pass answers on, of a client that declares `capabilities` (JSON text) from here on.

        What was not asked is ignored, what was not answered stays open while it is declared. Raises `InvalidCall`, and
        leaves everything as it was, for capabilities that cannot be read.
        """
        refused = [
            (key, refusal(question))
            for key, question in self.questions.items()
            if key not in answers and not inputs.able(capabilities, question)
        ]
        self.call.declared = capabilities
        for key, answer in [*refused, *((key, Response(b"", result=result)) for key, result in answers.items())]:
            waiting = self._answers.get(key)
            if waiting is not None and not waiting.done():
                del self.questions[key]
                waiting.set_result(answer)

    async def notify(self, method: str, message: bytes) -> None:
        """Progress and logs reach the client that listens at the moment; between two legs nobody does."""
        if self._sink is None:
            return
        if method == _PROGRESS:
            if self._token is None:
                return
            message = jsonrpc.parse_request(message).with_params({_TOKEN: self._token}).encode(b"")
        await self._sink.notify(method, message)

    async def ask(self, request: Request) -> Response:
        """Wait for the client's answer, for as long as the call is held."""
        key = f"q{next(self._keys)}"
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._answers[key] = answer
        self.questions[key] = request
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)
        try:
            return await answer
        finally:
            del self._answers[key]
            self.questions.pop(key, None)
