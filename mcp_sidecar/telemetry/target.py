"""Where a signal goes and how, read from the settings. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from mcp_sidecar.settings import TelemetrySettings

_GRPC_PORT = 4317
_HTTP_PORT = 4318


@dataclass(frozen=True, slots=True)
class Target:
    """One signal's way to its collector; `path` is for HTTP only."""

    protocol: Literal["grpc", "http"]
    tls: bool
    host: str
    port: int
    path: str = ""

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def target(settings: TelemetrySettings, signal: str) -> Target:
    """The way of a signal that is wanted (`settings.endpoints` has it)."""
    way = settings.of(signal)
    endpoint = way.endpoint
    if "://" not in endpoint:
        endpoint = f"{'http' if settings.insecure else 'https'}://{endpoint}"
    url = urlsplit(endpoint)
    tls = url.scheme.lower() == "https"
    path = url.path + (f"?{url.query}" if url.query else "")
    if _speaks_http(way.protocol, url.port, url.path):
        # A signal's own endpoint is the whole URL; the common one is where the signals' paths begin.
        if not getattr(settings, f"{signal}_to").endpoint:
            path = f"{url.path.rstrip('/')}/v1/{signal}"
        return Target("http", tls, url.hostname or "", url.port or (443 if tls else 80), path or "/")
    return Target("grpc", tls, url.hostname or "", url.port or _GRPC_PORT)


def _speaks_http(protocol: str, port: int | None, path: str) -> bool:
    if protocol == "auto":
        return port == _HTTP_PORT or path not in {"", "/"}
    return protocol == "http/protobuf"
