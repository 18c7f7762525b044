"""Finds out which era a server speaks, once per endpoint and credential; knows no pool and no client.

The question is `server/discover`, never a tool call: a 2025-era server without sessions would run one (MCP
2026-07-28, basic/versioning, "Era detection").
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from mcp_sidecar.call import Call
from mcp_sidecar.directory import Endpoint
from mcp_sidecar.errors import Execution, InvalidCall, SidecarError, UpstreamProtocolError, UpstreamUnavailable
from mcp_sidecar.outbound import http
from mcp_sidecar.outbound.flights import Flights
from mcp_sidecar.protocol import eras, headers, jsonrpc
from mcp_sidecar.protocol.handshake import ServerProfile, discover_request, discovered, shared_version
from mcp_sidecar.wire.http_client import HttpClient, Response

PROBE_SECONDS = 5.0
# A server that was upgraded still answers `initialize`, so an old legacy verdict never fails: it is merely asked anew.
LEGACY_VERDICT_SECONDS = 600.0
_PROBE_ID = b'"probe"'


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a server speaks. `at` is the wall clock, for people; `until` the monotonic one, after which to ask again."""

    era: eras.Era
    profile: ServerProfile
    at: float
    until: float


Probed = tuple[Endpoint, str]


class Prober:
    """The dated verdicts, per endpoint and credential."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._flights: Flights[Verdict] = Flights(tasks)
        self.verdicts: dict[Probed, Verdict] = {}
        """By endpoint and fingerprint of the credential; some may be out of date."""

    def known(self, endpoint: Endpoint, credential: http.Credential) -> Verdict | None:
        """The verdict in force, or None when the server has to be asked."""
        verdict = self.verdicts.get((endpoint, credential.fingerprint))
        return verdict if verdict is not None and time.monotonic() < verdict.until else None

    def forget(self, endpoint: Endpoint) -> None:
        """Drop what is known of an endpoint."""
        for probed in [probed for probed in self.verdicts if probed[0] == endpoint]:
            del self.verdicts[probed]

    def shut(self) -> None:
        """End every probe: a server that does not answer must not hold up the end of the process."""
        self._flights.cancel()

    async def verdict(
        self, endpoint: Endpoint, credential: http.Credential, open_client: Callable[[], HttpClient], protocol: str
    ) -> Verdict:
        """The verdict in force; asks the server when there is none. `protocol` is the configured revision or `auto`.

        The client that asks is the probe's own: it must outlive a caller that gives up while others wait.
        Raises `UpstreamUnavailable` or `UpstreamProtocolError` when the server cannot be asked: that says nothing about
        its era.
        """
        known = self.known(endpoint, credential)
        if known is not None:
            return known

        async def ask() -> Verdict:
            verdict = _configured(protocol) or await _ask_with(open_client(), endpoint, credential)
            self.verdicts[endpoint, credential.fingerprint] = verdict
            return verdict

        return await self._flights.join((endpoint, credential.fingerprint), ask)


def _configured(protocol: str) -> Verdict | None:
    era = eras.era_of(protocol)
    return None if era is None else _judge(era, ServerProfile(protocol))


def _judge(era: eras.Era, profile: ServerProfile) -> Verdict:
    lasts = float("inf") if era is eras.Era.MODERN else LEGACY_VERDICT_SECONDS
    return Verdict(era, profile, at=time.time(), until=time.monotonic() + lasts)


_LEGACY = ServerProfile(eras.LATEST_LEGACY)


async def _ask_with(client: HttpClient, endpoint: Endpoint, credential: http.Credential) -> Verdict:
    try:
        return await _ask(endpoint, credential, client)
    finally:
        client.close()


async def _ask(endpoint: Endpoint, credential: http.Credential, client: HttpClient) -> Verdict:
    call = Call(rpc="probe", request_id="probe")
    block = b"%b%b%b%b: %b\r\n%b: %b\r\n" % (
        http.COMMON_HEADERS,
        credential.header,
        http.call_headers(call),
        headers.PROTOCOL_VERSION,
        eras.LATEST_MODERN.encode(),
        headers.METHOD,
        eras.DISCOVER.encode(),
    )
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            response = await http.send(client, b"POST", endpoint, block, discover_request().encode(_PROBE_ID), call)
            try:
                return await _read(response, endpoint)
            finally:
                response.close()
    except TimeoutError as error:
        message = (
            f"the MCP server {endpoint.upstream!r} did not say within {PROBE_SECONDS:g} s which MCP version it speaks"
        )
        raise UpstreamUnavailable(message, metadata={"server": endpoint.upstream}) from error
    except SidecarError as error:
        error.execution = Execution.NONE  # a probe runs nothing
        raise


async def _read(response: Response, endpoint: Endpoint) -> Verdict:
    if response.status == 200:
        return await _read_answer(response, endpoint)
    if response.status in (401, 403, 429) or response.status >= 500:
        raise http.status_error(response, endpoint)  # no evidence of an era
    answer = await http.error_reply(response, endpoint, _PROBE_ID)
    return _from_error(answer, response.status)


async def _read_answer(response: Response, endpoint: Endpoint) -> Verdict:
    try:
        message = await http.replies(response, endpoint).next()
    except UpstreamProtocolError:
        return _judge(eras.Era.LEGACY, _LEGACY)  # whatever it is, it is not 2026-07-28; `initialize` will tell
    if not isinstance(message, jsonrpc.Response) or message.result is None:
        return _from_error(message if isinstance(message, jsonrpc.Response) else None, 200)
    try:
        profile = discovered(message.result)
    except InvalidCall as error:
        raise http.nonsense(endpoint, "its answer to server/discover cannot be read", Execution.NONE) from error
    # A server that answers but offers no modern revision wants `initialize`.
    return _judge(eras.Era.LEGACY, _LEGACY) if profile is None else _judge(eras.Era.MODERN, profile)


def _from_error(answer: jsonrpc.Response | None, status: int) -> Verdict:
    """The era in a refusal: codes that only modern servers use, or a 404 that is about the method."""
    said = jsonrpc.read_error(answer) if answer is not None else None
    if answer is not None and said and said[0] == eras.UNSUPPORTED_VERSION:
        version = shared_version(answer.error or b"")
        if version is not None:
            return _judge(eras.Era.MODERN, ServerProfile(version))
        return _judge(eras.Era.LEGACY, _LEGACY)  # modern, but no revision we share: `initialize` is what is left
    if said and (said[0] in eras.MODERN_CODES or (status == 404 and said[0] == eras.METHOD_NOT_FOUND)):
        return _judge(eras.Era.MODERN, ServerProfile(eras.LATEST_MODERN))
    return _judge(eras.Era.LEGACY, _LEGACY)
