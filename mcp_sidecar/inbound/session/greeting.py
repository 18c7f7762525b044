"""`initialize`, answered from `server/discover`: which revision, what the server offers. Knows no wire."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from mcp_sidecar.call import Call, Client, new_request_id
from mcp_sidecar.engine.annotation import annotate
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.errors import Execution, InvalidCall, InvalidParams, UpstreamProtocolError
from mcp_sidecar.outbound.link import Ignore
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.handshake import CLIENT_INFO, ServerProfile, discovered, modern_meta
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.shown import LONGEST

_MOST_BYTES = 16 * 1024  # of what a client says of itself: it is kept for as long as the session
# Not translatable, or of 2026-07-28 only.
_HIDDEN = ("tasks", "extensions")
_LISTS = ("tools", "prompts", "resources")
LOGGING = "logging"
SUBSCRIBE = "subscribe"


@dataclass(frozen=True, slots=True)
class Welcome:
    """What `initialize` comes to: the client, what the server tells of by itself, and the answer.

    `news` holds the names of lists whose changes are told, `subscribe` and `logging`.
    """

    client: Client
    news: tuple[str, ...]
    answer: Response


async def greet(engine: Engine, call: Call, request: Request, server: str) -> Welcome | Response:
    """Answer `initialize`; a plain response when the server refuses to say who it is.

    A server of the 2025 era is asked in the session that will be the client's own. Whoever has no use for the welcome
    has to have the engine forget the client.
    """
    annotate(call, request, engine.sampler, engine.baggage)
    if call.span is not None:
        call.span.offered = (request.text("protocolVersion") or "")[:LONGEST]
    client = _client(request)
    asked = call.ask()
    asked.client, asked.part = client, False
    try:
        found = await engine.run(asked, Request(eras.DISCOVER, request.id, meta=modern_meta()), server, Ignore())
        profile = None if found.error is not None else _profile(found, call)
    except BaseException:
        engine.forget(client)
        raise
    finally:
        call.server, call.execution, call.protocol_version = asked.server, asked.execution, asked.protocol_version
    if profile is None:
        engine.forget(client)
        return found
    offered = jsonrpc.members(profile.capabilities, "capabilities")
    for name in _HIDDEN:
        offered.pop(name, None)
    result = {
        "protocolVersion": b'"%b"' % client.version.encode(),
        "capabilities": jsonrpc.encode_object(offered),
        "serverInfo": profile.info or CLIENT_INFO,
    }
    if profile.instructions:
        result["instructions"] = profile.instructions
    call.client = client
    return Welcome(client, _news(offered), Response(request.id, result=jsonrpc.encode_object(result)))


def _client(request: Request) -> Client:
    """Raises `InvalidParams`. A version that is not known gets the latest of its era as a counter-offer."""
    wanted = request.text("protocolVersion")
    if wanted is None:
        raise _wrong("protocolVersion", "must be a string")
    capabilities, info = _object(request, "capabilities"), _object(request, "clientInfo")
    if len(capabilities) + len(info) > _MOST_BYTES:
        raise _wrong("clientInfo", f"and capabilities may have {_MOST_BYTES} bytes at most")
    version = wanted if wanted in eras.LEGACY_VERSIONS else eras.LATEST_LEGACY
    return Client(new_request_id(), version, capabilities, info)


def _object(request: Request, field: str) -> bytes:
    value = request.params.get(field, b"")
    if value[:1] != b"{":
        raise _wrong(field, "must be an object")
    jsonrpc.members(value, field)
    return value


def _wrong(field: str, what: str) -> InvalidParams:
    return InvalidParams(f'"params.{field}" {what}', violations=((f"params.{field}", what),))


def _profile(found: Response, call: Call) -> ServerProfile:
    try:
        profile = discovered(found.result or b"")
    except InvalidCall as error:
        raise UpstreamProtocolError(error.message, execution=Execution.DONE) from error
    if profile is None:
        words = f"the MCP server {call.server!r} offers no revision that is spoken here"
        raise UpstreamProtocolError(words, execution=Execution.DONE)
    return profile


class _Declared(msgspec.Struct):
    listChanged: bool = False  # noqa: N815  # the wire's spelling
    subscribe: bool = False


_declared = msgspec.json.Decoder(_Declared)


def _news(offered: dict[str, bytes]) -> tuple[str, ...]:
    """What the server says it will tell of by itself."""
    found = []
    for name in _LISTS:
        try:
            declared = _declared.decode(offered.get(name, b"{}"))
        except msgspec.DecodeError:
            continue  # oddly declared is not declared
        found += [name] if declared.listChanged else []
        found += [SUBSCRIBE] if declared.subscribe and name == "resources" else []
    return (*found, LOGGING) if LOGGING in offered else tuple(found)
