"""Whose is it? The server behind a name or a URI, by what the servers list; knows no request."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import NamedTuple

from mcp_sidecar import shown
from mcp_sidecar.call import Call
from mcp_sidecar.engine.cache import Cache
from mcp_sidecar.engine.catalogue import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind
from mcp_sidecar.engine.inventory import Gathered, Inventory, Part
from mcp_sidecar.errors import NotFound, UnknownPrompt, UnknownResource, UnknownTool, UpstreamUnavailable
from mcp_sidecar.protocol.names import NEVER, Names, Owned
from mcp_sidecar.protocol.uri_templates import matches
from mcp_sidecar.settings import MergeSettings

_UNKNOWN: dict[Kind, type[NotFound]] = {TOOLS: UnknownTool, PROMPTS: UnknownPrompt}
_MOST_TABLES = 64


def _equals(listed: str, uri: str) -> bool:
    return listed == uri


_LOCATED: tuple[tuple[Kind, Callable[..., bool]], ...] = ((RESOURCES, _equals), (TEMPLATES, matches))
"""The lists that tell whose a URI is, and how what they list fits a `uri`."""


class _Known(NamedTuple):
    names: Names
    changed: frozenset[str]
    """The servers that have other ones by now."""


class Owners:
    """`servers` tells who there is, in order."""

    def __init__(self, inventory: Inventory, servers: Callable[[], Sequence[str]], settings: MergeSettings) -> None:
        self._inventory = inventory
        self._servers = servers
        self._settings = settings
        self._tables: Cache[Hashable, Names] = Cache(_MOST_TABLES, _MOST_TABLES, lambda _: 1)
        self._recent: Cache[Hashable, tuple[int, _Known]] = Cache(_MOST_TABLES, _MOST_TABLES, lambda _: 1)

    def names(self, parts: tuple[Part, ...]) -> Names:
        """The names of these lists; the same object for the same lists."""
        key = tuple((part.server, part.stock) for part in parts)
        table = self._tables.get(key)
        if table is None:
            offered = {part.server: part.stock.keys for part in parts}
            table = Names(offered, self._settings.prefix, self._settings.separator)
            self._tables.put(key, table)
        return table

    async def of_name(self, call: Call, kind: Kind, said: str) -> Owned:
        """Who has the tool or prompt, and what it is called there.

        A name is looked up in what is known, and the servers are asked only when it is not found there, or found at one
        whose list has changed. Raises `NotFound`, or `UpstreamUnavailable` when it may be that of a server whose list
        is not to be had.
        """
        known = self._known(call, kind)
        if known is not None and (found := known.names.find(said)) is not None and found[0] not in known.changed:
            return found
        if known is None or known.changed:
            names = self.names((await self._inventory.gather(call, self._servers(), kind, old=True)).parts)
            if (found := names.find(said)) is not None:
                return found
        gathered = await self._inventory.gather(call, self._servers(), kind)
        table = self.names(gathered.parts)
        found = table.find(said)
        if found is None:
            raise self._unknown(kind, said, table, gathered)
        return found

    async def of_name_now(self, call: Call, kind: Kind, said: str, was: Owned) -> Owned | None:
        """Who has it instead, if its server, which refused it, no longer lists it."""
        server, name = was
        if await self._may_have(call, server, kind, lambda key: key == name):
            return None
        try:
            found = await self.of_name(call, kind, said)
        except (NotFound, UpstreamUnavailable):
            return None
        return found if found != was else None

    async def of_uri_now(self, call: Call, uri: str, was: str) -> Sequence[str]:
        """Who may have the resource instead, if its server, which refused it, no longer lists it."""
        for kind, fits in _LOCATED:
            if await self._may_have(call, was, kind, partial(fits, uri=uri)):
                return ()
        try:
            return [server for server in await self.of_uri(call, uri) if server != was]
        except UnknownResource:
            return ()

    async def _may_have(self, call: Call, server: str, kind: Kind, fits: Callable[[str], bool]) -> bool:
        """It lists what `fits`, or its list is not known."""
        gathered = await self._inventory.gather(call, (server,), kind)
        if not gathered.parts or gathered.stale:
            return True
        return any(part.cut or any(map(fits, part.stock.keys)) for part in gathered.parts)

    def _known(self, call: Call, kind: Kind) -> _Known | None:
        """The names that are known to this caller; looked up in ten servers' lists only when one has changed."""
        caller = (kind, call.principal.subject, call.principal.claims.get("iss"), call.client and call.client.id)
        recent = self._recent.get(caller)
        if recent is not None and recent[0] == self._inventory.version:
            return recent[1]
        parts = self._inventory.known(call, self._servers(), kind)
        if parts is None:
            return None
        known = _Known(self.names(parts), frozenset(part.server for part in parts if part.changed))
        self._recent.put(caller, (self._inventory.version, known))
        return known

    def _unknown(self, kind: Kind, said: str, table: Names, gathered: Gathered) -> NotFound | UpstreamUnavailable:
        what, name = kind.title.removesuffix("s"), said[:128]
        owners = table.servers_of(said)
        if len(owners) > 1:
            ways = [f"the servers {', '.join(owners)}"]
            if self._settings.prefix != NEVER:
                ways = [repr(table.prefixed(server, name)) for server in owners]
            return _UNKNOWN[kind](f"several MCP servers have a {what} {name!r}; name one of {' or '.join(ways)}")
        for server in gathered.missing:
            if said.startswith(table.prefixed(server, "")):
                failure = gathered.failures.get(server)
                why = "it does not answer in time" if failure is None else failure.message
                words = f"the {kind.title} of the MCP server {server!r} are not known: {why}"
                return UpstreamUnavailable(words, metadata={"server": server})
        nearest = table.nearest(said)
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        if gathered.missing:
            hint += f" (those of {', '.join(gathered.missing)} are not known)"
        return _UNKNOWN[kind](f"no MCP server here has a {what} {name!r}{hint}")

    async def of_uri(self, call: Call, uri: str) -> Sequence[str]:
        """Who may have the resource, to be asked in this order: the one that lists it, or everybody that has any.

        Raises `UnknownResource` when several have it: the URI alone does not tell whose is meant.
        """
        listed: set[str] = set()
        for kind, fits in _LOCATED:
            servers = self._servers()  # some may have gone while the others were asked
            parts = self._inventory.known(call, servers, kind)
            if parts is None or any(part.changed for part in parts):
                parts = (await self._inventory.gather(call, servers, kind, old=True)).parts
            owners = _whose(parts, partial(fits, uri=uri))
            if len(owners) > 1:  # or one of them had it when it was asked last
                parts = (await self._inventory.gather(call, servers, kind)).parts
                owners = _whose(parts, partial(fits, uri=uri))
            listed |= {part.server for part in parts if part.stock.keys}
            if len(owners) == 1:
                return owners
            if owners:
                meant = shown.uri(uri)[:256]
                raise UnknownResource(
                    f"several MCP servers have the resource {meant!r} ({', '.join(owners)}): name the server"
                )
        return [server for server in servers if server in listed] or servers

    async def of_template(self, call: Call, template: str) -> Sequence[str]:
        """Who lists a template, spelt like this; else as for a URI."""
        gathered = await self._inventory.gather(call, self._servers(), TEMPLATES)
        owners = [part.server for part in gathered.parts if template in part.stock.keys]
        return owners if len(owners) == 1 else await self.of_uri(call, template)


def _whose(parts: Sequence[Part], fits: Callable[[str], bool]) -> list[str]:
    return [part.server for part in parts if any(map(fits, part.stock.keys))]
