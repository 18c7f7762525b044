"""What several servers say by themselves in one subscription, whoever of them is slow, dead or restarted. No wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from mcp_sidecar.call import Call
from mcp_sidecar.engine import task_ids
from mcp_sidecar.engine.catalogue import Runs
from mcp_sidecar.engine.listen import ACKNOWLEDGED, LISTS, Filter, read_filter, shown
from mcp_sidecar.errors import Execution, InvalidCall, SidecarError
from mcp_sidecar.outbound.backoff import Backoff
from mcp_sidecar.outbound.link import Sink
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.protocol.subscriptions import graceful_end

_ACKNOWLEDGE_SECONDS = 1.0
_PAUSE = Backoff(first=0.5, longest=30.0)
_BETWEEN_SECONDS = 0.25  # so often at most a caller is told that servers came or went
_LASTING_SECONDS = 30.0  # a subscription that stood so long has not failed in a row with the one before

# Errors that the same request will get again.
_FINAL = frozenset((eras.METHOD_NOT_FOUND, eras.INVALID_PARAMS, eras.INVALID_REQUEST, eras.MISSING_CAPABILITY))


Wanted = Callable[[], Awaitable[Mapping[str, Filter]]]
"""What is wanted of each server there is."""


class FanIn:
    """One caller's subscription. Servers may come and go meanwhile, also while there is none, unless `settled`."""

    def __init__(self, engine: Runs, call: Call, request: Request, sink: Sink, *, settled: bool = True) -> None:
        self._engine = engine
        self._call = call
        self._request = request
        self._sink = sink
        self._others_may_come = not settled
        self._granted = Filter()
        self._hearing: dict[str, asyncio.Task[None]] = {}
        self._waiting: set[str] = set()
        self._all_heard = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self._renewed = asyncio.Event()
        self._writing = asyncio.Lock()  # sinks take one message at a time
        self._broken = False
        """The caller cannot be told any more."""

    def renew(self) -> None:
        """There are other servers."""
        self._renewed.set()

    async def run(self, wanted: Wanted) -> Response:
        """Hear each server for what is wanted of it. The acknowledgement has what they grant within a second."""
        try:
            async with asyncio.TaskGroup() as group:
                self._hear_these(group, await wanted())
                following = group.create_task(self._follow(group, wanted), name="follow the servers")
                await self._acknowledge()
                await self._ended()
                following.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        self._call.execution = Execution.DONE
        return graceful_end(self._request.id)

    def _hear_these(self, group: asyncio.TaskGroup, wanted: Mapping[str, Filter]) -> None:
        """Begin with those that came, end with those that went."""
        for server in self._hearing.keys() - wanted.keys():
            self._hearing.pop(server).cancel()
        for server in wanted.keys() - self._hearing.keys():
            if not self._acknowledged.is_set():
                self._waiting.add(server)
            hearing = self._hear(server, wanted[server])
            self._hearing[server] = group.create_task(hearing, name=f"hear {server} for {self._call.request_id}")
        if not self._waiting:
            self._all_heard.set()

    async def _follow(self, group: asyncio.TaskGroup, wanted: Wanted) -> None:
        """Hear who there is, and say that the lists have changed with it."""
        while True:
            await self._renewed.wait()
            self._renewed.clear()
            self._hear_these(group, await wanted())
            await self._acknowledged.wait()
            await self._tell_of_lists(self._granted)
            await asyncio.sleep(_BETWEEN_SECONDS)

    async def _ended(self) -> None:
        """Until nobody can be heard any more, which is for ever where others may come."""
        if self._others_may_come:
            await asyncio.get_running_loop().create_future()
        while self._hearing:
            await asyncio.wait(self._hearing.values())
            self._hearing = {server: task for server, task in self._hearing.items() if not task.done()}

    async def _acknowledge(self) -> None:
        try:
            async with asyncio.timeout(_ACKNOWLEDGE_SECONDS):
                await self._all_heard.wait()
        except TimeoutError:
            pass  # who is late is heard all the same once it speaks
        if self._others_may_come:  # that servers come and go is told by the sidecar
            asked = read_filter(self._request)
            for flag in LISTS.values():
                setattr(self._granted, flag, getattr(asked, flag))
        meta = {eras.META_SUBSCRIPTION: self._request.id}
        said = Request(ACKNOWLEDGED, params={"notifications": shown(self._granted)}, meta=meta)
        await self._sink.notify(ACKNOWLEDGED, said.encode(b""))
        self._acknowledged.set()

    async def _hear(self, server: str, wanted: Filter) -> None:
        """Subscribe again whenever it ends, until there is nobody to hear for."""
        failures = 0
        loop = asyncio.get_running_loop()
        request = self._request.with_params({"notifications": shown(wanted)})
        try:
            while True:
                began = loop.time()
                if not await self._hear_once(_Ear(self, server, self._sink), request, server):
                    return
                failures = 1 if loop.time() - began > _LASTING_SECONDS else failures + 1
                await asyncio.sleep(_PAUSE.delay(failures))
        finally:
            self._settled(server)

    async def _hear_once(self, ear: _Ear, request: Request, server: str) -> bool:
        """True when it is worth trying again."""
        part = self._call.ask()
        try:
            response = await self._engine.run(part, request, server, ear)
        except InvalidCall:
            return False
        except SidecarError:
            if self._broken:
                raise
            return True
        said = None if response.error is None else jsonrpc.read_error(response)
        return said is None or said[0] not in _FINAL

    async def granted(self, server: str, filter_: Filter) -> None:
        """A server has said what it will tell of."""
        if self._acknowledged.is_set():
            # It was not heard for a while: what it said meanwhile is lost, and the caller better looks.
            await self._tell_of_lists(filter_)
            return
        for flag in LISTS.values():
            if getattr(filter_, flag):
                setattr(self._granted, flag, True)
        mine = self._granted.resourceSubscriptions
        mine += [uri for uri in filter_.resourceSubscriptions if uri not in mine]
        self._granted.taskIds += [task_ids.shown(server, task_id) for task_id in filter_.taskIds]
        self._settled(server)

    async def _tell_of_lists(self, those: Filter) -> None:
        """These lists may have changed."""
        for name, flag in LISTS.items():
            if getattr(those, flag):
                await self.tell(f"notifications/{name}/list_changed")

    async def tell(self, method: str, message: bytes = b"") -> None:
        """Pass a notification on, behind the acknowledgement; without a `message` one of ours."""
        if not message:
            message = Request(method, meta={eras.META_SUBSCRIPTION: self._request.id}).encode(b"")
        await self._acknowledged.wait()
        async with self._writing:
            try:
                await self._sink.notify(method, message)
            except BaseException:
                self._broken = True
                raise

    def _settled(self, server: str) -> None:
        """Nobody waits for this server's acknowledgement any more."""
        self._waiting.discard(server)
        if not self._waiting:
            self._all_heard.set()


class _Ear:
    """The sink of one server's subscription."""

    def __init__(self, into: FanIn, server: str, sink: Sink) -> None:
        self._into = into
        self._server = server
        self._sink = sink

    async def notify(self, method: str, message: bytes) -> None:
        if method == ACKNOWLEDGED:
            await self._into.granted(self._server, read_filter(jsonrpc.parse_request(message)))
        elif method == task_ids.NEWS:
            await self._into.tell(method, task_ids.in_notification(self._server, message))
        else:
            await self._into.tell(method, message)

    async def ask(self, request: Request) -> Response:
        return await self._sink.ask(request)
