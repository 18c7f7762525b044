"""Finds out which era a server speaks, once per endpoint and credential; knows no pool and no client.

The question is `server/discover`, never a tool call: a 2025-era server without sessions would run one (MCP
2026-07-28, basic/versioning, "Era detection").
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mcp_sidecar.directory import AnyEndpoint
from mcp_sidecar.errors import InvalidCall, UpstreamProtocolError
from mcp_sidecar.outbound.credentials import Credential
from mcp_sidecar.outbound.flights import Flights
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.handshake import ServerProfile, discovered, shared_version

PROBE_ID = b'"probe"'
# A server that was upgraded still answers `initialize`, so an old legacy verdict never fails: it is merely asked anew.
LEGACY_VERDICT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a server speaks. `at` is the wall clock, for people; `until` the monotonic one, after which to ask again.

    `transport` is `sse` for servers that turned out to speak HTTP+SSE, and empty for those that speak what their
    endpoint says.
    """

    era: eras.Era
    profile: ServerProfile
    at: float
    until: float
    transport: str = ""


Ask = Callable[[], Awaitable[Verdict]]
Probed = tuple[AnyEndpoint, str]


class Prober:
    """The dated verdicts, per endpoint and credential."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._flights: Flights[Verdict] = Flights(tasks)
        self.verdicts: dict[Probed, Verdict] = {}
        """By endpoint and source of the credential; some may be out of date."""
        self.retired: weakref.WeakSet[AnyEndpoint] = weakref.WeakSet()
        """Endpoints that are gone for good: nothing more is kept of them, also of probes under way."""

    def known(self, endpoint: AnyEndpoint, credential: Credential) -> Verdict | None:
        """The verdict in force, or None when the server has to be asked."""
        verdict = self.verdicts.get((endpoint, credential.source))
        return verdict if verdict is not None and time.monotonic() < verdict.until else None

    def forget(self, endpoint: AnyEndpoint) -> None:
        """Drop what is known of an endpoint."""
        for probed in [probed for probed in self.verdicts if probed[0] == endpoint]:
            del self.verdicts[probed]

    def retire(self, endpoint: AnyEndpoint) -> None:
        """Drop what is known of an endpoint, for good."""
        self.retired.add(endpoint)
        self.forget(endpoint)

    def shut(self) -> None:
        """End every probe: a server that does not answer must not hold up the end of the process."""
        self._flights.cancel()

    async def verdict(self, endpoint: AnyEndpoint, credential: Credential, ask: Ask) -> Verdict:
        """The verdict in force; asks the server when there is none, once for all who want to know.

        What `ask` needs is its own: it outlives a caller that gives up while others wait. Raises what it raises: that
        the server cannot be asked says nothing about its era.
        """
        known = self.known(endpoint, credential)
        if known is not None:
            return known

        async def find_out() -> Verdict:
            verdict = await ask()
            if endpoint not in self.retired:
                self.verdicts[endpoint, credential.source] = verdict
            return verdict

        return await self._flights.join((endpoint, credential.source), find_out)


def configured(protocol: str) -> Verdict | None:
    """The verdict that the configuration gives, None for `auto`."""
    era = eras.era_of(protocol)
    return None if era is None else judge(era, ServerProfile(protocol))


def judge(era: eras.Era, profile: ServerProfile, transport: str = "") -> Verdict:
    """A verdict of this moment."""
    lasts = float("inf") if era is eras.Era.MODERN else LEGACY_VERDICT_SECONDS
    return Verdict(era, profile, at=time.time(), until=time.monotonic() + lasts, transport=transport)


def legacy(transport: str = "") -> Verdict:
    """The verdict on whatever is not modern: `initialize` will tell more."""
    return judge(eras.Era.LEGACY, ServerProfile(eras.LATEST_LEGACY), transport)


def judge_answer(answer: jsonrpc.Message | None, upstream: str, *, unknown_method: bool = False) -> Verdict:
    """The era in an answer to `server/discover`, None if that was something else.

    `unknown_method`: a refusal that says so comes from a modern server, as it does with HTTP 404. Raises
    `UpstreamProtocolError` when the answer of a modern server cannot be read.
    """
    if not isinstance(answer, jsonrpc.Response):
        return legacy()
    if answer.result is None:
        return _judge_refusal(answer, unknown_method=unknown_method)
    try:
        profile = discovered(answer.result)
    except InvalidCall as error:
        message = f"the MCP server {upstream!r} broke the protocol: its answer to server/discover cannot be read"
        raise UpstreamProtocolError(message, metadata={"server": upstream}) from error
    # A server that answers but offers no modern revision wants `initialize`.
    return legacy() if profile is None else judge(eras.Era.MODERN, profile)


def _judge_refusal(answer: jsonrpc.Response, *, unknown_method: bool) -> Verdict:
    """Codes that only modern servers use tell."""
    said = jsonrpc.read_error(answer)
    code = None if said is None else said[0]
    if code == eras.UNSUPPORTED_VERSION:
        version = shared_version(answer.error or b"")
        # Modern, but no revision is shared: `initialize` is what is left.
        return legacy() if version is None else judge(eras.Era.MODERN, ServerProfile(version))
    modern = code in eras.MODERN_CODES or (unknown_method and code == eras.METHOD_NOT_FOUND)
    return judge(eras.Era.MODERN, ServerProfile(eras.LATEST_MODERN)) if modern else legacy()
