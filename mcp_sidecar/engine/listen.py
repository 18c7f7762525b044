"""`subscriptions/listen`: ids restamped for the caller, and the whole of it played on a legacy session. No sockets."""

from __future__ import annotations

from collections.abc import Coroutine

import msgspec

from mcp_sidecar.call import Call
from mcp_sidecar.engine import downgrade
from mcp_sidecar.errors import Execution, InvalidCall, InvalidParams
from mcp_sidecar.outbound.link import LegacyLink, Sink
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.protocol.session import loud_enough
from mcp_sidecar.protocol.subscriptions import covers, graceful_end

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
# Our own key in `_meta`: log messages are wanted too, which 2026-07-28 sends with requests only.
LOG_LEVEL = "mcp-sidecar.dev/logLevel"
# And one in the acknowledgement to a client of the 2025 era: the server's errors by the resources they are about.
REFUSED = "mcp-sidecar.dev/refused"
_MAX_RESOURCES = 1000


class Filter(msgspec.Struct):
    """What a listener wants (2026-07-28, basic/patterns/subscriptions)."""

    toolsListChanged: bool = False  # noqa: N815  # the wire's spelling
    promptsListChanged: bool = False  # noqa: N815
    resourcesListChanged: bool = False  # noqa: N815
    resourceSubscriptions: list[str] = []  # noqa: N815
    taskIds: list[str] = []  # noqa: N815  # of the extension for tasks
    log_level: str = ""


_filter = msgspec.json.Decoder(Filter)
LISTS = {"tools": "toolsListChanged", "prompts": "promptsListChanged", "resources": "resourcesListChanged"}


class Restamped:
    """Puts the caller's subscription id in the place of ours."""

    def __init__(self, sink: Sink, request: Request) -> None:
        self._sink = sink
        self._id = request.id

    async def notify(self, method: str, message: bytes) -> None:
        notification = jsonrpc.parse_request(message).with_meta({eras.META_SUBSCRIPTION: self._id})
        await self._sink.notify(method, notification.encode(b""))

    async def ask(self, request: Request) -> Response:
        return await self._sink.ask(request)

    async def to_its_end(self, listening: Coroutine[None, None, Response]) -> Response:
        """The subscription's result, which names it like its notifications."""
        response = await listening
        if response.result is None:
            return response
        try:
            found = jsonrpc.members(response.result, "result")
            meta = jsonrpc.members(found.get("_meta", b"{}"), "result._meta") | {eras.META_SUBSCRIPTION: self._id}
        except InvalidCall:
            return response  # what cannot be read is the caller's to judge
        return Response(response.id, jsonrpc.encode_object(found | {"_meta": jsonrpc.encode_object(meta)}))


async def listen_legacy(link: LegacyLink, request: Request, call: Call, sink: Sink) -> Response:
    """Acknowledge what the session can tell of, then tell it, until the stream is lost."""
    wanted = _honoured(read_filter(request), link)

    refused: dict[str, bytes] = {}

    async def acknowledge() -> None:
        call.execution = Execution.DONE
        meta = {REFUSED: jsonrpc.encode_object(refused)} if refused and call.client is not None else {}
        acknowledgement = Request(ACKNOWLEDGED, params={"notifications": shown(wanted)}, meta=meta)
        await sink.notify(ACKNOWLEDGED, acknowledgement.encode(b""))

    subscribed: list[bytes] = []  # what this listener counts for: others may have subscribed to the rest
    try:
        for uri in wanted.resourceSubscriptions:
            encoded = msgspec.json.encode(uri)
            if (error := await link.subscribe(encoded, call)) is None:
                subscribed.append(encoded)
            else:
                refused[uri] = error
        wanted.resourceSubscriptions = [uri for uri in wanted.resourceSubscriptions if uri not in refused]
        if wanted.log_level:
            await link.want_logs(wanted.log_level, call)
        await link.listen(_Wanted(sink, wanted, everything=call.client is not None), acknowledge)
    finally:
        for encoded in subscribed:
            link.unsubscribe(encoded)
    return graceful_end(request.id)


def read_filter(request: Request) -> Filter:
    """What a subscription, or the acknowledgement of one, names. Raises `InvalidParams`."""
    try:
        wanted = _filter.decode(request.params.get("notifications", b"{}"))
    except msgspec.DecodeError as error:
        raise InvalidParams(f'"params.notifications" is not a filter: {error}') from error
    if max(len(wanted.resourceSubscriptions), len(wanted.taskIds)) > _MAX_RESOURCES:
        raise InvalidParams(f"at most {_MAX_RESOURCES} resources, and as many tasks, can be listened to at once")
    wanted.log_level = jsonrpc.as_string(request.meta.get(LOG_LEVEL)) or ""
    return wanted


def _honoured(wanted: Filter, link: LegacyLink) -> Filter:
    """The part of a filter that the server can serve."""
    lists = {
        key: getattr(wanted, key) and downgrade.offers(link.profile, name, "listChanged") for name, key in LISTS.items()
    }
    uris = wanted.resourceSubscriptions if downgrade.offers(link.profile, "resources", "subscribe") else []
    level = wanted.log_level if downgrade.offers(link.profile, "logging") else ""
    return Filter(**lists, resourceSubscriptions=uris, taskIds=[], log_level=level)


def shown(wanted: Filter) -> bytes:
    named: dict[str, object] = {key: True for key in LISTS.values() if getattr(wanted, key)}
    if wanted.resourceSubscriptions:
        named["resourceSubscriptions"] = wanted.resourceSubscriptions
    if wanted.taskIds:
        named["taskIds"] = wanted.taskIds
    return msgspec.json.encode(named)


class _Wanted:
    """Lets through what the filter names; with `everything`, also what it has no name for."""

    def __init__(self, sink: Sink, wanted: Filter, *, everything: bool) -> None:
        self._sink = sink
        self._wanted = wanted
        self._everything = everything  # news of the 2025 era, such as of its tasks, for a client of that era

    async def notify(self, method: str, message: bytes) -> None:
        if self._wants(method, message):
            await self._sink.notify(method, message)

    def _wants(self, method: str, message: bytes) -> bool:
        kind = method.removeprefix("notifications/")
        if kind.endswith("/list_changed"):
            return bool(getattr(self._wanted, LISTS.get(kind.split("/")[0], ""), False))
        notification = jsonrpc.parse_request(message)
        if kind == "resources/updated":
            uri = notification.text("uri") or ""
            return any(covers(one, uri) for one in self._wanted.resourceSubscriptions)
        if kind == "message":
            return bool(self._wanted.log_level) and loud_enough(notification, self._wanted.log_level)
        return self._everything

    async def ask(self, request: Request) -> Response:
        return await self._sink.ask(request)
