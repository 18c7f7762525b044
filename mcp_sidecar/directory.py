"""Which MCP servers there are and where: immutable snapshots, replaced whole. Knows no connection."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from types import MappingProxyType
from urllib.parse import urlsplit

from mcp_sidecar.errors import UnknownUpstream
from mcp_sidecar.settings import UpstreamSettings
from mcp_sidecar.shown import LONGEST


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Endpoint:
    """One address of an upstream. `host` is what is dialled; `authority` goes into the Host header, and the name in it
    is what TLS verifies.

    `scheme` is that of the URL: `http`, `sse+http`, `grpc`, or one of them with an `s` at its end. Compared by
    identity: whoever publishes a directory keeps the objects of addresses that stay.
    """

    upstream: str
    scheme: str
    host: str
    port: int
    authority: str
    path: str

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """The host that `authority` names."""
        return urlsplit(f"//{self.authority}").hostname or self.host

    @property
    def secure(self) -> bool:
        return self.scheme.endswith("s")

    @property
    def transport(self) -> str:
        """`http`, `sse` or `grpc`."""
        return self.scheme.removesuffix("s").partition("+")[0]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Command:
    """A program that is an upstream, spoken to over its standard streams. `env` is its whole environment.

    Compared by identity, as `Endpoint`.
    """

    upstream: str
    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = ""

    @property
    def address(self) -> str:
        """The program's name: its arguments may be secrets."""
        return f"stdio:{PurePath(self.words[0]).name}"

    @property
    def transport(self) -> str:
        return "stdio"


AnyEndpoint = Endpoint | Command


@dataclass(frozen=True, slots=True)
class Upstream:
    """An MCP server by name, with every endpoint it is served from; there may be none just now.

    `leaving` are the endpoints that keep the sessions they have. `origin` is where it was found, for people; empty when
    it was configured.
    """

    name: str
    settings: UpstreamSettings
    endpoints: tuple[AnyEndpoint, ...]
    leaving: tuple[AnyEndpoint, ...] = ()
    origin: str = ""
    only: AnyEndpoint | None = field(init=False)
    """Its endpoint, if it has just one: there is nothing to choose then."""
    restricted: bool = field(init=False)
    """Not every tool of it exists for callers."""
    secured: bool = field(init=False)
    """The sidecar has something to prove itself with, or to judge the server by."""

    def __post_init__(self) -> None:
        tools = self.settings.tools
        object.__setattr__(self, "restricted", tools.allow != ("*",) or bool(tools.deny))
        object.__setattr__(self, "secured", self.settings.secured)
        alone = len(self.endpoints) == 1 and not self.leaving
        object.__setattr__(self, "only", self.endpoints[0] if alone else None)

    @property
    def all(self) -> tuple[AnyEndpoint, ...]:
        return self.endpoints + self.leaving


Snapshot = Mapping[str, Upstream]


class Directory:
    """The known upstreams. Config and discovery write; everybody else reads `snapshot`.

    `settled`: all names are known from the start; what comes and goes is endpoints.
    """

    def __init__(self, upstreams: Iterable[Upstream] = (), *, settled: bool = True) -> None:
        self._snapshot: Snapshot = MappingProxyType({})
        self._subscribers: list[Callable[[Snapshot], None]] = []
        self.settled = settled
        self.replace(upstreams)

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    @property
    def merged(self) -> bool:
        """A call without a server's name is for all of them. Where others may come any moment, also for the only one:
        names and lists then mean the same however many there are.
        """
        return len(self._snapshot) > 1 or not self.settled

    def replace(self, upstreams: Iterable[Upstream]) -> None:
        """Publish a new set of upstreams, in the order given."""
        self._snapshot = MappingProxyType({upstream.name: upstream for upstream in upstreams})
        for notify in tuple(self._subscribers):
            notify(self._snapshot)

    def subscribe(self, notify: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Call `notify` after every change; returns what ends that."""
        self._subscribers.append(notify)
        return lambda: self._subscribers.remove(notify)

    def find(self, name: str) -> Upstream:
        """The upstream called `name`, or the only one when `name` is empty.

        Raises `UnknownUpstream`, naming what there is.
        """
        if name:
            found = self._snapshot.get(name)
            if found is None:
                name = name[:LONGEST]
                raise UnknownUpstream(
                    f"no MCP server is called {name!r}; known: {self._names()}", metadata={"server": name}
                )
            return found
        if len(self._snapshot) == 1:
            return next(iter(self._snapshot.values()))
        raise UnknownUpstream(f"name the MCP server to call; known: {self._names()}")

    def _names(self) -> str:
        nobody = "none (start with --upstream NAME=URL)" if self.settled else "none (nothing was found so far)"
        return ", ".join(self._snapshot) or nobody


def gone(before: Snapshot, after: Snapshot) -> list[AnyEndpoint]:
    """The endpoints of one snapshot that are not in the next one."""
    left: list[AnyEndpoint] = []
    for name, old in before.items():
        new = after.get(name)
        if new is not old:
            kept = frozenset(new.all if new is not None else ())
            left += [endpoint for endpoint in old.all if endpoint not in kept]
    return left


def renewed(before: Snapshot, after: Snapshot) -> list[str]:
    """The upstreams that may offer something else: they came, went, or have an endpoint that they had not."""
    return [name for name in {*before, *after} if _offers_else(before.get(name), after.get(name))]


def served(snapshot: Snapshot) -> frozenset[str]:
    """The upstreams that have an endpoint."""
    return frozenset(name for name, upstream in snapshot.items() if upstream.all)


def _offers_else(old: Upstream | None, new: Upstream | None) -> bool:
    if old is new:
        return False
    if old is None or new is None or old.settings != new.settings:
        return True
    return not frozenset(old.endpoints).issuperset(new.endpoints)


_PORTS = {"http": 80, "https": 443, "sse+http": 80, "sse+https": 443}


def configured(settings: UpstreamSettings) -> Upstream:
    """The upstream of one section of the configuration, which has one endpoint: its command or its URL."""
    if settings.command:
        command = Command(settings.name, settings.command, settings.env, settings.cwd)
        return Upstream(settings.name, settings, (command,))
    return Upstream(settings.name, settings, (endpoint_of(settings),))


def endpoint_of(settings: UpstreamSettings) -> Endpoint:
    """What the URL of an upstream says."""
    url = urlsplit(settings.url)
    scheme = f"sse+{url.scheme}" if settings.protocol == "sse" and not url.scheme.startswith("sse+") else url.scheme
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    port = url.port or _PORTS.get(scheme, 0)
    return Endpoint(settings.name, scheme, url.hostname or "", port, url.netloc, target)


def is_name(endpoint: AnyEndpoint) -> bool:
    """Its host has to be looked up, and may be several."""
    if isinstance(endpoint, Command) or endpoint.transport == "grpc":  # gRPC looks names up by itself
        return False
    try:
        ipaddress.ip_address(endpoint.host)
    except ValueError:
        return True
    return False
