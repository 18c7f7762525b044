"""Every listener of the process: bound together, started together, stopped together. Knows no call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc

from mcp_sidecar.directory import Directory
from mcp_sidecar.drain import Drain
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.inbound.auth import authenticator
from mcp_sidecar.inbound.chain import Authentication, Logging, Measuring, Step
from mcp_sidecar.inbound.grpc import server as rpc
from mcp_sidecar.inbound.grpc.connections_service import ConnectionService
from mcp_sidecar.inbound.grpc.engine_service import EngineService
from mcp_sidecar.inbound.grpc.health import HealthService
from mcp_sidecar.inbound.grpc.status import recovery
from mcp_sidecar.inbound.health import HealthBoard
from mcp_sidecar.inbound.http.drain_page import DrainPage
from mcp_sidecar.inbound.http.guard import Guard
from mcp_sidecar.inbound.http.server import HttpFace
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.inbound.probes import probes
from mcp_sidecar.lifecycle import Lifecycle
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.settings import Settings
from mcp_sidecar.v1 import connections_pb2_grpc, engine_pb2_grpc
from mcp_sidecar.wire.http_server import Handle, Listener
from mcp_sidecar.wire.limits import ServerLimits

OFF = "off"
_HEALTH = "/grpc.health.v1.Health/"
_PROBES = frozenset((_HEALTH + "Check", _HEALTH + "Watch", _HEALTH + "List"))


@dataclass(frozen=True)
class Parts:
    """What the listeners serve and report to."""

    engine: Engine
    dialer: Dialer
    directory: Directory
    lifecycle: Lifecycle
    drain: Drain
    board: HealthBoard
    metrics: Metrics
    log: Log
    tasks: asyncio.TaskGroup


class Faces:
    """The gRPC servers (local, network and the kubelet's) and the HTTP listeners (MCP and probes)."""

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._parts = parts
        self._servers: list[grpc.aio.Server] = []
        self._listeners: list[Listener] = []
        measuring = Measuring(parts.metrics)
        known = authenticator(settings.auth, lambda trouble: parts.log.warning("auth", trouble=trouble))
        self._steps: tuple[Step, ...] = (
            Logging(parts.log),
            Authentication(known, measuring, exempt=(_HEALTH,)),
            measuring,
        )
        self._inner: tuple[Step, ...] = (Logging(parts.log), measuring)
        self._probes: tuple[Step, ...] = (recovery, Logging(parts.log, quiet=_PROBES), measuring)

    async def bind(self) -> dict[str, str | list[str]]:
        """Take every port. Raises `OSError` for one that is taken; the bound addresses, by name of the listener."""
        listen = self._settings.listen
        bound: dict[str, str | list[str]] = {}
        if listen.grpc:
            addresses = self._bind_grpc(listen.grpc)
            bound["grpc"] = addresses[0] if len(addresses) == 1 else addresses
        if listen.http != OFF:
            bound["http"] = await self._bind_http(listen.http)
        if listen.health != OFF:
            bound["health"] = self._bind_health(listen.health)
        if listen.metrics != OFF:
            bound["metrics"] = await self._bind_probes(listen.metrics)
        return bound

    def _bind_grpc(self, addresses: Sequence[str]) -> list[str]:
        """One server for what only this machine reaches and one for the rest: their connections live differently."""
        bound: dict[str, str] = {}
        for local in (True, False):
            group = [address for address in addresses if rpc.is_local(address) is local]
            if group:
                server = self._serve_rpcs(local=local)
                bound |= {address: _take(server, address) for address in group}
        return [bound[address] for address in addresses]

    def _serve_rpcs(self, *, local: bool) -> grpc.aio.Server:
        server = grpc.aio.server(options=rpc.options(self._settings.grpc, local=local))
        self._servers.append(server)
        parts, chain = self._parts, (recovery, *self._steps)
        ours = rpc.Registrar([server], chain, rpc.the_call)
        service = EngineService(
            parts.engine, parts.dialer.pool, self._settings.grpc, parts.lifecycle, self._inner, parts.tasks
        )
        engine_pb2_grpc.add_MCPEngineServicer_to_server(service, ours)  # type: ignore[arg-type]  # same methods, other context
        connections = ConnectionService(parts.directory, parts.dialer, parts.engine, parts.lifecycle)
        connections_pb2_grpc.add_ConnectionManagerServicer_to_server(connections, ours)  # type: ignore[arg-type]
        plain = rpc.Registrar([server], chain, rpc.the_context)
        health_pb2_grpc.add_HealthServicer_to_server(HealthService(parts.board), plain)  # type: ignore[no-untyped-call]
        if self._settings.grpc.reflection:
            _reflect(plain)
        server.add_generic_rpc_handlers((rpc.Unknown(chain),))
        return server

    def _bind_health(self, address: str) -> str:
        # No age or idle limit: the kubelet opens a connection for each probe anyway.
        server = grpc.aio.server(options=rpc.options(self._settings.grpc, local=True))
        self._servers.append(server)
        plain = rpc.Registrar([server], self._probes, rpc.the_context)
        health_pb2_grpc.add_HealthServicer_to_server(HealthService(self._parts.board), plain)  # type: ignore[no-untyped-call]
        server.add_generic_rpc_handlers((rpc.Unknown(self._probes),))
        return _take(server, address)

    async def _bind_http(self, address: str) -> str:
        parts, settings = self._parts, self._settings.http
        pages = {"/api/drain": DrainPage(parts.drain, parts.lifecycle)}
        host = () if address.startswith("unix:") else (address.rpartition(":")[0],)
        face = HttpFace(parts.engine, Guard(settings, host), self._steps, pages)
        limits = ServerLimits(
            body_bytes=settings.max_body, header_seconds=settings.header_timeout, idle_seconds=settings.idle_timeout
        )
        return await self._listen(face, limits, address)

    async def _bind_probes(self, address: str) -> str:
        return await self._listen(probes(self._parts.board, self._parts.metrics), ServerLimits(body_bytes=1024), address)

    async def _listen(self, handle: Handle, limits: ServerLimits, address: str) -> str:
        log = self._parts.log
        listener = Listener(
            handle, limits, self._parts.tasks, on_fault=lambda fault: log.error("fault", error=repr(fault))
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
        for server in self._servers:
            await server.start()

    async def stop(self, grace: float) -> None:
        """Accept nothing any more, end what is left after `grace` seconds."""
        for listener in self._listeners:
            listener.drain()
        await asyncio.gather(*(server.stop(grace) for server in self._servers))
        for listener in self._listeners:
            await listener.close()


def _take(server: grpc.aio.Server, address: str) -> str:
    target = address.replace("unix://", "unix:", 1)
    try:
        port = server.add_insecure_port(target)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: the address is taken or not of this machine") from error
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reflect(server: rpc.Registrar) -> None:
    from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

    names = ("mcp_sidecar.v1.MCPEngine", "mcp_sidecar.v1.ConnectionManager", "grpc.health.v1.Health")
    # `enable_server_reflection` looks at the server's class and would take the one for threads.
    service = reflection.aio.ReflectionServicer((*names, reflection.SERVICE_NAME))  # type: ignore[no-untyped-call]
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(service, server)  # type: ignore[no-untyped-call]
