"""What servers offer: results that are kept, whole lists, several servers as one, arguments that go into headers.

Joins the parts that know of one of these each; knows no connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Hashable
from typing import Protocol

from mcp_sidecar.call import Call, Deadline, new_request_id
from mcp_sidecar.directory import Directory, Snapshot, Upstream, renewed, served
from mcp_sidecar.engine import bridge, news
from mcp_sidecar.engine.catalogue import TOOLS, read_pages
from mcp_sidecar.engine.changes import Told
from mcp_sidecar.engine.inventory import Inventory
from mcp_sidecar.engine.merge import Holds, Merge
from mcp_sidecar.engine.mirrors import Mirrors
from mcp_sidecar.engine.shelf import Reader, Shelf
from mcp_sidecar.errors import DeadlineExceeded, SidecarError
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.outbound.link import Sink
from mcp_sidecar.protocol import eras
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.settings import MergeSettings

_AT_ONCE = 8  # servers


class Sends(Holds, Protocol):
    """The engine."""

    def send(self, call: Call, request: Request, upstream: Upstream, sink: Sink) -> Coroutine[None, None, Response]:
        """One request to one server, whatever is kept."""


class Offers:
    """`tasks` owns what is asked for several callers at once."""

    def __init__(
        self, engine: Sends, directory: Directory, dialer: Dialer, tasks: asyncio.TaskGroup, settings: MergeSettings
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._dialer = dialer
        self.mirrors = Mirrors()
        self._shelf = Shelf(tasks, self.mirrors.screen)
        self.told = Told()
        self.inventory = Inventory(engine, tasks, self._audience, self.told)
        servers = lambda: tuple(directory.snapshot)  # noqa: E731
        self.merge = Merge(engine, self.inventory, servers, settings, settled=directory.settled)
        self._upstreams = directory.snapshot
        directory.subscribe(self._renewed)

    def answer(
        self, call: Call, request: Request, upstream: Upstream, sink: Sink, until: Deadline
    ) -> Coroutine[None, None, Response]:
        """What is kept of the result of one of `eras.CACHEABLE`, or the server's answer. `TimeoutError` at `until`."""
        if not bridge.in_modern_shape(request, call, self._era(upstream)):
            return self._engine.send(call, request, upstream, sink)
        return self._answer(call, request, upstream, sink, until)

    async def _answer(self, call: Call, request: Request, upstream: Upstream, sink: Sink, until: Deadline) -> Response:
        def send(call: Call, request: Request, sink: Sink) -> Coroutine[None, None, Response]:
            call.server = upstream.name
            return self._engine.send(call, request, upstream, sink)

        def ask(call: Call, request: Request, sink: Sink) -> Coroutine[None, None, Response]:
            return self._shelf.answer(call, request, sink, self._reader(call, upstream), send)

        async with asyncio.timeout(until.remaining()):
            return await bridge.as_modern(request, call, sink, ask)

    async def learned(self, call: Call, request: Request, server: str, until: Deadline) -> bool:
        """Read the server's list of tools; True when other headers come of it than were sent."""
        if request.method != eras.CALL_TOOL:
            return False
        sent, part = call.added, call.ask()
        part.deadline, part.client, part.anew = until, None, True
        try:
            await read_pages(self._engine, part, server, TOOLS)
        except DeadlineExceeded as late:
            raise DeadlineExceeded(late.message, metadata=late.metadata) from late  # the call itself has not run
        except SidecarError:
            return False  # what the server said to the call is told
        self.mirrors.prepare(call, request, server)
        return call.added != sent

    async def warm(self) -> None:
        """Read every server's tools once, a few servers at a time, so that the first caller need not wait."""
        servers = tuple(self._directory.snapshot)
        for first in range(0, len(servers), _AT_ONCE):
            call = Call(rpc="warm-up", request_id=new_request_id(), sampled=False)
            await self.inventory.gather(call, servers[first : first + _AT_ONCE], TOOLS)

    def forget(self, server: str) -> None:
        """What a server offers may have changed."""
        self._shelf.forget(server)
        self.inventory.forget(server)
        self.told.changed(server)

    def heed(self, server: str, method: str, message: bytes) -> None:
        """A server says that something it offers has changed."""
        news.heed(self._shelf, self.inventory, server, method, message)
        if method != news.UPDATED:
            self.told.announced(server, method)

    def close(self) -> None:
        """End what is asked for nobody in particular."""
        self.inventory.cancel()
        self._shelf.cancel()

    def _renewed(self, upstreams: Snapshot) -> None:
        """Other servers may stand behind the names."""
        before, self._upstreams = self._upstreams, upstreams
        for name in renewed(before, upstreams):
            self.forget(name)
            self.mirrors.known.pop(name, None)
        for name in before.keys() - upstreams.keys():
            self._shelf.bury(name)
            self.inventory.bury(name)
            self.told.bury(name)
        for name in upstreams.keys() - before.keys():
            self.told.changed(name)
        if served(before) != served(upstreams):
            self.merge.renew()

    def _era(self, upstream: Upstream) -> eras.Era | None:
        verdict = self._dialer.verdict(upstream)
        return None if verdict is None else verdict.era

    def _reader(self, call: Call, upstream: Upstream) -> Reader:
        principal = call.principal
        return Reader(self._dialer.credential(upstream), principal.subject, str(principal.claims.get("iss", "")))

    def _audience(self, call: Call, server: str) -> Hashable:
        """For whom a whole list is good, in the shape it has for the caller."""
        upstream = self._directory.find(server)
        client = call.client
        if client is None:
            shape = ""
        else:  # on a server of its era it has a session of its own
            shape = "legacy" if self._era(upstream) is eras.Era.MODERN else client.id
        return self._reader(call, upstream), shape
