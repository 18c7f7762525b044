"""Every gRPC server of the process: local, network and the kubelet's. Knows which service goes where, and no call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mcp_sidecar.inbound.chain import Chain, Ledger
from mcp_sidecar.inbound.grpc import server as rpc
from mcp_sidecar.inbound.grpc.connections_service import ConnectionService
from mcp_sidecar.inbound.grpc.engine_service import EngineService
from mcp_sidecar.inbound.grpc.health import HealthService
from mcp_sidecar.inbound.grpc.metadata import read_call, read_certified_call
from mcp_sidecar.inbound.parts import Parts
from mcp_sidecar.settings import GrpcSettings
from mcp_sidecar.v1 import connections_pb2, connections_pb2_grpc, engine_pb2, engine_pb2_grpc
from mcp_sidecar.watched import WatchedFiles
from mcp_sidecar.wire.tls import Material
from mcp_sidecar.wire.unix_sockets import clear_unix

HEALTH = "/grpc.health.v1.Health/"
# Every RPC there is, as `package.Service/Method`: names that clients make up get no series of their own.
RPCS = frozenset(
    f"{service.full_name}/{method.name}"
    for file in (engine_pb2.DESCRIPTOR, connections_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
)
_PROBES = frozenset((HEALTH + "Check", HEALTH + "Watch", HEALTH + "List"))


class GrpcFaces:
    """Servers with their ports and services. `chain` goes around every RPC, `inner` around a request on a stream.

    With `tls`, which has the newest files, nothing else is spoken to the network.
    """

    def __init__(
        self,
        settings: GrpcSettings,
        parts: Parts,
        chain: Chain,
        inner: Chain,
        tls: WatchedFiles[Material] | None = None,
    ) -> None:
        self._tls = tls
        self._settings = settings
        self._parts = parts
        self._chain = chain
        self._inner = inner
        self._servers: list[grpc.aio.Server] = []

    def bind(self, addresses: Sequence[str]) -> list[str]:
        """Take ports for the API; the bound addresses, in order. Raises `OSError`.

        One server for what only this machine reaches and one for the rest: their connections live differently.
        """
        bound: dict[str, str] = {}
        for local in (True, False):
            group = [address for address in addresses if rpc.is_local(address) is local]
            if group:
                server = self._api(local=local)
                credentials = _credentials(self._tls) if self._tls is not None and not local else None
                bound |= {address: _take(server, address, credentials) for address in group}
        return [bound[address] for address in addresses]

    def _api(self, *, local: bool) -> grpc.aio.Server:
        server = self._server(local=local)
        parts = self._parts
        arrive = read_call if local or not self._certified() else read_certified_call
        ours = rpc.Registrar([server], self._chain, rpc.the_call, arrive)
        engine = EngineService(parts.engine, parts.dialer.pool, self._settings, self._inner, parts.tasks)
        connections = ConnectionService(parts.directory, parts.dialer, parts.engine, parts.lifecycle)
        # Their handlers get our call where generated code expects a context.
        engine_pb2_grpc.add_MCPEngineServicer_to_server(engine, ours)  # type: ignore[arg-type]
        connections_pb2_grpc.add_ConnectionManagerServicer_to_server(connections, ours)  # type: ignore[arg-type]
        plain = rpc.Registrar([server], self._chain, rpc.the_context, arrive)
        health_pb2_grpc.add_HealthServicer_to_server(HealthService(parts.board), plain)  # type: ignore[no-untyped-call]
        if self._settings.reflection:
            _reflect(plain)
        server.add_generic_rpc_handlers((rpc.Unknown(self._chain, arrive),))
        return server

    def _certified(self) -> bool:
        """Clients from the network show certificates."""
        material = None if self._tls is None else self._tls.value
        return material is not None and bool(material.authorities)

    def bind_health(self, address: str) -> str:
        """Take the kubelet's port, which serves health and nothing else. Raises `OSError`."""
        # No age or idle limit: the kubelet opens a connection for each probe anyway.
        server = self._server(local=True)
        chain = Chain(Ledger(self._parts.log, self._parts.metrics, quiet=_PROBES))
        plain = rpc.Registrar([server], chain, rpc.the_context)
        health_pb2_grpc.add_HealthServicer_to_server(HealthService(self._parts.board), plain)  # type: ignore[no-untyped-call]
        server.add_generic_rpc_handlers((rpc.Unknown(chain),))
        return _take(server, address)

    def _server(self, *, local: bool) -> grpc.aio.Server:
        server = grpc.aio.server(options=rpc.options(self._settings, local=local))
        self._servers.append(server)
        return server

    async def start(self) -> None:
        """Begin to accept."""
        for server in self._servers:
            await server.start()

    async def stop(self, grace: float) -> None:
        """Accept nothing any more, end what is left after `grace` seconds."""
        await asyncio.gather(*(server.stop(grace) for server in self._servers))


def _credentials(files: WatchedFiles[Material]) -> grpc.ServerCredentials:
    """For each handshake the newest files that fit together. gRPC asks from threads of its own: it gets snapshots."""
    first = files.value
    if first is None:
        raise OSError("there is no certificate to listen with (listen.tls)")
    shown = first

    def newest() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        latest = files.value
        if latest is None or latest is shown:
            return None  # gRPC goes on with what it has
        shown = latest
        return _configuration(latest)

    # The stubs do not know that None means "as before".
    return grpc.dynamic_ssl_server_credentials(_configuration(first), newest, bool(first.authorities))  # type: ignore[arg-type]


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], material.authorities or None
    )


def _take(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None = None) -> str:
    target = address.replace("unix://", "unix:", 1)
    try:
        if target.startswith("unix:"):
            clear_unix(Path(target.removeprefix("unix:")))  # gRPC would take the path of one that is served, too
        port = server.add_insecure_port(target) if credentials is None else server.add_secure_port(target, credentials)
    except (RuntimeError, OSError) as error:
        raise OSError(f"cannot listen on {address}: the address is taken or not of this machine") from error
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


def _reflect(server: rpc.Registrar) -> None:
    from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

    names = ("mcp_sidecar.v1.MCPEngine", "mcp_sidecar.v1.ConnectionManager", "grpc.health.v1.Health")
    # `enable_server_reflection` looks at the server's class and would take the one for threads.
    service = reflection.aio.ReflectionServicer((*names, reflection.SERVICE_NAME))  # type: ignore[no-untyped-call]
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(service, server)  # type: ignore[no-untyped-call]
