"""Which MCP servers there are and where: immutable snapshots, replaced whole. Knows no connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from types import MappingProxyType
from urllib.parse import urlsplit

from mcp_sidecar.errors import UnknownUpstream
from mcp_sidecar.settings import UpstreamSettings


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One address of an upstream. `host` is what is dialled; `authority` goes into the Host header.

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
    def secure(self) -> bool:
        return self.scheme.endswith("s")

    @property
    def transport(self) -> str:
        """`http`, `sse` or `grpc`."""
        return self.scheme.removesuffix("s").partition("+")[0]


@dataclass(frozen=True, slots=True, eq=False)
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
    """An MCP server by name, with every endpoint it is served from."""

    name: str
    settings: UpstreamSettings
    endpoints: tuple[AnyEndpoint, ...]
    restricted: bool = field(init=False)
    """Not every tool of it exists for callers."""

    def __post_init__(self) -> None:
        tools = self.settings.tools
        object.__setattr__(self, "restricted", tools.allow != ("*",) or bool(tools.deny))


class Directory:
    """The known upstreams. Config and discovery write; everybody else reads `snapshot`."""

    def __init__(self, upstreams: tuple[Upstream, ...] = ()) -> None:
        self._snapshot: Mapping[str, Upstream] = MappingProxyType({})
        self._subscribers: list[Callable[[Mapping[str, Upstream]], None]] = []
        self.replace(upstreams)

    @property
    def snapshot(self) -> Mapping[str, Upstream]:
        return self._snapshot

    def replace(self, upstreams: tuple[Upstream, ...]) -> None:
        """Publish a new set of upstreams, in the order given."""
        self._snapshot = MappingProxyType({upstream.name: upstream for upstream in upstreams})
        for notify in tuple(self._subscribers):
            notify(self._snapshot)

    def subscribe(self, notify: Callable[[Mapping[str, Upstream]], None]) -> None:
        self._subscribers.append(notify)

    def find(self, name: str) -> Upstream:
        """The upstream called `name`, or the only one when `name` is empty.

        Raises `UnknownUpstream`, naming what there is.
        """
        if name:
            found = self._snapshot.get(name)
            if found is None:
                raise UnknownUpstream(
                    f"no MCP server is called {name!r}; known: {self._names()}", metadata={"server": name}
                )
            return found
        if len(self._snapshot) == 1:
            return next(iter(self._snapshot.values()))
        raise UnknownUpstream(f"name the MCP server to call; known: {self._names()}")

    def _names(self) -> str:
        return ", ".join(self._snapshot) or "none (start with --upstream NAME=URL)"


_PORTS = {"http": 80, "https": 443, "sse+http": 80, "sse+https": 443}


def configured(settings: UpstreamSettings) -> Upstream:
    """The upstream of one section of the configuration, which has one endpoint: its command or its URL."""
    if settings.command:
        command = Command(settings.name, settings.command, settings.env, settings.cwd)
        return Upstream(settings.name, settings, (command,))
    url = urlsplit(settings.url)
    scheme = f"sse+{url.scheme}" if settings.protocol == "sse" and not url.scheme.startswith("sse+") else url.scheme
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    port = url.port or _PORTS.get(scheme, 0)
    endpoint = Endpoint(settings.name, scheme, url.hostname or "", port, url.netloc, target)
    return Upstream(settings.name, settings, (endpoint,))
