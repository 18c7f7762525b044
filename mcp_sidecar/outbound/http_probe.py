"""Asks a server over HTTP which era it speaks; knows what an answer looks like and not what it means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from mcp_sidecar.call import Call
from mcp_sidecar.directory import Endpoint
from mcp_sidecar.errors import Execution, SidecarError, UpstreamProtocolError, UpstreamUnavailable
from mcp_sidecar.outbound import http
from mcp_sidecar.outbound.credentials import Credential
from mcp_sidecar.outbound.http_sse import SseWire
from mcp_sidecar.outbound.probe import PROBE_ID, Verdict, judge_answer, legacy
from mcp_sidecar.protocol import eras, headers
from mcp_sidecar.protocol.handshake import discover_request
from mcp_sidecar.wire.http_client import HttpClient, Response

PROBE_SECONDS = 5.0
_STREAM_SECONDS = 1.0


async def ask(
    client: HttpClient,
    endpoint: Endpoint,
    credential: Credential,
    keep: Callable[[HttpClient], None] = HttpClient.close,
) -> Verdict:
    """One `server/discover`. `keep` gets the client if more can be asked over it; otherwise it is closed.

    Raises `UpstreamUnavailable` or `UpstreamProtocolError` when that is no evidence of any era.
    """
    verdict: Verdict | None = None
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            verdict = await _ask(client, endpoint, credential)
            return verdict or legacy("sse" if await _streams(client, endpoint, credential) else "")
    except TimeoutError as error:
        message = (
            f"the MCP server {endpoint.upstream!r} did not say within {PROBE_SECONDS:g} s which MCP version it speaks"
        )
        raise UpstreamUnavailable(message, metadata={"server": endpoint.upstream}) from error
    except SidecarError as error:
        error.execution = Execution.NONE  # a probe runs nothing
        raise
    finally:
        (client.close if verdict is None else partial(keep, client))()


async def _ask(client: HttpClient, endpoint: Endpoint, credential: Credential) -> Verdict | None:
    """The verdict; None for a refusal to take a POST at all."""
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
    response = await http.send(client, b"POST", endpoint, block, discover_request().encode(PROBE_ID), call)
    try:
        return await _read(response, endpoint)
    finally:
        response.close()


async def _read(response: Response, endpoint: Endpoint) -> Verdict | None:
    if response.status == 200:
        try:
            answer = await http.replies(response, endpoint).next()
        except UpstreamProtocolError:
            return legacy()  # whatever it is, it is not 2026-07-28; `initialize` will tell
        return judge_answer(answer, endpoint.upstream)
    if response.status in (401, 403, 429) or response.status >= 500:
        raise http.status_error(response, endpoint)  # no evidence of an era
    refusal = await http.error_reply(response, endpoint, PROBE_ID)
    if refusal is None and response.status in (400, 404, 405):
        return None
    return judge_answer(refusal, endpoint.upstream, unknown_method=response.status == 404)


async def _streams(client: HttpClient, endpoint: Endpoint, credential: Credential) -> bool:
    """Whether a server that takes no POST is one of 2024-11-05, whose stream begins with an event that says where to
    post. To look does no harm: nothing begins before `initialize`.
    """
    try:
        async with asyncio.timeout(_STREAM_SECONDS):
            await SseWire(client, endpoint, credential).open()
    except (SidecarError, TimeoutError):
        return False
    return True
