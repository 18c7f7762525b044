"""Modern requests in legacy shape and legacy answers in modern shape, without a wire.

Values are untouched; what changes is the top level of `params`, of results and of `_meta`.
"""

from __future__ import annotations

import msgspec

from mcp_sidecar.call import Call
from mcp_sidecar.engine import inputs
from mcp_sidecar.errors import Execution, InvalidCall, UpstreamProtocolError
from mcp_sidecar.outbound.link import Sink, refusal
from mcp_sidecar.protocol import eras, jsonrpc, outcome
from mcp_sidecar.protocol.handshake import ServerProfile
from mcp_sidecar.protocol.session import loud_enough

# Client capabilities that the sidecar can keep for the client in a legacy session (`hold` keeps most of them).
_KEPT_CAPABILITIES = ("experimental", "elicitation", "sampling", "roots")
_FRESHNESS = {"ttlMs": b"0", "cacheScope": b'"private"'}
_list = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def capabilities(request: jsonrpc.Request) -> bytes:
    """What a session for this request declares the client to be able to: JSON text, equal for equal sets."""
    declared = request.meta.get(eras.META_CAPABILITIES, b"{}")
    if declared == b"{}":
        return declared
    found = jsonrpc.members(declared, "clientCapabilities")
    return jsonrpc.encode_object({name: found[name] for name in _KEPT_CAPABILITIES if name in found})


def log_level(request: jsonrpc.Request) -> str:
    """The level of log messages the request asks for, empty for none."""
    return jsonrpc.as_string(request.meta.get(eras.META_LOG_LEVEL)) or ""


def request(modern: jsonrpc.Request) -> jsonrpc.Request:
    """The request without what only 2026-07-28 knows."""
    meta = {key: value for key, value in modern.meta.items() if not key.startswith(eras.META_PREFIX)}
    return jsonrpc.Request(modern.method, modern.id, inputs.without_answers(modern).params, meta)


def response(asked: jsonrpc.Request, legacy: jsonrpc.Response, profile: ServerProfile) -> jsonrpc.Response:
    """The response with what 2026-07-28 requires."""
    if legacy.error is not None:
        return _refused(asked, legacy)
    try:
        found = jsonrpc.members(legacy.result or b"", "result")
        meta = jsonrpc.members(found["_meta"], "result._meta") if "_meta" in found else {}
    except InvalidCall as error:
        raise UpstreamProtocolError("the MCP server's result is not an object", execution=Execution.DONE) from error
    if profile.info:
        meta[eras.META_SERVER] = profile.info
    if asked.method == eras.LIST_TOOLS:
        found["tools"] = _without_execution(found.get("tools", b"[]"))
    stamps = {"resultType": b'"complete"'} | (_FRESHNESS if asked.method in eras.CACHEABLE else {})
    return jsonrpc.Response(
        legacy.id, result=jsonrpc.encode_object(found | stamps | {"_meta": jsonrpc.encode_object(meta)})
    )


def _without_execution(tools: bytes) -> bytes:
    """Tools without `execution`, the task support of 2025-11-25, which 2026-07-28 replaced."""
    if b'"execution"' not in tools:
        return tools
    try:
        kept = [
            {key: bytes(value) for key, value in tool.items() if key != "execution"} for tool in _list.decode(tools)
        ]
    except msgspec.DecodeError:
        return tools
    return b"[%b]" % b",".join(map(jsonrpc.encode_object, kept))


def _refused(asked: jsonrpc.Request, legacy: jsonrpc.Response) -> jsonrpc.Response:
    """An error in modern words: two of the legacy codes must not be sent."""
    code, _ = jsonrpc.read_error(legacy) or (0, "")
    if code not in (eras.RESOURCE_NOT_FOUND, eras.URL_ELICITATION_REQUIRED):
        return legacy
    try:
        found = jsonrpc.members(legacy.error or b"", "error")
        if code == eras.URL_ELICITATION_REQUIRED:
            return _pages_to_visit(asked, legacy.id, found.get("data", b"{}"))
    except (InvalidCall, msgspec.DecodeError) as twice:
        raise UpstreamProtocolError("the MCP server's error cannot be read", execution=Execution.DONE) from twice
    error = jsonrpc.encode_object(found | {"code": b"%d" % eras.INVALID_PARAMS})
    return jsonrpc.Response(legacy.id, error=error)


def _pages_to_visit(asked: jsonrpc.Request, request_id: bytes, data: bytes) -> jsonrpc.Response:
    """The user has to visit pages first (2025-11-25, client/elicitation): asked for as 2026-07-28 does.

    No state is needed: the client sends the same call again, and so does the sidecar.
    """
    pages = _list.decode(jsonrpc.members(data, "error.data").get("elicitations", b"[]"))
    questions = {
        f"q{number}": jsonrpc.Request("elicitation/create", params={key: bytes(value) for key, value in page.items()})
        for number, page in enumerate(pages, 1)
    }
    declared = asked.meta.get(eras.META_CAPABILITIES, b"{}")
    if not questions or not all(inputs.able(declared, question) for question in questions.values()):
        words = "the MCP server wants the user to visit a page, which this client cannot ask for"
        return _unable(request_id, words, {"elicitation": {"url": {}}})
    return jsonrpc.Response(request_id, result=inputs.input_required(questions))


def _unable(request_id: bytes, words: str, needed: dict[str, object]) -> jsonrpc.Response:
    """The client did not declare the capabilities that are `needed`."""
    error = jsonrpc.encode_error(eras.MISSING_CAPABILITY, words, {"requiredCapabilities": needed})
    return jsonrpc.Response(request_id, error=error)


def discover_result(profile: ServerProfile) -> bytes:
    """A `DiscoverResult` from what the server said to `initialize`."""
    offered = jsonrpc.members(profile.capabilities, "capabilities")
    offered.pop("tasks", None)
    result = {
        "resultType": b'"complete"',
        "supportedVersions": msgspec.json.encode(eras.MODERN_VERSIONS),
        "capabilities": jsonrpc.encode_object(offered),
    } | _FRESHNESS
    if profile.instructions:
        result["instructions"] = profile.instructions
    if profile.info:
        result["_meta"] = jsonrpc.encode_object({eras.META_SERVER: profile.info})
    return jsonrpc.encode_object(result)


def offers(profile: ServerProfile, capability: str, detail: str = "") -> bool:
    """The server declared a capability, and within it `detail` as true if that is given."""
    try:
        found = jsonrpc.members(profile.capabilities, "capabilities").get(capability)
        if found is None or not detail:
            return found is not None
        return jsonrpc.members(found, capability).get(detail) == b"true"
    except InvalidCall:
        return False


def unknown_method(asked: jsonrpc.Request) -> jsonrpc.Response:
    """What a server says to a method it does not have."""
    error = jsonrpc.encode_error(eras.METHOD_NOT_FOUND, f"the MCP server has no method {asked.method}")
    return jsonrpc.Response(asked.id, error=error)


class Audience:
    """What a legacy server says to a modern caller, as far as the request asked for it.

    In the legacy era a session's log level is everybody's, and so are its questions: `unable` keeps the capability that
    the caller lacked for one. What the caller can is what it said last: `call.declared` is that of a retry.
    """

    def __init__(self, sink: Sink, request: jsonrpc.Request, call: Call) -> None:
        self._sink = sink
        self._call = call
        self._level = log_level(request)
        self._capabilities = request.meta.get(eras.META_CAPABILITIES, b"{}")
        self.unable = ""

    async def notify(self, method: str, message: bytes) -> None:
        if method != "notifications/message" or self._wants(message):
            await self._sink.notify(method, message)

    def _wants(self, message: bytes) -> bool:
        return bool(self._level) and loud_enough(jsonrpc.parse_request(message), self._level)

    async def ask(self, request: jsonrpc.Request) -> jsonrpc.Response:
        answer = await self._sink.ask(request) if self._able(request) else refusal(request)
        if answer.error is not None and not self._able(request):  # it may have been able when it was asked
            self.unable = inputs.NEEDED.get(request.method, "")
        return answer

    def _able(self, request: jsonrpc.Request) -> bool:
        return inputs.able(self._call.declared or self._capabilities, request)

    def judge(self, response: jsonrpc.Response) -> jsonrpc.Response:
        """The response, unless it is a failure for want of a capability: a modern server would have named that."""
        if not self.unable or not _failed(response):
            return response
        words = f"the MCP server needs the client capability {self.unable!r}, which the request does not declare"
        return _unable(response.id, words, {self.unable: {}})


def _failed(response: jsonrpc.Response) -> bool:
    try:
        return response.error is not None or outcome.failed(response.result or b"{}")
    except msgspec.DecodeError:
        return False
