"""`BiDiStream`: one MCP conversation on one gRPC stream, many calls in flight, of either era. Knows no upstream.

A conversation that begins with `initialize` is one of the 2025 era: `inbound/session` says what its messages mean.
Three parties: a reader, one task a call, one writer. gRPC breaks when two tasks write to one stream, so every frame
goes through the send queue.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial

from mcp_sidecar.call import Call, Client
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.errors import (
    Cancelled,
    DeadlineExceeded,
    Execution,
    InvalidCall,
    Overloaded,
    SendQueueFull,
    SidecarError,
    UnsupportedVersion,
)
from mcp_sidecar.inbound.chain import let_through
from mcp_sidecar.inbound.grpc.messages import check_size, complete, execution_number, info
from mcp_sidecar.inbound.grpc.metadata import RpcCall
from mcp_sidecar.inbound.grpc.send_queue import SendQueue
from mcp_sidecar.inbound.grpc.writing import write
from mcp_sidecar.inbound.session import conversation as legacy
from mcp_sidecar.inbound.session.greeting import greet
from mcp_sidecar.inbound.session.session import Outlet, Session, taken_back
from mcp_sidecar.inbound.status import error_of, named
from mcp_sidecar.lifecycle import Phase
from mcp_sidecar.outbound.link import Ignore, refusal
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.jsonrpc import Message, Request, Response
from mcp_sidecar.protocol.session import shown
from mcp_sidecar.settings import GrpcSettings
from mcp_sidecar.tasks import Job, end, first_of
from mcp_sidecar.v1 import engine_pb2 as pb

Work = Callable[[Call], Awaitable[Response]]

_INITIALIZED = "notifications/initialized"
_MAX_IN_FLIGHT = 256
_LAST_FRAMES_SECONDS = 1.0
_SETTLING_SECONDS = 0.005
_UNFIT = re.compile(r'[^!-~]|"')


class Conversation:
    """One BiDiStream. `run_call` is the chain (log line, sample) around the work for each request in it, `refused`
    takes note of a message that there is no work for.
    """

    def __init__(
        self,
        call: RpcCall,
        settings: GrpcSettings,
        engine: Engine,
        run_call: Callable[[Work, Call], Awaitable[Response]],
        refused: Callable[[Call, SidecarError], None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._call = call
        self._settings = settings
        self._engine = engine
        self._lifecycle = engine.lifecycle
        self._run_call = run_call
        self._refused = refused
        self._tasks = tasks
        self._server = ""
        self._modern = False  # the client said so
        self._session: StreamSession | None = None
        self._sessions = legacy.Conversation(engine, tasks)
        self._queue: SendQueue[pb.ServerFrame] = SendQueue(settings.send_queue, settings.send_queue_bytes)
        self._running: dict[bytes, Job[None]] = {}
        self._leaving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._began = False

    async def run(self, frames: AsyncIterator[pb.ClientFrame]) -> None:
        """Until the client closes its side and every call has ended, or the sidecar drains.

        Raises `SendQueueFull` for a client that does not read, `InvalidCall` for frames that make no sense.
        """
        writer = Job(self._tasks, self._write(), "bidi writer")
        reader = Job(self._tasks, self._read(frames), "bidi reader")
        unsubscribe = self._lifecycle.subscribe(self._on_phase)
        self._on_phase(self._lifecycle.phase)
        try:
            await first_of(writer, reader, self._queue.full, self._leaving)
            if reader.done:
                reader.result()
            await self._finish(writer)
            if reader.done:
                await self._settle()
        finally:
            unsubscribe()
            # A write that nobody reads may not end with its task; gRPC ends it with the stream.
            await end([writer, reader, *self._running.values()], _LAST_FRAMES_SECONDS)
            if self._session is not None:
                self._session.close()
                self._engine.forget(self._session.client)

    async def _finish(self, writer: Job[None]) -> None:
        """Answer what is in flight, write what waits, unless the client no longer reads."""
        while self._running and not self._queue.full.done() and not writer.done:
            await first_of(writer, self._queue.full, *self._running.values())
        self._queue.end()
        await first_of(writer, self._queue.full)
        if self._queue.full.done():
            raise SendQueueFull(
                "the client does not read what it is sent (grpc.send_queue)", execution=self._call.execution
            )
        writer.result()

    async def _settle(self) -> None:
        """Frames also end when the RPC is cancelled, or too late: that follows at once, and ends this task."""
        await asyncio.sleep(_SETTLING_SECONDS)
        if self._call.deadline is not None and self._call.deadline.remaining() <= 0:
            raise DeadlineExceeded("the deadline passed", execution=self._call.execution)

    async def _write(self) -> None:
        while (frame := await self._queue.take()) is not None:
            await write(self._call.context, frame)

    async def _read(self, frames: AsyncIterator[pb.ClientFrame]) -> None:
        async for frame in frames:
            if frame.WhichOneof("frame") == "open":
                self._open(frame.open)
            else:
                self._message(frame.message_json)
            self._began = True

    def _open(self, message: pb.Open) -> None:
        if self._began:
            wrong = (("open", "must be the first frame"),)
            raise InvalidCall("`open` must be the first frame", violations=wrong, execution=self._call.execution)
        version = message.protocol_version or eras.LATEST_MODERN
        if eras.era_of(version) is None:
            raise UnsupportedVersion(version, eras.MODERN_VERSIONS + eras.LEGACY_VERSIONS)
        if message.server:
            self._engine.deadline(self._call, message.server)  # a wrong name is told now and not with the first message
        self._modern = message.protocol_version in eras.MODERN_VERSIONS
        self._server = message.server
        opened = pb.Opened(server=message.server, protocol_version=version)
        self._queue.put(pb.ServerFrame(opened=opened))

    def _message(self, data: bytes) -> None:
        """Begin or cancel a call. A message that cannot be read is answered, and the conversation goes on."""
        known = b""
        try:
            # Only a client that can be asked has something to answer.
            parse = jsonrpc.parse_request if self._session is None else jsonrpc.parse
            message = parse(check_size(data, self._settings.max_message))
            if isinstance(message, Response) or not message.id:
                self._hear(message)
                return
            if message.id in self._running:
                raise InvalidCall("the id is in use by a request in flight", violations=(("id", "is in use"),))
            known = message.id
            if len(self._running) >= _MAX_IN_FLIGHT:
                raise Overloaded(f"at most {_MAX_IN_FLIGHT} requests can be in flight on one stream")
        except SidecarError as error:
            read = error.message_id if isinstance(error, InvalidCall) else b""
            call = self._part(known or read)
            self._refused(call, error)
            self._queue.put(_failed(known or read, error, call))
            return
        # Whatever the stream ends with from here on: something in it may have run.
        self._call.execution = Execution.UNKNOWN
        job = self._running[message.id] = Job(self._tasks, self._answer(message), f"bidi {message.method}")
        job.task.add_done_callback(lambda _: self._running.pop(message.id, None))

    def _hear(self, message: Message) -> None:
        """What has no answer."""
        session = self._session
        if session is not None:
            self._sessions.hear(message, session)
            if isinstance(message, Request) and message.method == _INITIALIZED and session.offered:
                Job(self._tasks, self._sessions.news(session).attend(), "bidi news")
        elif isinstance(message, Request) and message.method == "notifications/cancelled":
            job = self._running.get(message.params.get("requestId", b""))
            if job is not None:
                job.cancel()

    async def _answer(self, request: Request) -> None:
        """One request to its one response; a cancelled one gets none (MCP, basic/patterns/cancellation)."""
        call = self._part(request.id)
        try:
            response = await self._run_call(partial(self._work, request), call)
            self._queue.put(pb.ServerFrame(message_json=response.encode(request.id), info=info(call)))
        except SendQueueFull:
            return  # `run` has seen it
        except Cancelled:
            return  # by the client itself
        except BaseException as error:  # noqa: BLE001  # the RPC boundary of this request
            let_through(error)
            self._try_put(_failed(request.id, named(error, call), call))

    def _part(self, message_id: bytes) -> Call:
        """The call that one message of the conversation is."""
        whole = self._call
        return Call(
            rpc=whole.rpc,
            request_id=f"{whole.request_id}/{_plain(message_id)}" if message_id else whole.request_id,
            peer=whole.peer,
            deadline=whole.deadline,
            trace=whole.trace,
            principal=whole.principal,
        )

    async def _work(self, request: Request, call: Call) -> Response:
        """The response, of the era that the conversation is of."""
        session = self._session
        if session is not None:
            call.method, call.client, call.server = request.method, session.client, session.server
            response = await self._sessions.take(call, request, session, _Frames(self._queue, session))
            assert response is not None  # noqa: S101  # it is a request
            return response
        if request.method == "initialize" and not self._modern:
            return await self._initialize(call, request)
        return await self._engine.run(call, complete(request), self._server, _Frames(self._queue))

    async def _initialize(self, call: Call, request: Request) -> Response:
        call.method = request.method
        welcome = await greet(self._engine, call, request, self._server)
        if isinstance(welcome, Response):
            return welcome
        if self._session is not None:
            self._engine.forget(welcome.client)
            raise InvalidCall("the conversation has been initialized")
        self._session = StreamSession(welcome.client, self._server, welcome.news, self._queue)
        return welcome.answer

    def _try_put(self, frame: pb.ServerFrame) -> None:
        try:
            self._queue.put(frame)
        except SendQueueFull:
            return

    def _on_phase(self, phase: Phase) -> None:
        if phase is not Phase.DRAINING or self._leaving.done():
            return
        left = self._lifecycle.drain_deadline.remaining() if self._lifecycle.drain_deadline else 0.0
        self._try_put(
            pb.ServerFrame(draining=pb.Draining(grace_ms=int(left * 1000), reason="the sidecar is shutting down"))
        )
        self._leaving.set_result(None)


class _Frames(Ignore):
    """What comes before the response of one call, into the queue that all calls share."""

    def __init__(self, queue: SendQueue[pb.ServerFrame], session: StreamSession | None = None) -> None:
        self._queue = queue
        self._session = session

    async def notify(self, method: str, message: bytes) -> None:  # noqa: ARG002 - every sink is told the method
        self._queue.put(pb.ServerFrame(message_json=message))

    async def ask(self, request: Request) -> Response:
        if self._session is None:
            return refusal(request)
        with self._session.asking() as (question_id, answer):
            self._queue.put(pb.ServerFrame(message_json=request.encode(question_id)))
            try:
                return await answer
            except asyncio.CancelledError:
                with suppress(SendQueueFull):
                    self._queue.put(pb.ServerFrame(message_json=taken_back(question_id)))
                raise


class StreamSession(Session):
    """A conversation of the 2025 era, which is told everything on its one stream."""

    __slots__ = ("_queue",)
    carried = True

    def __init__(self, client: Client, server: str, offered: tuple[str, ...], queue: SendQueue[pb.ServerFrame]) -> None:
        super().__init__(client, server, offered)
        client.session = shown(client.id.encode())  # it has no other id
        self._queue = queue

    @property
    def outlet(self) -> Outlet:
        return self

    async def send(self, message: bytes) -> None:
        self._queue.put(pb.ServerFrame(message_json=message))


def _plain(message_id: bytes) -> str:
    """A message id as part of a request id, which goes into logs and headers."""
    return _UNFIT.sub("_", message_id.decode().strip('"'))[:40]


def _failed(request_id: bytes, failure: SidecarError, call: Call) -> pb.ServerFrame:
    """A failure of one call as a JSON-RPC error: the status of the stream belongs to all of them."""
    error = error_of(failure, call.request_id)
    described = info(call)
    described.execution = execution_number(failure.execution)
    return pb.ServerFrame(message_json=Response(request_id, error=error).encode(request_id), info=described)
