"""Every listener of the process: bound together, started together, stopped together. Knows no call."""

from __future__ import annotations

import asyncio
import ssl

from mcp_sidecar.inbound import instruments
from mcp_sidecar.inbound.auth import Authenticator, authenticator
from mcp_sidecar.inbound.chain import Chain, Ledger
from mcp_sidecar.inbound.grpc.server import is_local
from mcp_sidecar.inbound.grpc.servers import HEALTH, GrpcFaces
from mcp_sidecar.inbound.http.door import Door
from mcp_sidecar.inbound.http.drain_page import DrainPage
from mcp_sidecar.inbound.http.guard import Guard
from mcp_sidecar.inbound.http.server import HttpFace, Page
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.inbound.outward import complaints
from mcp_sidecar.inbound.parts import Parts
from mcp_sidecar.inbound.probes import probes
from mcp_sidecar.lifecycle import Phase
from mcp_sidecar.settings import ListenTlsSettings, Settings
from mcp_sidecar.watched import Report, WatchedFiles
from mcp_sidecar.wire.http_server import Handle, Listener, OnRefusal, unheard
from mcp_sidecar.wire.limits import ServerLimits
from mcp_sidecar.wire.tls import Material, server_material, watch

OFF = "off"
_LOOK_SECONDS = 1.0


class Faces:
    """The gRPC servers and the HTTP listeners (MCP and probes), with one chain for all."""

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._parts = parts
        self._listeners: list[Listener] = []
        known = authenticator(settings.auth, complaints("auth", parts.metrics, parts.log), parts.reviewed)
        ledger = Ledger(parts.log, parts.metrics, tell=parts.tell)
        self._tls = _tls(settings.listen.tls, complaints("tls", parts.metrics, parts.log))
        _watch(parts.metrics, self._tls, known)
        self._watch: asyncio.Task[None] | None = None
        self._grpc = GrpcFaces(settings.grpc, parts, Chain(ledger, known, exempt=(HEALTH,)), Chain(ledger), self._tls)
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
        pages: dict[str, Page] = {**parts.pages(Door(self._http_chain)), "/api/drain": drain}
        host = () if address.startswith("unix:") else (address.rpartition(":")[0],)
        guard = Guard(settings, host)
        face = self._http = HttpFace(parts.engine, guard, self._http_chain, settings, parts.tasks, pages)
        parts.metrics.gauge(instruments.SESSIONS, lambda: float(face.sessions))
        limits = ServerLimits(
            body_bytes=settings.max_body, header_seconds=settings.header_timeout, idle_seconds=settings.idle_timeout
        )
        tls = None if is_local(address) else self._tls
        return await self._listen(face, limits, address, on_refusal=face.refused, tls=tls)

    async def _bind_probes(self, address: str) -> str:
        # A preStop hook has no certificate to show: where the HTTP listener speaks TLS it drains from here.
        pages = {"/api/drain": DrainPage(self._parts.drain, self._parts.lifecycle)} if self._tls is not None else {}
        handle = probes(self._parts.board, self._parts.metrics, pages)
        return await self._listen(handle, ServerLimits(body_bytes=1024), address)

    async def _listen(
        self,
        handle: Handle,
        limits: ServerLimits,
        address: str,
        on_refusal: OnRefusal = unheard,
        tls: WatchedFiles[Material] | None = None,
    ) -> str:
        log = self._parts.log
        listener = Listener(
            handle,
            limits,
            self._parts.tasks,
            on_fault=lambda fault: log.error("fault", error=repr(fault)),
            on_refusal=on_refusal,
            tls=None if tls is None else lambda: _newest(tls),
            on_handshake=lambda peer, why: log.warning("handshake", peer=peer, error=why),
        )
        self._listeners.append(listener)
        try:
            if address.startswith("unix:"):
                return "unix://" + listener.bind_unix(address.removeprefix("unix://"))
            host, _, port = address.rpartition(":")
            return _join(*await listener.bind(host.strip("[]"), int(port)))
        except OSError as error:
            # Without a number: it would stand before the words.
            raise OSError(f"cannot listen on {address}: {error.strerror or error}") from error

    async def start(self) -> None:
        """Begin to accept."""
        if self._tls is not None:
            self._watch = self._parts.tasks.create_task(_look_always(self._tls), name="tls files")
        await self._grpc.start()
        self._parts.lifecycle.subscribe(self._part)

    def _part(self, phase: Phase) -> None:
        """Clients that keep connections open would come back here for as long as they get answers."""
        if phase is Phase.LAME_DUCK:
            for listener in self._listeners:
                listener.part()

    async def stop(self, grace: float) -> None:
        """Accept nothing any more, end what is left after `grace` seconds."""
        if self._watch is not None:
            self._watch.cancel()
        for listener in self._listeners:
            listener.drain()
        if self._http is not None:
            await self._http.close()
        await self._grpc.stop(grace)
        for listener in self._listeners:
            await listener.close()


def _tls(settings: ListenTlsSettings, report: Report) -> WatchedFiles[Material] | None:
    if not settings.cert_file:
        return None
    files = (settings.cert_file, settings.key_file, settings.client_ca_file)
    return watch(*files, server_material, report, otherwise="nobody can be let in")


def _watch(metrics: Metrics, tls: WatchedFiles[Material] | None, known: Authenticator | None) -> None:
    """Have the generations of what the listeners read from files in the metrics."""
    if tls is not None:
        metrics.gauge(instruments.CONFIG_GENERATION, lambda: float(tls.generation), kind="tls")
    if known is not None:
        metrics.gauge(instruments.CONFIG_GENERATION, lambda: float(known.generation), kind="auth")


def _newest(files: WatchedFiles[Material]) -> ssl.SSLContext:
    if files.value is None:
        raise OSError("there is no certificate to listen with (listen.tls)")
    return files.value.context


async def _look_always(files: WatchedFiles[Material]) -> None:
    """Keep the newest files at hand for those who cannot look for themselves, such as gRPC's threads."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        files.look()


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
