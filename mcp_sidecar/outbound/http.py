"""Streamable HTTP as every revision speaks it: one POST, answered with JSON or a stream; knows no era."""

from __future__ import annotations

from mcp_sidecar.call import Call, Trace
from mcp_sidecar.directory import Endpoint
from mcp_sidecar.errors import (
    Execution,
    InvalidCall,
    MalformedMessage,
    SidecarError,
    UpstreamLost,
    UpstreamProtocolError,
    UpstreamUnavailable,
)
from mcp_sidecar.outbound.credentials import CredentialsRefused
from mcp_sidecar.protocol import batch, jsonrpc, sse
from mcp_sidecar.protocol.eras import UNSUPPORTED_VERSION, Era
from mcp_sidecar.wire.faults import WireFault
from mcp_sidecar.wire.http_client import BadReply, ConnectFailed, ConnectionLost, HttpClient, ReplyTooLarge, Response

JSON = b"application/json"
COMMON_HEADERS = b"content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
_MAX_RETRY_AFTER = 3600.0


class EraChanged(UpstreamUnavailable):
    """The server refused the request as one of another era than `era`: what is known of it may be out of date.

    `answer` is what it said, for the case that it is not.
    """

    reason = "UPSTREAM_ERA_CHANGED"

    def __init__(self, server: str, era: Era, answer: jsonrpc.Response) -> None:
        message = f"the MCP server {server!r} refuses requests of the {era.value} era"
        super().__init__(message, metadata={"server": server})
        self.era = era
        self.answer = answer

    @property
    def of_version(self) -> bool:
        """The answer is about the revision that the sidecar chose."""
        said = jsonrpc.read_error(self.answer)
        return said is not None and said[0] == UNSUPPORTED_VERSION


class HeadersRefused(UpstreamProtocolError):
    """The server refused the request, unseen by any tool, for headers that do not say what its body says.

    `answer` is what it said, for callers whose headers they are.
    """

    reason = "UPSTREAM_HEADERS"

    def __init__(self, server: str, answer: jsonrpc.Response) -> None:
        message = f"the sidecar and the MCP server {server!r} do not agree on the headers of a request"
        super().__init__(message, metadata={"server": server})
        self.answer = answer


def call_headers(call: Call) -> bytes:
    """What of a caller's request may travel upstream as headers, and nothing else."""
    return b"x-request-id: %b\r\n%b" % (call.request_id.encode(), trace_headers(call.trace))


def trace_headers(trace: Trace) -> bytes:
    """The trace context, as far as there is one."""
    block = b""
    if trace.traceparent:
        block += b"traceparent: %b\r\n" % trace.traceparent.encode()
        if trace.tracestate:
            block += b"tracestate: %b\r\n" % trace.tracestate.encode()
    if trace.baggage:
        block += b"baggage: %b\r\n" % trace.baggage.encode()
    return block


async def send(
    client: HttpClient, method: bytes, endpoint: Endpoint, headers: bytes, body: bytes, call: Call
) -> Response:
    """One request; returns when the head of the reply is there and keeps `call.execution` true meanwhile."""
    call.execution = Execution.UNKNOWN
    try:
        return await client.request(method, endpoint.path.encode(), headers, body)
    except WireFault as fault:
        raise failed(fault, endpoint, call) from fault


def failed(fault: WireFault, endpoint: Endpoint, call: Call) -> SidecarError:
    """What became of a request that got no reply; `call.execution` is made to say whether it may have run."""
    if isinstance(fault, ConnectFailed):
        call.execution = Execution.NONE
        facts = {"server": endpoint.upstream}
        return UpstreamUnavailable(f"the MCP server {endpoint.upstream!r} cannot be reached", metadata=facts)
    if not isinstance(fault, ConnectionLost):
        return nonsense(endpoint, str(fault))
    if not fault.sent:
        call.execution = Execution.NONE
    return lost(endpoint, call)


def lost(endpoint: Endpoint, call: Call) -> SidecarError:
    """The connection broke; whether the call may have run is what `call.execution` says."""
    facts = {"server": endpoint.upstream}
    if call.execution is Execution.NONE:
        return UpstreamUnavailable(f"the MCP server {endpoint.upstream!r} closed the connection", metadata=facts)
    message = f"the connection to the MCP server {endpoint.upstream!r} was lost before it answered"
    return UpstreamLost(message, execution=call.execution, metadata=facts)


def nonsense(endpoint: Endpoint, what: str, execution: Execution = Execution.UNKNOWN) -> UpstreamProtocolError:
    """The server broke the protocol. `what` names the rule; what the server sent is never repeated."""
    message = f"the MCP server {endpoint.upstream!r} broke the protocol: {what}"
    return UpstreamProtocolError(message, execution=execution, metadata={"server": endpoint.upstream})


class Replies:
    """The messages of an event stream, one after the other. Closing the response is the caller's.

    `parser` holds the last event id and the retry time of the stream. `batches`: an event may hold several messages.
    """

    def __init__(
        self, response: Response, endpoint: Endpoint, parser: sse.Parser | None = None, *, batches: bool = False
    ) -> None:
        self._response = response
        self._endpoint = endpoint
        self.parser = parser or sse.Parser()
        self._waiting: list[sse.Event] = []
        self._batches = batches
        self._parsed: list[jsonrpc.Message] = []

    async def next(self) -> jsonrpc.Message | None:
        """The next message, None at the end of the body."""
        while not self._parsed:
            if self._waiting:
                # A priming event has an id and nothing to say (2025-11-25, basic/transports); events of other names
                # are none of MCP's.
                event = self._waiting.pop()
                if event.data and event.name == "message":
                    self._parsed = parse_all(event.data, self._endpoint, batches=self._batches)[::-1]
            elif piece := await chunk(self._response, self._endpoint):
                self._waiting = events(self.parser, piece, self._endpoint)[::-1]
            else:
                return None
        return self._parsed.pop()


class Reply:
    """The message of a JSON body, or its messages, with the manners of `Replies`."""

    def __init__(self, response: Response, endpoint: Endpoint, *, batches: bool = False) -> None:
        self._response: Response | None = response
        self._endpoint = endpoint
        self._batches = batches
        self._parsed: list[jsonrpc.Message] = []

    async def next(self) -> jsonrpc.Message | None:
        """The next message, None after the last."""
        response, self._response = self._response, None
        if response is not None:
            text = await body(response, self._endpoint)
            self._parsed = parse_all(text, self._endpoint, batches=self._batches)[::-1]
        return self._parsed.pop() if self._parsed else None


def replies(
    response: Response, endpoint: Endpoint, parser: sse.Parser | None = None, *, batches: bool = False
) -> Reply | Replies:
    """What a successful reply says; with `batches` it may hold arrays of messages.

    Raises `UpstreamProtocolError` for bodies of another kind.
    """
    kind = media_type(response)
    if kind == JSON:
        return Reply(response, endpoint, batches=batches)
    if kind == b"text/event-stream":
        return Replies(response, endpoint, parser, batches=batches)
    raise nonsense(endpoint, f"HTTP {response.status} with a body that is neither JSON nor an event stream")


def usual_answer(response: Response, request_id: bytes) -> jsonrpc.Response | None:
    """The answer as it mostly comes: in one piece, successful, compact. None is for `replies` to read."""
    whole = response.body
    if whole is None or response.status != 200 or response.headers.get(b"content-type") != JSON:
        return None
    return jsonrpc.usual_response(whole, request_id)


async def body(response: Response, endpoint: Endpoint) -> bytes:
    """The whole body of a reply, up to the client's limit."""
    try:
        return await response.read()
    except (ConnectionLost, BadReply, ReplyTooLarge) as error:
        raise _broken_body(error, endpoint) from error


async def chunk(response: Response, endpoint: Endpoint) -> bytes:
    """The next piece of a body, empty at its end."""
    try:
        return await response.next_chunk()
    except (ConnectionLost, BadReply, ReplyTooLarge) as error:
        raise _broken_body(error, endpoint) from error


def _broken_body(error: Exception, endpoint: Endpoint) -> SidecarError:
    if isinstance(error, ConnectionLost):
        message = f"the connection to the MCP server {endpoint.upstream!r} was lost in the middle of its answer"
        return UpstreamLost(message, execution=Execution.UNKNOWN, metadata={"server": endpoint.upstream})
    return nonsense(endpoint, str(error))


def events(parser: sse.Parser, chunk: bytes, endpoint: Endpoint) -> list[sse.Event]:
    """The events that end in a piece of a stream."""
    try:
        return parser.feed(chunk)
    except InvalidCall as error:
        raise nonsense(endpoint, error.message) from error


def parse_all(data: bytes, endpoint: Endpoint, *, batches: bool) -> list[jsonrpc.Message]:
    """A message of a server, or several where that may be."""
    try:
        return batch.split_of_server(data) if batches and batch.is_batch(data) else [jsonrpc.parse(data)]
    except MalformedMessage as error:
        raise nonsense(endpoint, error.message) from error
    except InvalidCall as error:  # its words may quote keys of the message
        raise nonsense(endpoint, "its message is not as JSON-RPC has it") from error


def media_type(response: Response) -> bytes:
    """The media type of a reply, lower case and without parameters; empty when there is none."""
    value = response.headers.get(b"content-type") or b""
    return value if value == JSON else value.split(b";", 1)[0].strip().lower()


async def error_reply(response: Response, endpoint: Endpoint, request_id: bytes) -> jsonrpc.Response | None:
    """The JSON-RPC error in a reply whose status is not 2xx, or None when its body is something else.

    Correlated by the POST it answers: servers put other ids into errors of this kind (2025-era SDKs send
    `"server-error"`).
    """
    if media_type(response) != JSON or response.status == 401:  # that one is about the sidecar, whatever else it says
        return None
    try:
        message = jsonrpc.parse(await body(response, endpoint))
    except (InvalidCall, UpstreamProtocolError):
        return None
    if not isinstance(message, jsonrpc.Response) or message.error is None:
        return None
    return jsonrpc.Response(request_id, error=message.error)


def status_error(response: Response, endpoint: Endpoint) -> SidecarError:
    """What an HTTP status without a JSON-RPC body means."""
    status, name = response.status, endpoint.upstream
    facts = {"server": name, "http_status": str(status)}
    if status in (401, 403):
        return CredentialsRefused(f"the MCP server {name!r} does not accept the sidecar's credentials", metadata=facts)
    if status in (429, 502, 503, 504):
        message = f"the MCP server {name!r} is not able to answer (HTTP {status})"
        return UpstreamUnavailable(
            message, execution=Execution.UNKNOWN, retry_after=_retry_after(response), metadata=facts
        )
    if 300 <= status < 400:
        return nonsense(endpoint, f"HTTP {status}: redirects are not followed", Execution.NONE)
    executed = Execution.NONE if 400 <= status < 500 else Execution.UNKNOWN
    return nonsense(endpoint, f"HTTP {status} without a JSON-RPC message", executed)


def not_taken(response: Response, endpoint: Endpoint) -> UpstreamUnavailable | None:
    """The refusal of a sidecar in front of the server, which vouches that the call has not run; None for all else."""
    if response.status != 503 or response.headers.get(b"mcp-sidecar-execution") != b"none":
        return None
    message = f"the sidecar of the MCP server {endpoint.upstream!r} takes no calls just now"
    facts = {"server": endpoint.upstream, "http_status": "503"}
    return UpstreamUnavailable(message, retry_after=_retry_after(response), metadata=facts)


def _retry_after(response: Response) -> float | None:
    value = response.headers.get(b"retry-after") or b""
    return min(float(value), _MAX_RETRY_AFTER) if value.isdigit() and len(value) < 10 else None
