"""Several servers as one: lists are joined, calls go to whose name or URI it is. Knows no connection and no wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol

import msgspec

from mcp_sidecar.call import Call, Deadline
from mcp_sidecar.engine import inputs, task_ids, union
from mcp_sidecar.engine.cache import Cache
from mcp_sidecar.engine.catalogue import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind, Runs
from mcp_sidecar.engine.fan_in import FanIn
from mcp_sidecar.engine.hold import Hold
from mcp_sidecar.engine.inventory import DISCOVERED, LIST_SECONDS, Gathered, Inventory
from mcp_sidecar.engine.listen import Filter, read_filter
from mcp_sidecar.engine.owners import Owners
from mcp_sidecar.errors import (
    Execution,
    InvalidParams,
    SidecarError,
    UnknownResource,
    UnknownTask,
    UpstreamUnavailable,
)
from mcp_sidecar.outbound.link import Sink
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.protocol.names import Owned
from mcp_sidecar.protocol.session import check_level
from mcp_sidecar.settings import MergeSettings

_LISTS = {kind.method: kind for kind in (TOOLS, PROMPTS, RESOURCES, TEMPLATES)}
_NAMED = {eras.CALL_TOOL: TOOLS, "prompts/get": PROMPTS}
_LOCATED = frozenset(("resources/read", "resources/subscribe", "resources/unsubscribe"))
_COMPLETE = "completion/complete"
_SET_LEVEL = "logging/setLevel"
# What servers say to a name or URI that is not theirs.
_NOT_MINE = frozenset((eras.INVALID_PARAMS, eras.RESOURCE_NOT_FOUND, eras.METHOD_NOT_FOUND))
_LOOK_SECONDS = 0.25  # subscriptions are acknowledged within a second
_MOST_BODIES = 64
_MOST_BODY_BYTES = 64 * 1024 * 1024


class Holds(Runs, Protocol):
    """The engine, which has the calls that wait for their clients."""

    hold: Hold


class Merge:
    """`servers` tells who there is, in order; others may come and go unless they are `settled`. Requests and responses
    are of the caller's era, as the engine's are.
    """

    def __init__(
        self,
        engine: Holds,
        inventory: Inventory,
        servers: Callable[[], Sequence[str]],
        settings: MergeSettings,
        *,
        settled: bool = True,
    ) -> None:
        self._settled = settled
        self._listeners: set[FanIn] = set()
        self._engine = engine
        self._inventory = inventory
        self._servers = servers
        self._owners = Owners(inventory, servers, settings)
        self._bodies: Cache[Hashable, bytes] = Cache(_MOST_BODIES, _MOST_BODY_BYTES, len)

    async def run(self, call: Call, request: Request, sink: Sink) -> Response:
        """One request to the response of all servers, or of the one that it is for."""
        method = request.method
        if method in _LISTS:
            return await self._list(call, request, _LISTS[method])
        if method in _NAMED:
            return await self._named(call, request, sink)
        if method in _LOCATED:
            return await self._located(call, request, sink)
        if method == _COMPLETE:
            return await self._complete(call, request, sink)
        if method in task_ids.METHODS and call.client is None:  # the 2025 era has other tasks by these names
            return await self._task(call, request, sink)
        if method == eras.DISCOVER:
            return await self._discover(call, request)
        if method == _SET_LEVEL and call.client is not None:
            check_level(request.text("level"), "params.level")
            return await self._all(call, request, sink)
        words = f"{method[:64]} goes to one server, and several are merged here: name the server"
        return Response(request.id, error=jsonrpc.encode_error(eras.METHOD_NOT_FOUND, words))

    async def listen(self, call: Call, request: Request, sink: Sink) -> Response:
        """What all servers say by themselves, until the caller leaves or the sidecar drains."""
        whole = read_filter(request)
        fan_in = FanIn(self._engine, call, request, sink, settled=self._settled)
        self._listeners.add(fan_in)
        try:
            return await fan_in.run(lambda: self._wanted(call, whole))
        finally:
            self._listeners.discard(fan_in)

    def renew(self) -> None:
        """There are other servers: whoever listens is told."""
        for fan_in in self._listeners:
            fan_in.renew()

    async def _wanted(self, call: Call, whole: Filter) -> Mapping[str, Filter]:
        """What of a filter goes to whom: lists to everybody, resources to those that may have them."""
        parts = {
            server: msgspec.structs.replace(whole, resourceSubscriptions=[], taskIds=[]) for server in self._servers()
        }
        for said in whole.taskIds:
            if (owned := task_ids.owned(said, parts)) is not None:
                server, task_id = owned
                parts[server].taskIds.append(task_id)
        for uri in whole.resourceSubscriptions:
            for server in await self._hosts(call, uri):
                if server in parts:
                    parts[server].resourceSubscriptions.append(uri)
        return parts

    async def _hosts(self, call: Call, uri: str) -> Sequence[str]:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                return await self._owners.of_uri(call, uri)
        except (TimeoutError, UnknownResource):
            return self._servers()  # who does not have it has nothing to tell of it

    async def _list(self, call: Call, request: Request, kind: Kind) -> Response:
        if "cursor" in request.params:
            what = "is of no list here: the lists of several servers come whole"
            raise InvalidParams(f'"params.cursor" {what}', violations=(("params.cursor", what),))
        gathered = await self._gather(call, kind)
        return self._answer(call, request, {kind.member: self._body(kind, gathered)}, gathered)

    async def _discover(self, call: Call, request: Request) -> Response:
        gathered = await self._gather(call, DISCOVERED)
        return self._answer(call, request, union.discovered(gathered.parts, settled=self._settled), gathered)

    async def _gather(self, call: Call, kind: Kind) -> Gathered:
        call.execution = Execution.UNKNOWN  # for who leaves meanwhile
        gathered = await self._inventory.gather(call, self._servers(), kind)
        if not gathered.parts and gathered.missing:
            call.execution = Execution.NONE
            facts = {"missing": ", ".join(gathered.missing)}
            raise UpstreamUnavailable("none of the MCP servers answers", metadata=facts) from next(
                iter(gathered.failures.values()), None
            )
        return gathered

    def _answer(self, call: Call, request: Request, found: jsonrpc.Members, gathered: Gathered) -> Response:
        modern = call.client is None or request.method == eras.DISCOVER
        call.execution = Execution.DONE
        call.from_cache = gathered.fresh
        call.protocol_version = eras.LATEST_MODERN if call.client is None else call.client.version
        return Response(request.id, result=union.result(found, gathered, time.monotonic(), modern=modern))

    def _body(self, kind: Kind, gathered: Gathered) -> bytes:
        """The list as JSON text, made once for as long as its parts are the same."""
        key = (kind, tuple((part.server, part.stock) for part in gathered.parts))
        body = self._bodies.get(key)
        if body is None:
            names = self._owners.names(gathered.parts) if kind.key == "name" else None
            body = union.joined(kind, gathered.parts, names)
            self._bodies.put(key, body)
        return body

    async def _named(self, call: Call, request: Request, sink: Sink) -> Response:
        kind = _NAMED[request.method]
        said = request.text("name") or ""
        owned = await self._owners.of_name(call, kind, said)
        response = await self._owned(call, request, owned, sink)
        if _refused(request, response):
            # Who lists no such tool has not run it: that refusal was for its name, and not for the arguments.
            now = await self._owners.of_name_now(call, kind, said, owned)
            if now is not None:
                response = await self._owned(call, request, now, sink)
        return response

    async def _owned(self, call: Call, request: Request, owned: Owned, sink: Sink) -> Response:
        """The answer of a tool's or prompt's server, which is asked by the name it has there."""
        server, name = owned
        if name != request.text("name"):
            request = request.with_params({"name": msgspec.json.encode(name)})
        return task_ids.in_response(server, request, await self._at(call, request, server, sink))

    async def _task(self, call: Call, request: Request, sink: Sink) -> Response:
        owned = task_ids.owned(call.name, self._servers())
        if owned is None:
            raise UnknownTask(f"no MCP server here has a task {call.name[:128]!r}")
        server, task_id = owned
        own = request.with_params({"taskId": msgspec.json.encode(task_id)})
        return task_ids.in_response(server, request, await self._at(call, own, server, sink))

    async def _located(self, call: Call, request: Request, sink: Sink) -> Response:
        # What the client answers is for the server that asked, and for nobody else.
        held = self._engine.hold.whose(call, request, self._servers())
        uri = request.text("uri") or ""
        servers = [held] if held else await self._owners.of_uri(call, uri)
        response = await self._first(call, request, servers, sink)
        if len(servers) == 1 and _refused(request, response):
            others = await self._owners.of_uri_now(call, uri, servers[0])
            if others:
                found = await self._first(call, request, others, sink)
                response = response if _refused(request, found) else found
        return response

    async def _complete(self, call: Call, request: Request, sink: Sink) -> Response:
        """The server of the prompt or resource that arguments are completed for."""
        raw = request.params.get("ref", b"")
        ref = jsonrpc.members(raw, "params.ref") if raw[:1] == b"{" else {}
        name, uri = jsonrpc.as_string(ref.get("name")), jsonrpc.as_string(ref.get("uri"))
        if ref.get("type") == b'"ref/prompt"' and name is not None:
            server, own = await self._owners.of_name(call, PROMPTS, name)
            if own != name:
                ref["name"] = msgspec.json.encode(own)
                request = request.with_params({"ref": jsonrpc.encode_object(ref)})
            return await self._at(call, request, server, sink)
        if uri is not None:
            return await self._first(call, request, await self._owners.of_template(call, uri), sink)
        what = "must name a prompt or the URI of a resource"
        raise InvalidParams(f'"params.ref" {what}', violations=(("params.ref", what),))

    async def _first(self, call: Call, request: Request, servers: Sequence[str], sink: Sink) -> Response:
        """The answer of the first that knows what it is asked for; else that of the last."""
        if not servers:
            raise _nobody()
        for server in servers[:-1]:
            try:
                response = await self._at(call, request, server, sink)
            except InvalidParams:
                if inputs.STATE in request.params:
                    continue  # the state is not this server's
                raise
            if not _not_known(response):
                return response
        return await self._at(call, request, servers[-1], sink)

    async def _all(self, call: Call, request: Request, sink: Sink) -> Response:
        """Tell every server; one that understands it suffices."""
        servers = self._servers()
        if not servers:
            raise _nobody()
        call.execution = Execution.UNKNOWN  # for who leaves meanwhile
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(self._told(call.ask(), request, server, sink), name=f"{request.method} at {server}")
                for server in servers
            ]
        said = [task.result() for task in asked]
        responses = [one for one in said if isinstance(one, Response)]
        if not responses:
            failures = [one for one in said if isinstance(one, SidecarError)]
            if all(failure.execution is Execution.NONE for failure in failures):
                call.execution = Execution.NONE
            facts = {"missing": ", ".join(servers)}
            words = "none of the MCP servers answers"
            raise UpstreamUnavailable(words, execution=call.execution, metadata=facts) from failures[0]
        call.execution = Execution.DONE
        return next((response for response in responses if response.error is None), responses[0])

    async def _told(self, part: Call, request: Request, server: str, sink: Sink) -> Response | SidecarError:
        """One server's answer, or why it has none in the time that a list may take."""
        part.deadline = Deadline.after(LIST_SECONDS).sooner(part.deadline)
        try:
            return await self._at(part, request, server, sink)
        except SidecarError as failure:
            return failure

    async def _at(self, call: Call, request: Request, server: str, sink: Sink) -> Response:
        """One server's answer; what became of the part is what became of the call."""
        part = call.ask()
        try:
            return await self._engine.run(part, request, server, sink)
        finally:
            call.adopt(part)


def _not_known(response: Response) -> bool:
    """The server does not know what it is asked for, or does not say what else is wrong."""
    said = None if response.error is None else jsonrpc.read_error(response)
    return said is not None and said[0] in _NOT_MINE


def _refused(request: Request, response: Response) -> bool:
    """As `_not_known`, of a request that another server may answer: a round that goes on is for who began it."""
    if response.error is None or "inputResponses" in request.params or inputs.STATE in request.params:
        return False
    return _not_known(response)


def _nobody() -> UpstreamUnavailable:
    return UpstreamUnavailable("no MCP server was found so far")
