"""Every listener of the process: bound together, started together, stopped together. Knows no call."""

from __future__ import annotations

from mcp_sidecar.inbound.auth import authenticator
from mcp_sidecar.inbound.chain import Chain, Ledger
from mcp_sidecar.inbound.grpc.servers import HEALTH, GrpcFaces
from mcp_sidecar.inbound.http.door import Door
from mcp_sidecar.inbound.http.drain_page import DrainPage
from mcp_sidecar.inbound.http.guard import Guard
from mcp_sidecar.inbound.http.server import HttpFace
from mcp_sidecar.inbound.parts import Parts
from mcp_sidecar.inbound.probes import probes
from mcp_sidecar.settings import Settings
from mcp_sidecar.wire.http_server import Handle, Listener, OnRefusal, unheard
from mcp_sidecar.wire.limits import ServerLimits

OFF = "off"


class Faces:
    """The gRPC servers and the HTTP listeners (MCP and probes), with one chain for all."""

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._parts = parts
        self._listeners: list[Listener] = []
        known = authenticator(settings.auth, lambda trouble: parts.log.warning("auth", trouble=trouble))
        ledger = Ledger(parts.log, parts.metrics, tell=parts.tell)
        self._grpc = GrpcFaces(settings.grpc, parts, Chain(ledger, known, exempt=(HEALTH,)), Chain(ledger))
        self._http_chain = Chain(ledger, known)
        self._http: HttpFace | None = None

    async def bind(self) -> dict[str, str | list[str]]:
        """Take every port. Raises `OSError` for one that is taken; the bound addresses, by name of the listener."""
        listen = self._settings.listen
        bound: dict[str, str | list[str]] = {}
        if listen.grpc:
            addresses = self._grpc.bind(listen.grpc)
            bound["grpc"] = addresses[0] if len(addresses) == 1 else addresses
        if listen.http != OFF:
            bound["http"] = await self._bind_http(listen.http)
        if listen.health != OFF:
            bound["health"] = self._grpc.bind_health(listen.health)
        if listen.metrics != OFF:
            bound["metrics"] = await self._bind_probes(listen.metrics)
        return bound

    async def _bind_http(self, address: str) -> str:
        parts, settings = self._parts, self._settings.http
        drain = DrainPage(parts.drain, parts.lifecycle)
        pages = {**parts.pages(Door(self._http_chain)), "/api/drain": drain}
        host = () if address.startswith("unix:") else (address.rpartition(":")[0],)
        guard = Guard(settings, host)
        face = self._http = HttpFace(parts.engine, guard, self._http_chain, settings, parts.tasks, pages)
        parts.metrics.gauge("mcp_sidecar_sessions", lambda: float(face.sessions))
        limits = ServerLimits(
            body_bytes=settings.max_body, header_seconds=settings.header_timeout, idle_seconds=settings.idle_timeout
        )
        return await self._listen(face, limits, address, on_refusal=face.refused)

    async def _bind_probes(self, address: str) -> str:
        return await self._listen(
            probes(self._parts.board, self._parts.metrics), ServerLimits(body_bytes=1024), address
        )

    async def _listen(self, handle: Handle, limits: ServerLimits, address: str, on_refusal: OnRefusal = unheard) -> str:
        log = self._parts.log
        listener = Listener(
            handle,
            limits,
            self._parts.tasks,
            on_fault=lambda fault: log.error("fault", error=repr(fault)),
            on_refusal=on_refusal,
        )
        self._listeners.append(listener)
        if address.startswith("unix:"):
            return "unix://" + listener.bind_unix(address.removeprefix("unix://"))
        host, _, port = address.rpartition(":")
        try:
            bound = await listener.bind(host.strip("[]"), int(port))
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {address}: {error.strerror or error}") from error
        return _join(*bound)

    async def start(self) -> None:
        """Begin to accept."""
        await self._grpc.start()

    async def stop(self, grace: float) -> None:
        """Accept nothing any more, end what is left after `grace` seconds."""
        for listener in self._listeners:
            listener.drain()
        if self._http is not None:
            await self._http.close()
        await self._grpc.stop(grace)
        for listener in self._listeners:
            await listener.close()


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
