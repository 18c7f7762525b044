"""What every upstream offers, each list whole, and the last good ones for when one is late; knows no merged name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mcp_sidecar.call import Call
from mcp_sidecar.engine.cache import Cache
from mcp_sidecar.engine.catalogue import Endless, Kind, Page, Runs, read_pages, result_of
from mcp_sidecar.engine.changes import Changes, Told
from mcp_sidecar.engine.shared import Shared
from mcp_sidecar.errors import InvalidCall, SidecarError, UpstreamRefused
from mcp_sidecar.outbound.link import Ignore
from mcp_sidecar.protocol import eras, freshness, jsonrpc
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.jsonrpc import Request

# Two seconds is what a person waits without wondering; one dead server must not cost more.
LIST_SECONDS = 2.0
_FAILED_SECONDS = 10.0  # for so long a server that failed is given little time
_LITTLE_SECONDS = 0.25
_HEADROOM_SECONDS = 0.05  # the answer must leave before the caller's deadline
_ABSENT_SECONDS = 60.0  # how long a server is believed that it has no such list
_MOST = 2000
_MOST_BYTES = 64 * 1024 * 1024

DISCOVERED = Kind(eras.DISCOVER, "", "")
"""What a server says of itself, as a list of one."""

Key = tuple[str, str, Hashable]
"""Server, method, and for whom."""
_Failure = tuple[float, SidecarError | None]
"""When it was (monotonic), and why, where that is known."""


class Stock:
    """The items of one list as (key, JSON text); the same object for as long as the list is the same."""

    __slots__ = ("items", "keys", "size", "texts")

    def __init__(self, texts: tuple[bytes, ...], kind: Kind) -> None:
        self.texts = texts
        self.items = tuple((key, text) for text in texts if (key := _key_of(text, kind)) is not None)
        self.keys = [key for key, _ in self.items]
        self.size = 2 * sum(map(len, texts)) + 500


_NOTHING = Stock((), DISCOVERED)


@dataclass(frozen=True, slots=True)
class Part:
    """One upstream's list. `expires` is monotonic; `private` is for whom it was read only.

    `changed`: the server says that it is another one now. `cut`: there is more of it than is read.
    """

    server: str
    stock: Stock
    expires: float
    private: bool
    changed: bool = False
    cut: bool = False

    def outdated(self) -> Part:
        """The same, to be asked for again."""
        return replace(self, expires=0.0, changed=True)


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everybody's list. `stale` are the servers whose last good list this is, `missing` those without one."""

    parts: tuple[Part, ...]
    stale: tuple[str, ...]
    missing: tuple[str, ...]
    fresh: bool
    """Nobody had to be asked."""
    failures: Mapping[str, SidecarError]
    """Why those failed of which that is known."""


class Inventory:
    """`audience` says for whom the list of a server is good: lists are never shown to others."""

    def __init__(
        self, engine: Runs, tasks: asyncio.TaskGroup, audience: Callable[[Call, str], Hashable], told: Told
    ) -> None:
        self._engine = engine
        self._audience = audience
        self._told = told
        self._reading: Shared[Part] = Shared(tasks)
        self._last: Cache[Key, Part] = Cache(_MOST, _MOST_BYTES, lambda part: part.stock.size)
        self._failed: Cache[Key, _Failure] = Cache(_MOST, _MOST, lambda _: 1)
        self._changes = Changes()
        self.version = 0
        """Another number for as long as what is known of any server is another."""
        self.cut: Callable[[str, str], None] = lambda _server, _title: None
        """Told the server and the title of a list of which only a part is read."""

    def forget(self, server: str, methods: Iterable[str] | None = None) -> None:
        """The server's lists (these, or all) have changed: ask again. The old ones stay for when it does not answer."""
        chosen = None if methods is None else frozenset(methods)

        def fits(key: Key) -> bool:
            return key[0] == server and (chosen is None or key[1] in chosen)

        self._changes.note(server)
        self.version += 1
        self._reading.part(fits)
        for key in self._last.keys_where(fits):
            if (part := self._last.get(key)) is not None:
                self._last.put(key, part.outdated())

    def bury(self, server: str) -> None:
        """The server is gone: its old lists stand in for nobody."""
        for kept in (self._last, self._failed):
            for key in kept.keys_where(lambda key: key[0] == server):
                kept.drop(key)
        self._changes.bury(server)

    def known(self, call: Call, servers: Sequence[str], kind: Kind) -> tuple[Part, ...] | None:
        """The last good list of each, however old; None while there is a server that nobody has asked."""
        parts: list[Part] = []
        for server in servers:
            key = self._key(call, server, kind)
            part = self._last.get(key)
            if part is not None:
                parts.append(part)
            elif self._failed.get(key) is None:
                return None
        return tuple(parts)

    async def gather(self, call: Call, servers: Sequence[str], kind: Kind, *, old: bool = False) -> Gathered:
        """The list of each server that is to be had in the time there is, an `old` one if that will do: any that its
        server has not called changed.

        Never raises for a server's sake.
        """
        now = time.monotonic()
        parts = {server: self._last.get(self._key(call, server, kind)) for server in servers}
        wanting = [server for server, part in parts.items() if part is None or _is_over(part, now, old=old)]
        failures: dict[str, SidecarError | None] = {}
        if wanting:
            async with asyncio.TaskGroup() as group:
                asked = {
                    server: group.create_task(self._ask(call, server, kind), name=f"{kind.method} of {server}")
                    for server in wanting
                }
            for server, task in asked.items():
                answer = task.result()
                if isinstance(answer, Part):
                    parts[server] = answer
                else:
                    failures[server] = answer
        return Gathered(
            tuple(part for part in parts.values() if part is not None),
            tuple(server for server in failures if parts[server] is not None),
            tuple(server for server in failures if parts[server] is None),
            not wanting,
            {server: failure for server, failure in failures.items() if failure is not None},
        )

    def _make_do(self, key: Key) -> None:
        """Who names things waits once for a list that has changed: a server that is down must not hold up the rest."""
        part = self._last.get(key)
        if part is not None and part.changed:
            self._last.put(key, replace(part, changed=False))
            self.version += 1

    def cancel(self) -> None:
        """End all reading."""
        self._reading.cancel()

    def _key(self, call: Call, server: str, kind: Kind) -> Key:
        return server, kind.method, self._audience(call, server)

    async def _ask(self, call: Call, server: str, kind: Kind) -> Part | SidecarError | None:
        """The list, or why there is none; None when there was no time."""
        try:
            key = self._key(call, server, kind)
        except SidecarError as failure:
            return failure  # it went away a moment ago
        try:
            return await self._reading.join(key, lambda: self._read(key, call, kind), self._patience(key, call))
        except SidecarError as failure:
            self._failed.put(key, (time.monotonic(), failure))
            self._make_do(key)
            return failure
        except TimeoutError:
            last = self._failed.get(key)
            error = None if last is None else last[1]
            self._failed.put(key, (time.monotonic(), error))
            self._make_do(key)
            return error

    def _patience(self, key: Key, call: Call) -> float:
        """How long to wait: whoever failed a moment ago mostly fails again, and is asked in the background."""
        failed = self._failed.get(key)
        recently = failed is not None and time.monotonic() - failed[0] < _FAILED_SECONDS
        seconds = _LITTLE_SECONDS if recently else LIST_SECONDS
        if call.deadline is None:
            return seconds
        return max(0.0, min(seconds, call.deadline.remaining() - _HEADROOM_SECONDS))

    async def _read(self, key: Key, call: Call, kind: Kind) -> Part:
        server = key[0]
        part = call.ask()
        part.deadline = None  # others may wait for it too, or ask next
        changes = self._changes.mark(server)
        before = self._last.get(key)
        try:
            read = await self._read_now(part, server, kind, _NOTHING if before is None else before.stock)
        except UpstreamRefused as refusal:
            if refusal.code != eras.METHOD_NOT_FOUND:
                raise
            read = Part(server, _NOTHING, time.monotonic() + _ABSENT_SECONDS, private=False)
        self._failed.drop(key)
        if self._changes.mark(server) != changes:
            read = read.outdated()  # it changed meanwhile: this may be the old one
        if before is None or before.stock is not read.stock or before.changed:
            self.version += 1
        if before is not None and before.stock is not read.stock:
            self._told.found(server)
        if read.cut and not (before is not None and before.cut):
            self.cut(server, kind.title)
        self._last.put(key, read)
        return read

    async def _read_now(self, call: Call, server: str, kind: Kind, before: Stock) -> Part:
        if kind is DISCOVERED:
            request = Request(kind.method, b"1", {}, modern_meta())
            result = result_of(await self._engine.run(call, request, server, Ignore()))
            found = jsonrpc.members(result, "result")
            return _part(server, [Page(found, [jsonrpc.encode_object(freshness.without(found))])], kind, before)
        try:
            return _part(server, await read_pages(self._engine, call, server, kind), kind, before)
        except Endless as endless:
            return replace(_part(server, endless.pages, kind, before), cut=True)


def _is_over(part: Part, now: float, *, old: bool) -> bool:
    return part.changed if old else part.expires <= now


def _part(server: str, pages: Sequence[Page], kind: Kind, before: Stock) -> Part:
    """The pages as one list; with the stock there was `before` when that is the same."""
    hints = [freshness.read(page.found) for page in pages]
    expires = time.monotonic() + min(hint.ttl_ms for hint in hints) / 1000
    texts = tuple(item for page in pages for item in page.items)
    stock = before if before.texts == texts else Stock(texts, kind)
    return Part(server, stock, expires, any(hint.private for hint in hints))


def _key_of(item: bytes, kind: Kind) -> str | None:
    """What an item is called; nobody could ask for one that does not say so."""
    if kind is DISCOVERED:
        return ""
    try:
        return jsonrpc.as_string(jsonrpc.members(item, "an item").get(kind.key))
    except InvalidCall:
        return None
