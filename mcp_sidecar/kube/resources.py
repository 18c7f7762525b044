"""Where the server of an MCPServer object (`mcp.x-k8s.io`) is, if it says so and can be believed; knows no slice."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from mcp_sidecar.kube import markers
from mcp_sidecar.kube.markers import Reading, Transport
from mcp_sidecar.kube.objects import Server, ServerStatus

GROUP = "mcp.x-k8s.io"
_KIND = "MCPServer"
_ADDRESS = "status.address.url"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_TRUSTED = ("Verified", "Ready")
"""Conditions that make the address good. The first one that is there decides; older operators have only the second."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the address says. `service` is the Service of this namespace that it names, empty for any other host."""

    transport: Transport
    secure: bool
    host: str
    port: int
    path: str
    authority: str
    service: str


def read(server: Server, namespace: str, reading: Reading) -> Place | None:
    """The place of the server; None while it has none, and for what is another project's kind of that name."""
    if server.kind != _KIND or server.api_version.partition("/")[0] != GROUP:
        return None
    meta = server.metadata
    if markers.is_opted_out(meta.labels or {}, meta.annotations or {}, reading):
        return None
    status = server.status
    if status is None or status.address is None or not status.address.url or not _is_trusted(status):
        return None
    return _place(status.address.url, namespace, reading)


def _is_trusted(status: ServerStatus) -> bool:
    said = {condition.type: condition.status for condition in status.conditions or ()}
    return next((said[kind] == "True" for kind in _TRUSTED if kind in said), False)


def _place(text: str, namespace: str, reading: Reading) -> Place | None:
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port or _DEFAULT_PORTS.get(url.scheme, 0)
    except ValueError:
        host, port = "", 0
    if not host or not port or not text.isascii() or not text.isprintable() or " " in text or "@" in text:
        reading.complain(_ADDRESS, f"{text[:128]!r} is no http or https URL")
        return None
    path = (url.path or "/mcp") + (f"?{url.query}" if url.query else "")
    transport: Transport = "sse" if url.path.endswith("/sse") else "http"
    return Place(transport, url.scheme == "https", host, port, path, url.netloc, _service(host, namespace))


def _service(host: str, namespace: str) -> str:
    """`weather` for `weather`, `weather.agents` and `weather.agents.svc…` in namespace agents."""
    name, _, rest = host.partition(".")
    is_here = not rest or rest == namespace or rest.startswith(f"{namespace}.svc")
    return name if is_here else ""
