"""Which Services are MCP servers, and what their markers say: our own and everybody's. Knows no endpoint and no API.

Each reader below knows the markers of one project. What several of them say about the same thing is taken from the
first in `_READERS` that says it. Wrong values cost a complaint, never the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from mcp_sidecar.kube.objects import Port

Transport = Literal["http", "sse"]
Said = Transport | Literal[""]
"""Empty when nothing is said."""

SERVER = "mcp-sidecar.dev/server"
PATH = "mcp-sidecar.dev/path"
TRANSPORT = "mcp-sidecar.dev/transport"
NAME = "mcp-sidecar.dev/name"

_PATHS: Mapping[Transport, str] = {"http": "/mcp", "sse": "/sse"}
_APP_PROTOCOLS: Mapping[str, Transport] = {
    "agentgateway.dev/mcp": "http",
    "agentgateway.dev/mcp-sse": "sse",
    "kgateway.dev/mcp": "http",
    "kgateway.dev/mcp-sse": "sse",
    "mcp": "http",
}
_TRANSPORTS: Mapping[str, Transport] = {"http": "http", "streamablehttp": "http", "sse": "sse"}
_YES, _NO = frozenset(("true", "yes", "on", "1")), frozenset(("false", "no", "off", "0"))
_GATEWAYS = frozenset(("virtualmcpserver",))
"""Values of the label `app` on what is itself in front of MCP servers."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A Service, as far as it was seen. `ports` are those of its slices, `service_ports` its own if it is watched."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    ports: tuple[Port, ...]
    service_ports: tuple[Port, ...] = ()


@dataclass(slots=True)
class Marks:
    """What one project's markers say. Empty is nothing said."""

    transport: Said = ""
    path: str = ""
    port: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Complaint:
    """A value that is not understood, with the key it stands under."""

    key: str
    problem: str


@dataclass(frozen=True, slots=True)
class Marked:
    """A port of a Service that an MCP server answers on. `rank` is smaller the more explicit the markers are."""

    name: str
    transport: Transport
    path: str
    port: Port
    rank: int


@dataclass(slots=True)
class Reading:
    """What came of the markers of one Service."""

    servers: list[Marked] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)

    def complain(self, key: str, problem: str) -> None:
        self.complaints.append(Complaint(key, problem))


def read(seen: Seen, *, asked: bool, gateways: bool = False) -> Reading:
    """The MCP servers of a Service.

    `asked`: somebody selected it, so that it needs no marker; `gateways`: the same, for what is in front of servers.
    """
    reading = Reading()
    if is_opted_out(seen.labels, seen.annotations, reading):
        return reading
    said = {rank: marks for rank, reader in enumerate(_READERS, 1) if (marks := reader(seen, reading)) is not None}
    if seen.labels.get("app") in _GATEWAYS and not (gateways or 1 in said):
        return reading  # its servers would be called through two proxies, and listed twice
    if said or asked:
        rank = min(said, default=len(_READERS) + 1)
        _settle(seen, rank, list(said.values()), reading)
    return reading


def is_opted_out(labels: Mapping[str, str], annotations: Mapping[str, str], reading: Reading) -> bool:
    """Whether somebody said that this must not be found."""
    return (
        labels.get("kagent.dev/discovery", "").lower() == "disabled"
        or _flag(labels, SERVER, reading) is False
        or _flag(annotations, SERVER, reading) is False
    )


def dns_label(text: str) -> str:
    """The name of a server for a name of Kubernetes, which may have dots and be longer."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower())[:63].strip("-")


def _own(seen: Seen, reading: Reading) -> Marks | None:
    if not (_flag(seen.labels, SERVER, reading) or _flag(seen.annotations, SERVER, reading)):
        return None
    return Marks(
        _transport(seen.annotations, TRANSPORT, reading),
        _path(seen.annotations, PATH, reading),
        name=_name(seen.annotations, NAME, reading),
    )


def _app_protocol(seen: Seen, reading: Reading) -> Marks | None:
    if not any(protocol_of(port) for port in seen.ports):
        return None
    path = _path(seen.annotations, "agentgateway.dev/mcp-path", reading)
    legacy = _path(seen.annotations, "kgateway.dev/mcp-path", reading)
    name = _name(seen.annotations, "agentgateway.dev/mcp-target-name", reading)
    return Marks(path=path or legacy, name=name)


def _kagent(seen: Seen, reading: Reading) -> Marks | None:
    if not _flag(seen.labels, "kagent.dev/mcp-service", reading):
        return None
    return Marks(
        _transport(seen.annotations, "kagent.dev/mcp-service-protocol", reading),
        _path(seen.annotations, "kagent.dev/mcp-service-path", reading),
        _port(seen.annotations, "kagent.dev/mcp-service-port", reading),
    )


def _kagenti(seen: Seen, reading: Reading) -> Marks | None:
    key = "protocol.kagenti.io/mcp"  # its being there says it, whatever its value, unless that says no
    here = key in seen.labels and (seen.labels[key] == "" or _flag(seen.labels, key, reading) is not False)
    if not (here or seen.labels.get("kagenti.io/protocol") == "mcp"):
        return None
    return Marks(_transport(seen.labels, "kagenti.io/transport", reading))


def _toolhive(seen: Seen, _reading: Reading) -> Marks | None:
    is_server = seen.labels.get("app") in {"mcpserver", "mcpremoteproxy", *_GATEWAYS}
    if not is_server or seen.labels.get("toolhive") != "true":
        return None
    return Marks(name=dns_label(seen.labels.get("toolhive-name", "")))


def _lifecycle_operator(seen: Seen, _reading: Reading) -> Marks | None:
    name = seen.labels.get("mcp-server")
    return Marks(name=dns_label(name)) if name and seen.labels.get("app") == "mcp-server" else None


def _kmcp(seen: Seen, _reading: Reading) -> Marks | None:
    name = seen.labels.get("kmcp.kagent.dev/mcp-server")
    return Marks(name=dns_label(name)) if name else None


_READERS: tuple[Callable[[Seen, Reading], Marks | None], ...] = (
    _own,
    _app_protocol,
    _kagent,
    _kagenti,
    _toolhive,
    _lifecycle_operator,
    _kmcp,
)
RESOURCE_RANK = 1.5
"""An MCPServer object comes after our own marker and before everybody else's."""


def _settle(seen: Seen, rank: int, said: list[Marks], reading: Reading) -> None:
    """Make one of what several said, for every port that is a server."""
    transport: Said = next((marks.transport for marks in said if marks.transport), "")
    path = next((marks.path for marks in said if marks.path), "")
    name = next((marks.name for marks in said if marks.name), "")
    number = next((marks.port for marks in said if marks.port), 0)
    ports = _ports(seen, number, transport, reading)
    for port in ports:
        spoken: Transport = transport or protocol_of(port) or "http"
        own = name or dns_label(seen.name)
        if len(ports) > 1:
            own = dns_label(f"{own}-{port.name or port.port}")
        reading.servers.append(Marked(own, spoken, path or _PATHS[spoken], port, rank))


def protocol_of(port: Port) -> Said:
    """The transport that a port's `appProtocol` names; empty when it is none of MCP."""
    return _APP_PROTOCOLS.get((port.app_protocol or "").lower(), "")


def _ports(seen: Seen, number: int, transport: str, reading: Reading) -> list[Port]:
    """The ports that are MCP servers: the one that is named, else those whose protocol says so, else the likeliest."""
    if not seen.ports:
        return [Port()]  # its last instance went before we came, and nobody is there to say
    usable = [port for port in seen.ports if port.port and port.protocol in {None, "", "TCP"}]
    if number:
        if named := port_behind(seen, number):
            return [named]
        reading.complain("kagent.dev/mcp-service-port", f"the Service has no port {number}")
    for wanted in (transport,) if transport else ("http", "sse"):
        # A server that speaks both has two ports, and is still one server.
        if spoken := [port for port in usable if protocol_of(port) == wanted]:
            return spoken
    if len(usable) > 1:
        for name in ("mcp", "http"):
            if named := next((port for port in usable if port.name == name), None):
                return [named]
        reading.complain("ports", "several, and none of them is called mcp or has an appProtocol of MCP")
    return usable[:1]


def port_behind(seen: Seen, number: int) -> Port | None:
    """The port of the instances behind a number, which is the Service's own where that is known."""
    own = next((port for port in seen.service_ports if port.port == number), None)
    if own is not None:
        return next((port for port in seen.ports if (port.name or "") == (own.name or "")), None)
    named = (port for port in seen.ports if port.port == number or port.name == "mcp")
    return next(named, seen.ports[0] if len(seen.ports) == 1 else None)


def service_port(seen: Seen, port: Port) -> int:
    """The number by which clients know a port of the instances; its own where the Service's is not known."""
    own = next((one.port for one in seen.service_ports if (one.name or "") == (port.name or "")), None)
    return own or port.port or 0


def _flag(values: Mapping[str, str], key: str, reading: Reading) -> bool | None:
    value = values.get(key)
    if value is None:
        return None
    if value not in {"true", "false"}:
        reading.complain(key, f'{_shown(value)} is neither "true" nor "false"')
    said = value.strip().lower()
    return True if said in _YES else False if said in _NO else None


def _transport(values: Mapping[str, str], key: str, reading: Reading) -> Said:
    value = values.get(key)
    if value is None:
        return ""
    known: Said = _TRANSPORTS.get(re.sub("[^a-z]", "", value.lower()), "")
    if not known:
        reading.complain(key, f"{_shown(value)} is no transport; known: http and sse")
    elif key.startswith("kagent.dev/") and value not in {"SSE", "STREAMABLE_HTTP"}:
        reading.complain(key, f"{_shown(value)} is taken as {known}; kagent itself wants SSE or STREAMABLE_HTTP")
    return known


def _path(values: Mapping[str, str], key: str, reading: Reading) -> str:
    value = values.get(key, "").strip()
    if not value:
        return ""
    if not re.fullmatch(r"[\x21-\x7e]{1,1024}", value) or "://" in value or "#" in value:
        reading.complain(key, f"{_shown(value)} is no path")
        return ""
    if not value.startswith("/"):
        reading.complain(key, f"{_shown(value)} is taken as /{value[:64]}")
    return value if value.startswith("/") else f"/{value}"


def _name(values: Mapping[str, str], key: str, reading: Reading) -> str:
    value = values.get(key, "")
    name = dns_label(value)
    if name != value:
        reading.complain(key, f"{_shown(value)} is taken as {name}" if name else f"{_shown(value)} is no name")
    return name


def _port(values: Mapping[str, str], key: str, reading: Reading) -> int:
    value = values.get(key, "").strip()
    if not value:
        return 0
    if not (value.isascii() and value.isdecimal() and 0 < int(value[:6]) < 65536):
        reading.complain(key, f"{_shown(value)} is no port")
        return 0
    return int(value)


def _shown(value: str) -> str:
    return repr(value[:64])
