"""How 2025-era servers refuse, in our words. Knows no session and no link."""

from __future__ import annotations

from mcp_sidecar.directory import Endpoint
from mcp_sidecar.errors import Execution, SidecarError, UpstreamLost, UpstreamUnavailable
from mcp_sidecar.outbound import http
from mcp_sidecar.outbound.credentials import CredentialsRefused
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.eras import INVALID_PARAMS, MODERN_CODES
from mcp_sidecar.wire.http_client import Response

_NO_SESSION = -32000


class SessionLost(UpstreamUnavailable):
    """The server no longer knows our session: nothing ran, a fresh session will do."""

    reason = "UPSTREAM_SESSION_LOST"


def is_about_session(error: jsonrpc.Response) -> bool:
    """A refusal in the words of servers that answer 400 where the specification has 404 (TypeScript SDK v1)."""
    said = jsonrpc.read_error(error)
    return said is not None and said[0] == _NO_SESSION and "session" in said[1].lower()


def may_be_modern(error: jsonrpc.Response) -> bool:
    """A refusal, with HTTP 400, as a server of 2026-07-28 sends it to requests without its metadata.

    Servers of 2025 send -32602 with HTTP 200, as a rule.
    """
    said = jsonrpc.read_error(error)
    return said is not None and (said[0] in MODERN_CODES or said[0] == INVALID_PARAMS)


async def no_handshake(response: Response, endpoint: Endpoint, request_id: bytes) -> SidecarError:
    """What a status other than 200 for `initialize` means."""
    answer = await http.error_reply(response, endpoint, request_id)
    if answer is not None:
        return refused_handshake(endpoint.upstream, answer)
    failure = http.status_error(response, endpoint)
    failure.execution = Execution.NONE
    return failure


def refused_handshake(upstream: str, answer: jsonrpc.Response) -> SidecarError:
    """The server answered `initialize` with an error."""
    said = jsonrpc.read_error(answer)
    code = f" (JSON-RPC error {said[0]})" if said else ""
    return UpstreamUnavailable(
        f"the MCP server {upstream!r} refused to initialize{code}", metadata={"server": upstream}
    )


def not_given(upstream: str, method: str, error: SidecarError) -> SidecarError:
    """The server waits for the answer to its question in vain: the call it was asked in is lost."""
    kind = CredentialsRefused if isinstance(error, CredentialsRefused) else UpstreamLost
    message = f"the answer to {method} could not be given to the MCP server {upstream!r}: {error.message}"
    return kind(message, execution=Execution.UNKNOWN, metadata={**error.metadata, "server": upstream})
