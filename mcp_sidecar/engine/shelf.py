"""Results that may be given again: kept for as long, and for whom, their server says. Knows no connection.

MCP 2026-07-28, server/utilities/caching. Everything here is of the modern shape, whoever asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import msgspec

from mcp_sidecar.call import Call
from mcp_sidecar.engine import inputs
from mcp_sidecar.engine.cache import Cache
from mcp_sidecar.engine.changes import Changes
from mcp_sidecar.engine.shared import Shared
from mcp_sidecar.engine.union import STALE
from mcp_sidecar.errors import Draining, Execution, InvalidCall, Unavailable
from mcp_sidecar.outbound.link import Ignore, Sink
from mcp_sidecar.protocol import eras, freshness, jsonrpc
from mcp_sidecar.protocol.jsonrpc import Members, Request, Response

_COMPLETE = b'"complete"'
_MOST = 2000
_MOST_BYTES = 64 * 1024 * 1024
_LONGEST_KEY = 4096
_STALE_SECONDS = 600.0  # how long after its time a result may still stand in for a server that does not answer
_LISTS = eras.CACHEABLE - {"resources/read"}
_LISTENING = ("progressToken", eras.META_LOG_LEVEL)
"""Members of `_meta` of who wants to hear something meanwhile, and so asks by itself."""


class Reader(NamedTuple):
    """For whom an answer is good: what the sidecar shows to the server, and who asks."""

    credential: str
    subject: str
    issuer: str


class Key(NamedTuple):
    """What a result depends on. `_meta` is none of it."""

    server: str
    method: str
    params: tuple[tuple[str, bytes], ...]
    credential: str
    caller: tuple[str, str] | None
    """None for results that are good for all."""


class Entry(msgspec.Struct, frozen=True):
    """A result without its hints. `expires` is monotonic."""

    rest: bytes
    expires: float
    private: bool

    def result(self, now: float) -> bytes:
        """The result with the time that is left."""
        hints = jsonrpc.encode_object(freshness.hints(int((self.expires - now) * 1000), private=self.private))
        return b"%b,%b" % (hints[:-1], self.rest[1:])


class _Outcome(NamedTuple):
    response: Response
    kept: bool
    part: Call


Send = Callable[[Call, Request, Sink], Coroutine[Any, Any, Response]]
"""Asks the server."""


class Shelf:
    """`screen` is shown every result of a list of tools, and returns what may be seen of it."""

    def __init__(self, tasks: asyncio.TaskGroup, screen: Callable[[str, bytes], bytes]) -> None:
        self._screen = screen
        self._kept: Cache[Key, Entry] = Cache(_MOST, _MOST_BYTES, lambda entry: len(entry.rest) + 500)
        self._flying: Shared[_Outcome] = Shared(tasks)
        self._parts: dict[Key, Call] = {}
        """Those of the requests under way."""
        self._fleeting: Cache[Key, bool] = Cache(_MOST, _MOST, lambda _: 1)
        """Whose results are not to be given to a second caller, as far as the last one tells."""
        self._changes = Changes()

    def forget(self, server: str, fits: Callable[[Key], bool] = lambda _: True) -> None:
        """What a server offers has changed: nothing of it that fits is given again, nor what is on its way."""

        def of_server(key: Key) -> bool:
            return key.server == server and fits(key)

        self._changes.note(server)
        self._flying.part(of_server)
        for key in self._kept.keys_where(of_server):
            self._kept.drop(key)

    def bury(self, server: str) -> None:
        """The server is gone: nothing of it is kept."""
        self.forget(server)
        for key in self._fleeting.keys_where(lambda key: key.server == server):
            self._fleeting.drop(key)
        self._changes.bury(server)

    def cancel(self) -> None:
        """End what is under way."""
        self._flying.cancel()

    async def answer(self, call: Call, request: Request, sink: Sink, reader: Reader, send: Send) -> Response:
        """The result that is kept, or what the server says: once for all who ask the same meanwhile.

        Raises what `send` raises, unless an older result may stand in.
        """
        if inputs.STATE in request.params or inputs.RESPONSES in request.params:
            return await send(call, request, sink)  # part of a call of several rounds
        key = _key(request, call.server, reader)
        now = time.monotonic()
        entry = self._find(key)
        if entry is not None and entry.expires > now and not call.anew:
            call.execution, call.from_cache = Execution.DONE, True
            call.protocol_version = eras.LATEST_MODERN
            return Response(request.id, entry.result(now))
        try:
            return await self._ask(key, call, request, sink, send)
        except Unavailable as failure:
            if entry is None or not _may_stand_in(entry, call, request, failure):
                raise
            call.execution, call.from_cache = Execution.DONE, True
            return Response(request.id, _stale(entry, key.server))

    def _find(self, key: Key) -> Entry | None:
        return self._kept.get(key._replace(caller=None)) or self._kept.get(key)

    async def _ask(self, key: Key, call: Call, request: Request, sink: Sink, send: Send) -> Response:
        alone = call.anew or any(name in request.meta for name in _LISTENING)
        if not alone and self._fleeting.get(key) is None:
            first = key not in self._flying
            part = self._part(key, call) if first else self._parts.get(key, call)
            try:
                outcome = await self._flying.join(key, lambda: self._fly(key, part, request, send))
            except BaseException:
                call.execution = part.execution  # whoever leaves has to know how far it came
                raise
            if first or outcome.kept:
                call.adopt(outcome.part)
                return Response(request.id, outcome.response.result, outcome.response.error)
        return (await self._fetch(key, call, request, sink, send))[0]

    def _part(self, key: Key, call: Call) -> Call:
        """What is asked for everybody: with the time that the server has, not that of the caller who came first."""
        part = self._parts[key] = call.ask()
        part.deadline, part.part = None, call.part
        return part

    async def _fly(self, key: Key, part: Call, request: Request, send: Send) -> _Outcome:
        try:
            return _Outcome(*await self._fetch(key, part, request, Ignore(), send), part)
        finally:
            if self._parts.get(key) is part:
                del self._parts[key]

    async def _fetch(self, key: Key, call: Call, request: Request, sink: Sink, send: Send) -> tuple[Response, bool]:
        """Ask, and keep the result if it may be; True when others may have it too."""
        changes = self._changes.mark(key.server)
        response = await send(call, request, sink)
        if response.result is None:
            return response, False
        if key.method == eras.LIST_TOOLS:
            response.result = self._screen(key.server, response.result)
        entry = _entry(response.result)
        if _is_long(key):
            return response, entry is not None
        if entry is None:
            self._fleeting.put(key, True)
            return response, False
        self._fleeting.drop(key)
        if self._changes.mark(key.server) == changes:
            self._kept.put(key if entry.private else key._replace(caller=None), entry)
        return response, True


def _key(request: Request, server: str, reader: Reader) -> Key:
    params = tuple(sorted(request.params.items()))
    return Key(server, request.method, params, reader.credential, (reader.subject, reader.issuer))


def _is_long(key: Key) -> bool:
    """What was asked is nothing to remember: callers choose how many bytes a URI has."""
    return sum(len(name) + len(value) for name, value in key.params) > _LONGEST_KEY


def _entry(result: bytes) -> Entry | None:
    """What there is to keep of a result; None when it is for one caller, or for this moment only."""
    try:
        found = jsonrpc.members(result, "result")
    except InvalidCall:
        return None
    if found.get("resultType", _COMPLETE) != _COMPLETE:
        return None
    ttl_ms, private = freshness.read(found)
    if not ttl_ms:
        return None
    rest = jsonrpc.encode_object(freshness.without(found))
    return Entry(rest, time.monotonic() + ttl_ms / 1000, private) if rest != b"{}" else None


def _may_stand_in(entry: Entry, call: Call, request: Request, failure: Unavailable) -> bool:
    """An older list is better than none when the server is down; not when it turned the sidecar away."""
    if call.part or call.anew or request.method not in _LISTS or isinstance(failure, Draining):
        return False
    return (
        failure.metadata.get("http_status") not in {"401", "403"} and time.monotonic() < entry.expires + _STALE_SECONDS
    )


def _stale(entry: Entry, server: str) -> bytes:
    """The older result, marked, and good for this one answer."""
    found: Members = jsonrpc.members(entry.rest, "result")
    meta = jsonrpc.members(found.get("_meta", b"{}"), "result._meta")
    meta[STALE] = msgspec.json.encode([server])
    hints = freshness.hints(0, private=entry.private)
    return jsonrpc.encode_object(found | hints | {"_meta": jsonrpc.encode_object(meta)})
