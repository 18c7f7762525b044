"""A link to a server of MCP 2026-07-28 over Streamable HTTP: stateless, cancelled by closing; knows no client."""

from __future__ import annotations

import asyncio
import itertools

from mcp_sidecar.call import NO_TRACE, Call
from mcp_sidecar.directory import Endpoint
from mcp_sidecar.errors import Execution
from mcp_sidecar.outbound import http
from mcp_sidecar.outbound.credentials import Credential
from mcp_sidecar.outbound.link import Ignore, Sink
from mcp_sidecar.protocol import headers, jsonrpc
from mcp_sidecar.protocol.eras import HEADER_MISMATCH, INVALID_REQUEST, LATEST_MODERN, UNSUPPORTED_VERSION, Era
from mcp_sidecar.protocol.handshake import ServerProfile, discover_request
from mcp_sidecar.wire.faults import WireFault
from mcp_sidecar.wire.http_client import HttpClient, Response

_PROGRESS = "progressToken"
_MOST_NAMED = 256
_LONGEST_NAMED = 1024
# Looking a member up in its class costs as much as a call.
_UNKNOWN = Execution.UNKNOWN
_DONE = Execution.DONE
_VERSION_HEADER = b"mcp-protocol-version: %b\r\n" % LATEST_MODERN.encode()


# How servers of the other era refuse what they do not know as theirs (basic/versioning, "Era detection"); a server
# that upgraded past us says -32022.
_OTHER_ERA = frozenset((INVALID_REQUEST, -32000, UNSUPPORTED_VERSION))


class ModernLink:
    """Sends each request on its own. Ids are ours: several callers share the link."""

    era = Era.MODERN
    transport = "http"
    stateful = False

    def __init__(self, endpoint: Endpoint, credential: Credential, client: HttpClient, profile: ServerProfile) -> None:
        self._endpoint = endpoint
        self._target = endpoint.path.encode()
        self._credential = credential
        self._shown = credential.header  # of which the headers that are kept were made
        self._client = client
        self.profile = profile
        self._ids = itertools.count(1)
        self._named: dict[tuple[str, str], bytes] = {}

    async def open(self) -> None:
        """Nothing precedes the first request."""

    async def exchange(self, request: jsonrpc.Request, call: Call, sink: Sink) -> jsonrpc.Response:
        """See `Link.exchange`. The notifications of the reply go to `sink` as they come."""
        request_id = b"%d" % next(self._ids)
        token = request.meta.get(_PROGRESS)
        if token is not None:
            # Tokens are unique among the requests of one client, which to the server is the sidecar.
            request = request.with_meta({_PROGRESS: request_id})
        block, body = self._headers(request, call), request.encode(request_id)
        call.execution = _UNKNOWN
        coming = self._client.begin(b"POST", self._target, block, body)
        try:
            response = await (coming or self._client.request(b"POST", self._target, block, body))
        except WireFault as fault:
            raise http.failed(fault, self._endpoint, call) from fault
        except asyncio.CancelledError:
            if coming is not None:
                self._client.give_up(coming)
            raise
        try:
            if (answer := http.usual_answer(response, request_id)) is not None:
                call.execution = _DONE
                return answer
            return await self._outcome(response, request_id, token, call, sink)
        finally:
            # Closing an unfinished reply is how this revision cancels (basic/patterns/cancellation).
            if not response.complete:
                response.close()

    def _headers(self, request: jsonrpc.Request, call: Call) -> bytes:
        if (header := self._credential.header) is not self._shown:
            self._shown = header
            self._named.clear()
        named = self._named.get((request.method, call.name)) or self._name(request, call)
        block = b"%bx-request-id: %b\r\n" % (named, call.request_id.encode())
        if call.trace is not NO_TRACE:
            block += http.trace_headers(call.trace)
        if pairs := call.mirrored or call.added:
            block += b"".join([b"%b: %b\r\n" % pair for pair in pairs])
        return block

    def _name(self, request: jsonrpc.Request, call: Call) -> bytes:
        """The headers that are the same for every request of this method with this name; kept for the next one."""
        block = b"%b%b%bmcp-method: %b\r\n" % (
            http.COMMON_HEADERS,
            self._shown,
            _VERSION_HEADER,
            request.method.encode(),
        )
        name = call.name or headers.name_of(request)
        if name is not None:
            block = b"%bmcp-name: %b\r\n" % (block, headers.encode(name))
        known = name is None or call.name != ""
        if known and len(self._named) < _MOST_NAMED and len(block) <= _LONGEST_NAMED:
            self._named[request.method, call.name] = block
        return block

    async def _outcome(
        self, response: Response, request_id: bytes, token: bytes | None, call: Call, sink: Sink
    ) -> jsonrpc.Response:
        if response.status != 200:
            return await self._refused(response, request_id, call)
        replies = http.replies(response, self._endpoint)
        while (message := await replies.next()) is not None:
            if isinstance(message, jsonrpc.Response):
                if message.id != request_id:
                    raise http.nonsense(self._endpoint, "it answered another request than the one it was sent")
                call.execution = Execution.DONE
                return message
            if message.id:
                raise http.nonsense(self._endpoint, "it sent a request on a stream of 2026-07-28")
            if message.method == "notifications/progress":
                if token is None or message.params.get(_PROGRESS) != request_id:
                    continue  # progress of no request, or of another
                message = message.with_params({_PROGRESS: token})
            await sink.notify(message.method, message.encode(b""))
        raise http.lost(self._endpoint, call)

    async def _refused(self, response: Response, request_id: bytes, call: Call) -> jsonrpc.Response:
        if (refusal := http.not_taken(response, self._endpoint)) is not None:
            call.execution = Execution.NONE
            raise refusal
        error = await http.error_reply(response, self._endpoint, request_id)
        if error is None:
            failure = http.status_error(response, self._endpoint)
            call.execution = failure.execution
            raise failure
        facts = jsonrpc.read_error(error)
        if response.status == 400 and facts and facts[0] in _OTHER_ERA:
            call.execution = Execution.NONE
            raise http.EraChanged(self._endpoint.upstream, self.era, error)
        if response.status == 400 and facts and facts[0] == HEADER_MISMATCH:
            call.execution = Execution.NONE
            raise http.HeadersRefused(self._endpoint.upstream, error)
        call.execution = Execution.DONE
        return error

    async def check(self) -> None:
        """Ask the server who it is: the one request that every server of this revision answers."""
        call = Call(rpc="monitor", request_id="monitor")
        await self.exchange(discover_request(), call, Ignore())

    def close_idle(self, unused_for: float) -> None:
        self._client.close_idle(unused_for)

    async def close(self) -> None:
        self._client.close()
