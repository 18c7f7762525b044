"""Leases a connection to an upstream: which endpoint, which credential, which era. Knows no request."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_sidecar.call import Client, Deadline
from mcp_sidecar.directory import AnyEndpoint, Upstream
from mcp_sidecar.errors import PoolExhausted, SidecarError, Unavailable
from mcp_sidecar.outbound.connection import Connection, Key, State
from mcp_sidecar.outbound.credentials import NO_CREDENTIAL, Credential, Credentials, CredentialsRefused
from mcp_sidecar.outbound.pool import Pool
from mcp_sidecar.outbound.probe import Prober, Verdict
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


class Dialer:
    """Joins prober, credentials and pool; the engine asks it for connections and gives them back to it."""

    def __init__(self, pool: Pool, prober: Prober, credentials: Credentials, ways: Ways) -> None:
        self.pool = pool
        self.prober = prober
        self._credentials = credentials
        self._ways = ways
        self._health: dict[str, Health] = {}

    def health(self, upstream: str) -> Health:
        return self._health.get(upstream) or Health()

    def verdict(self, upstream: Upstream) -> Verdict | None:
        """What the upstream's endpoint speaks, as far as that is known."""
        try:
            return self.prober.known(upstream.endpoints[0], self._credentials.of(upstream.settings))
        except SidecarError:
            return None

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
        endpoint, settings = upstream.endpoints[0], upstream.settings
        credential = self._credentials.of(settings)
        source = _source(endpoint, credential)
        verdict = self.prober.verdicts.get((endpoint, credential.source))
        if verdict is None or verdict.era is not _MODERN:
            return None  # a modern verdict is never out of date
        # A plain tuple finds what a `Key` does and is made in a fraction of the time.
        return self.pool.ready((endpoint, source, b"", ""))

    async def lease(
        self, upstream: Upstream, capabilities: bytes, deadline: Deadline, client: Client | None = None
    ) -> Connection:
        """A connection for one exchange; give it back with `release`.

        On a server of the 2025 era `client` gets a session of its own: some servers keep state in it. Others share one
        for each set of `capabilities`.

        Raises `UpstreamUnavailable`, `UpstreamProtocolError` or `PoolExhausted`: nothing has run then.
        """
        endpoint = upstream.endpoints[0]
        credential = self._credentials.of(upstream.settings)
        try:
            way = self._ways.to(upstream, endpoint, credential)
            verdict = self.prober.known(endpoint, credential)
            if verdict is None:
                verdict = await self.prober.verdict(endpoint, credential, way.ask)
            key = _key(endpoint, credential, verdict, capabilities, client)
            return await self.pool.acquire(key, lambda: way.link(verdict, key, client), deadline)
        except SidecarError as error:
            if isinstance(error, CredentialsRefused):
                credential.doubt()
            if not isinstance(error, PoolExhausted):
                # Whatever is no modern answer counts as legacy until `initialize` fails: then it is to be asked again.
                self.prober.forget(endpoint)
            self._note(upstream.name, error)
            raise

    def release(self, upstream: Upstream, connection: Connection, error: SidecarError | None) -> None:
        """Give a connection back and say how it did; only a broken path counts against it."""
        if error is None:
            health = self._health.get(upstream.name)
            if connection.state is not _CONNECTED or health is None or not health.up:
                self.pool.report(connection, None)
                self._note(upstream.name, None)
        elif isinstance(error, Unavailable):
            if isinstance(error, CredentialsRefused):
                self._credentials.of(upstream.settings).doubt()
            self.pool.report(connection, error)
            self._note(upstream.name, error)
        self.pool.release(connection, heard=error is None)

    def give_back(self, upstream: Upstream, connection: Connection) -> None:
        """Give a connection back that was not used: its state stays what it was."""
        if connection.state is State.CONNECTED:
            self._note(upstream.name, None)
        self.pool.release(connection)

    def _note(self, name: str, error: SidecarError | None) -> None:
        health = self._health.get(name)
        if health is None:
            health = self._health[name] = Health()
        if error is None:
            health.up, health.last_error = True, ""
        elif isinstance(error, Unavailable):
            health.up, health.last_error = False, error.message

    def forget(self, client: Client) -> None:
        """A conversation is over: close the sessions that were its own."""
        self.pool.close_of(client.id)

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
