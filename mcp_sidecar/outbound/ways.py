"""How endpoints are reached, by their kind: what asks for their era, and what link leads there. Knows no pool."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mcp_sidecar.call import Client
from mcp_sidecar.directory import AnyEndpoint, Command, Endpoint, Upstream
from mcp_sidecar.errors import UpstreamUnavailable
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound import http_probe, stream_probe
from mcp_sidecar.outbound.carrier import Carrier
from mcp_sidecar.outbound.connection import Key
from mcp_sidecar.outbound.credentials import Credential
from mcp_sidecar.outbound.grpc import GrpcLink
from mcp_sidecar.outbound.guardian import Guardian
from mcp_sidecar.outbound.http_legacy import HttpCarrier
from mcp_sidecar.outbound.http_modern import ModernLink
from mcp_sidecar.outbound.http_sse import SseWire
from mcp_sidecar.outbound.launcher import Launcher
from mcp_sidecar.outbound.legacy import LegacyConversation
from mcp_sidecar.outbound.link import Link
from mcp_sidecar.outbound.measures import UNMEASURED, Measures
from mcp_sidecar.outbound.probe import Verdict, configured, judge, legacy
from mcp_sidecar.outbound.spares import Spares, Whose
from mcp_sidecar.outbound.stream_legacy import StreamCarrier
from mcp_sidecar.outbound.stream_modern import ModernStreamLink
from mcp_sidecar.protocol.eras import LATEST_MODERN, Era
from mcp_sidecar.protocol.handshake import CLIENT_INFO, ServerProfile
from mcp_sidecar.wire.http_client import HttpClient, Origin
from mcp_sidecar.wire.limits import ClientLimits


class Way(Protocol):
    """The way to one endpoint, with one credential."""

    async def ask(self) -> Verdict:
        """Find out what is spoken there. Raises `SidecarError` when that cannot be told."""

    def is_one_stream(self, verdict: Verdict) -> bool:
        """All that the server says comes on one stream, where what it asks does not say about which call."""

    def link(self, verdict: Verdict, key: Key, client: Client | None) -> Link:
        """A link that is not open yet; `client` is whom it belongs to, None for everybody."""


class Ways:
    """The way to every endpoint. It owns what outlives a link: the programs it started."""

    def __init__(self, tasks: asyncio.TaskGroup, log: Log) -> None:
        self._tasks = tasks
        self._log = log
        self._guardian = Guardian(tasks)
        self._launchers: dict[Command, Launcher] = {}
        self._spares = Spares()
        self.measures: Measures = UNMEASURED

    def to(self, upstream: Upstream, endpoint: AnyEndpoint, credential: Credential) -> Way:
        if isinstance(endpoint, Command):
            return StdioWay(upstream, self._launcher(endpoint), self._tasks, self.measures)
        if endpoint.transport == "grpc":
            return GrpcWay(upstream, endpoint, credential, self.measures)
        return HttpWay(upstream, endpoint, credential, self._tasks, self._spares, self.measures)

    def _launcher(self, command: Command) -> Launcher:
        if command not in self._launchers:
            self._launchers[command] = Launcher(command, self._guardian, self._log, self._tasks)
        return self._launchers[command]

    async def close(self) -> None:
        """End what no link has ended."""
        self._spares.close()
        await asyncio.gather(*(launcher.close() for launcher in self._launchers.values()))
        await self._guardian.close()


@dataclass(frozen=True, slots=True)
class HttpWay:
    """Streamable HTTP in either era, and HTTP+SSE."""

    upstream: Upstream
    endpoint: Endpoint
    credential: Credential
    tasks: asyncio.TaskGroup
    spares: Spares
    measures: Measures

    async def ask(self) -> Verdict:
        if self.endpoint.transport == "sse":
            return legacy("sse")
        known = configured(self.upstream.settings.protocol)
        keep = partial(self.spares.keep, self._whose)
        return known or await http_probe.ask(self._client(), self.endpoint, self.credential, keep)

    @property
    def _whose(self) -> Whose:
        return self.endpoint, self.credential.fingerprint

    def is_one_stream(self, verdict: Verdict) -> bool:
        return verdict.transport == "sse"

    def link(self, verdict: Verdict, key: Key, client: Client | None) -> Link:
        if verdict.era is Era.MODERN:
            return ModernLink(self.endpoint, self.credential, self._client(), verdict.profile)
        carrier = self._carrier(verdict, shared=client is None)
        return _conversation(self, carrier, verdict, key, client)

    def _carrier(self, verdict: Verdict, *, shared: bool) -> Carrier:
        if verdict.transport != "sse":
            return HttpCarrier(self.endpoint, self.credential, self._client())
        name, seconds = self.upstream.name, HttpCarrier.handshake_seconds
        return StreamCarrier(name, "sse", self._open, self.tasks, handshake_seconds=seconds, shared=shared)

    async def _open(self) -> SseWire:
        wire = SseWire(self._client(), self.endpoint, self.credential)
        await wire.open()
        return wire

    def _client(self) -> HttpClient:
        """One on which nothing is under way: that of the probe, if it is there."""
        if (spare := self.spares.take(self._whose)) is not None:
            return spare
        endpoint = self.endpoint
        tls = self.credential.trust.context if endpoint.secure else None
        origin = Origin(endpoint.host, endpoint.port, endpoint.authority.encode(), tls, endpoint.name)
        return HttpClient(origin, ClientLimits(connect_seconds=self.upstream.settings.timeout.connect))


@dataclass(frozen=True, slots=True)
class GrpcWay:
    """Another sidecar, which speaks whatever its servers do not."""

    upstream: Upstream
    endpoint: Endpoint
    credential: Credential
    measures: Measures

    async def ask(self) -> Verdict:
        return judge(Era.MODERN, ServerProfile(LATEST_MODERN))

    def is_one_stream(self, verdict: Verdict) -> bool:  # noqa: ARG002  # a stream for each exchange
        return False

    def link(self, verdict: Verdict, key: Key, client: Client | None) -> Link:  # noqa: ARG002  # all are served alike
        try:
            return GrpcLink(self.endpoint, self.credential, self.upstream.settings.timeout.connect, self.measures)
        except OSError as error:
            facts = {"server": self.upstream.name}
            raise UpstreamUnavailable(f"the MCP server {self.upstream.name!r}: {error}", metadata=facts) from error


@dataclass(frozen=True, slots=True)
class StdioWay:
    """A child process, in either era; one for each link."""

    upstream: Upstream
    launcher: Launcher
    tasks: asyncio.TaskGroup
    measures: Measures

    async def ask(self) -> Verdict:
        known = configured(self.upstream.settings.protocol)
        return known or await stream_probe.ask(self.launcher, self.upstream.name)

    def is_one_stream(self, verdict: Verdict) -> bool:  # noqa: ARG002  # the modern era asks within its answers
        return True

    def link(self, verdict: Verdict, key: Key, client: Client | None) -> Link:
        name, start = self.upstream.name, self.launcher.start
        if verdict.era is Era.MODERN:
            return ModernStreamLink(name, "stdio", start, self.tasks, verdict.profile)
        seconds, shared = stream_probe.START_SECONDS, client is None
        carrier = StreamCarrier(name, "stdio", start, self.tasks, handshake_seconds=seconds, shared=shared)
        return _conversation(self, carrier, verdict, key, client)


def _conversation(
    way: HttpWay | StdioWay, carrier: Carrier, verdict: Verdict, key: Key, client: Client | None
) -> LegacyConversation:
    return LegacyConversation(
        way.upstream.name,
        carrier,
        way.tasks,
        version=verdict.profile.version,
        capabilities=key.capabilities,
        info=CLIENT_INFO if client is None else client.info,
        measures=way.measures,
    )
