"""Leases a connection to an upstream: which endpoint, which credential, which era. Knows no request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mcp_sidecar.call import Client, Deadline
from mcp_sidecar.directory import AnyEndpoint, Upstream
from mcp_sidecar.errors import PoolExhausted, SidecarError, Unavailable, UpstreamUnavailable
from mcp_sidecar.outbound.balancer import Balancer
from mcp_sidecar.outbound.connection import Connection, Key, State
from mcp_sidecar.outbound.credentials import NO_CREDENTIAL, Credential, Credentials, CredentialsRefused
from mcp_sidecar.outbound.measures import Measures
from mcp_sidecar.outbound.pool import Pool, vanished
from mcp_sidecar.outbound.probe import Prober, Verdict
from mcp_sidecar.outbound.questions import may_be_asked
from mcp_sidecar.outbound.ways import Ways
from mcp_sidecar.protocol.eras import Era

# Looking a member up in its class costs as much as a call.
_MODERN = Era.MODERN
_CONNECTED = State.CONNECTED


@dataclass(slots=True)
class Health:
    """What is known of an upstream as a whole: `up` is None until it was tried."""

    up: bool | None = None
    last_error: str = ""

    def be_up(self) -> None:
        self.up, self.last_error = True, ""


class Dialer:
    """Joins balancer, prober, credentials and pool; the engine asks it for connections and gives them back to it."""

    def __init__(self, pool: Pool, prober: Prober, credentials: Credentials, ways: Ways) -> None:
        self.pool = pool
        self.prober = prober
        self.balancer = Balancer(pool.load)
        self._credentials = credentials
        self._ways = ways
        self._health: dict[str, Health] = {}
        self._watchers: list[Callable[[str], None]] = []

    def watch(self, notify: Callable[[str], None]) -> None:
        """Call `notify` with the name of an upstream whenever an endpoint of it is found broken."""
        self._watchers.append(notify)

    def tell(self, measures: Measures) -> None:
        """Have it hear of sessions, waiting, RPCs and endpoints."""
        self.pool.measures = self.balancer.measures = self._ways.measures = measures

    def health(self, upstream: str) -> Health:
        return self._health.get(upstream) or Health()

    def verdict(self, upstream: Upstream, endpoint: AnyEndpoint | None = None) -> Verdict | None:
        """What an endpoint speaks, or all of them do, as far as that is known.

        Of several eras it is the older one: whoever asks has to be ready for it.
        """
        try:
            credential = self._credentials.of(upstream.settings)
        except SidecarError:
            return None
        chosen = endpoint or upstream.only
        known = (self.prober.known(one, credential) for one in (upstream.all if chosen is None else (chosen,)))
        best = None
        for verdict in known:
            if verdict is not None and verdict.era is not _MODERN:
                return verdict
            best = best or verdict
        return best

    def credential(self, upstream: Upstream) -> str:
        """What tells the credential shown to the upstream apart from others; empty for none."""
        try:
            return self._credentials.of(upstream.settings).fingerprint
        except SidecarError:
            return ""

    def title(self, upstream: Upstream) -> tuple[str, str]:
        """The server's own name and version; empty until it was asked."""
        profiles = [one.link.profile for one in self.pool.connections() if one.key.upstream == upstream.name]
        return profiles[0].title if profiles else ("", "")

    def standing(self, upstream: Upstream) -> Connection | None:
        """Lease the connection to a modern server, if it stands; the fast path of `lease`."""
        endpoint = upstream.only
        if endpoint is None:
            endpoint = self.balancer.choose(upstream, time.monotonic())
        credential = self._credentials.of(upstream.settings) if upstream.secured else NO_CREDENTIAL
        verdict = self.prober.verdicts.get((endpoint, credential.source))  # type: ignore[arg-type]  # or None
        if endpoint is None or verdict is None or verdict.era is not _MODERN:
            return None  # a modern verdict is never out of date
        source = "" if credential is NO_CREDENTIAL else _source(endpoint, credential)
        # A plain tuple finds what a `Key` does and is made in a fraction of the time.
        return self.pool.ready((endpoint, source, b"", "", 0))

    async def lease(
        self,
        upstream: Upstream,
        capabilities: bytes,
        deadline: Deadline,
        client: Client | None = None,
        tried: list[AnyEndpoint] | None = None,
        *,
        listens: bool = False,
    ) -> Connection:
        """A connection for one exchange; give it back with `release`.

        It leads to none of the endpoints that were `tried`, if there is another one, which then is added to them. On a
        server of the 2025 era `client` gets a session of its own: some servers keep state in it. Others share one for
        each set of `capabilities`, and where questions do not say about which call they are, a call whose client can
        be asked has a connection alone. Who merely `listens` shares one with calls all the same.

        Raises `UpstreamUnavailable`, `UpstreamProtocolError` or `PoolExhausted`: nothing has run then.
        """
        now = time.monotonic()
        endpoint = upstream.only
        if endpoint is None:
            home = None if client is None else self.pool.home(client.id, upstream.name)
            choose = self.balancer.choose
            endpoint = choose(upstream, now, tried or (), home) or choose(upstream, now)
        if endpoint is None:
            message = f"the MCP server {upstream.name!r} has no endpoint just now"
            raise self._noted(upstream, UpstreamUnavailable(message, metadata={"server": upstream.name}))
        if tried is not None and endpoint not in tried:
            tried.append(endpoint)
        return await self.lease_at(endpoint, upstream, capabilities, deadline, client, listens=listens)

    async def lease_at(
        self,
        endpoint: AnyEndpoint,
        upstream: Upstream,
        capabilities: bytes,
        deadline: Deadline,
        client: Client | None = None,
        *,
        listens: bool = False,
    ) -> Connection:
        """As `lease`, for one endpoint."""
        credential = self._credentials.of(upstream.settings)
        try:
            way = self._ways.to(upstream, endpoint, credential)
            verdict = self.prober.known(endpoint, credential)
            if verdict is None and endpoint not in self.prober.retired:
                verdict = await self.prober.verdict(endpoint, credential, way.ask)
            if verdict is None or endpoint in self.prober.retired:
                raise vanished(endpoint)
            key = _key(endpoint, credential, verdict, capabilities, client)
            alone = not listens and may_be_asked(key.capabilities) and client is None and way.is_one_stream(verdict)
            return await self.pool.acquire(key, lambda: way.link(verdict, key, client), deadline, alone=alone)
        except SidecarError as error:
            if isinstance(error, CredentialsRefused):
                credential.doubt()
            if not isinstance(error, PoolExhausted):
                # Whatever is no modern answer counts as legacy until `initialize` fails: then it is to be asked again.
                self.prober.forget(endpoint)
            self._failed(upstream, endpoint, error)
            raise

    def elsewhere(self, upstream: Upstream, tried: Sequence[AnyEndpoint]) -> bool:
        """There is an endpoint that was not `tried`."""
        return any(endpoint not in tried for endpoint in upstream.endpoints)

    def release(
        self, upstream: Upstream, connection: Connection, error: SidecarError | None, *, listens: bool = False
    ) -> None:
        """Give a connection back and say how it did; only a broken path counts against it. `listens`: see `lease`."""
        if error is None:
            health = self._health.get(upstream.name)
            if connection.state is not _CONNECTED or health is None or not health.up or self.balancer.broken:
                self.pool.report(connection, None)
                self._worked(connection)
        elif isinstance(error, Unavailable):
            if isinstance(error, CredentialsRefused):
                self._credentials.of(upstream.settings).doubt()
            self.pool.report(connection, error)
            self._failed(upstream, connection.key.endpoint, error)
        self.pool.release(connection, heard=error is None, sharing=listens)

    def give_back(self, upstream: Upstream, connection: Connection) -> None:
        """Give a connection back that was not used: its state stays what it was."""
        if connection.state is State.CONNECTED:
            self._note(upstream.name).be_up()
        self.pool.release(connection)

    def _worked(self, connection: Connection) -> None:
        endpoint = connection.key.endpoint
        self.balancer.worked(endpoint)
        if endpoint not in self.prober.retired:  # the last call of what is no more must not bring its name back
            self._note(endpoint.upstream).be_up()

    def _failed(self, upstream: Upstream, endpoint: AnyEndpoint, error: SidecarError) -> None:
        """An upstream is down when all of its endpoints are."""
        if not isinstance(error, Unavailable) or endpoint in self.prober.retired:
            return
        now = time.monotonic()
        self.balancer.failed(endpoint, now)
        health = self._note(upstream.name)
        health.last_error = error.message
        if all(self.balancer.is_avoided(one, now) for one in upstream.endpoints):
            health.up = False
        for notify in self._watchers:
            notify(upstream.name)

    def _noted(self, upstream: Upstream, error: UpstreamUnavailable) -> UpstreamUnavailable:
        health = self._note(upstream.name)
        health.up, health.last_error = False, error.message
        return error

    def _note(self, name: str) -> Health:
        health = self._health.get(name)
        if health is None:
            health = self._health[name] = Health()
        return health

    def forget(self, client: Client) -> None:
        """A conversation is over: close the sessions that were its own."""
        self.pool.close_of(client.id)

    def own(self, client: Client) -> tuple[Connection, ...]:
        """The connections that a conversation has of its own."""
        return self.pool.of_client(client.id)

    def retire(self, endpoints: Iterable[AnyEndpoint]) -> frozenset[str]:
        """These are gone for good: their calls may finish, and nothing is kept of them. Their connections' ids."""
        ids: frozenset[str] = frozenset()
        for endpoint in endpoints:
            self.prober.retire(endpoint)
            self.balancer.retire(endpoint)
            ids |= self.pool.retire(endpoint)
        return ids

    def forget_health(self, name: str) -> None:
        """Nobody is called that any more, or somebody else."""
        self._health.pop(name, None)

    async def shut(self) -> None:
        """End every probe, connection and program; takes two seconds at most."""
        self.prober.shut()
        await self.pool.shut()
        await self._ways.close()


def _key(
    endpoint: AnyEndpoint, credential: Credential, verdict: Verdict, capabilities: bytes, client: Client | None
) -> Key:
    source = _source(endpoint, credential)
    if verdict.era is Era.MODERN:
        return Key(endpoint, source)
    if client is None:
        return Key(endpoint, source, capabilities)
    return Key(endpoint, source, client.capabilities, client.id)


def _source(endpoint: AnyEndpoint, credential: Credential) -> str:
    """What keeps connections apart. A gRPC channel shows one certificate for all its life: a newer one is another
    channel's, and the old one ends when it is idle.
    """
    if credential is NO_CREDENTIAL or endpoint.transport != "grpc":
        return credential.source
    return f"{credential.source}\n{credential.trust.generation}"
