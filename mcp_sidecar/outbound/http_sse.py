"""The transport of MCP 2024-11-05: messages go out by POST, all that comes back comes on one GET stream.

Knows no session and no exchange.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from urllib.parse import urljoin, urlsplit

from mcp_sidecar.call import Call
from mcp_sidecar.directory import Endpoint
from mcp_sidecar.errors import Execution, UpstreamLost
from mcp_sidecar.outbound import http
from mcp_sidecar.outbound.credentials import Credential
from mcp_sidecar.outbound.legacy_refusals import SessionLost
from mcp_sidecar.protocol import sse
from mcp_sidecar.wire.http_client import HttpClient, Response

_TARGET = re.compile(r"[\x21-\x7e]+")
_PORTS = {"http": 80, "https": 443}


class SseWire:
    """One stream and where to post; implements `stream.Wire`. The client is its own, and is closed with it."""

    def __init__(self, client: HttpClient, endpoint: Endpoint, credential: Credential) -> None:
        self._client = client
        self._endpoint = endpoint
        self._credential = credential
        self._parser = sse.Parser()
        self._waiting: deque[sse.Event] = deque()
        self._response: Response | None = None

    async def open(self) -> None:
        """Open the stream and learn where to post. Raises `SidecarError`; nothing ran then."""
        headers = b"accept: text/event-stream\r\ncache-control: no-store\r\n" + self._credential.header
        call = Call(rpc="listen", request_id="listen")
        try:
            response = await http.send(self._client, b"GET", self._endpoint, headers, b"", call)
            self._response = response
            if response.status != 200:
                raise http.status_error(response, self._endpoint)
            if http.media_type(response) != b"text/event-stream":
                raise http.nonsense(self._endpoint, "its answer to GET is no event stream", Execution.NONE)
            self._posts = dataclasses.replace(self._endpoint, path=await self._target())
        except BaseException:
            await self.close()
            raise

    async def _target(self) -> str:
        """Where to post: what the first event says, if that is at the same origin. Else anybody who can write to the
        stream could have our messages, and the credential, sent anywhere.
        """
        event = await self._event()
        if event is None or event.name != "endpoint":
            raise http.nonsense(self._endpoint, "its stream does not begin with the event `endpoint`", Execution.NONE)
        here = f"{self._endpoint.scheme.removeprefix('sse+')}://{self._endpoint.authority}{self._endpoint.path}"
        if not _TARGET.fullmatch(event.data.decode(errors="replace")):
            raise http.nonsense(self._endpoint, "the event `endpoint` holds no URL", Execution.NONE)
        there = urljoin(here, event.data.decode())
        if _origin(there) != _origin(here):
            raise http.nonsense(self._endpoint, "the event `endpoint` leads to another origin", Execution.NONE)
        parts = urlsplit(there)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    async def send(self, message: bytes, call: Call) -> None:
        headers = http.COMMON_HEADERS + self._credential.header + http.call_headers(call)
        response = await http.send(self._client, b"POST", self._posts, headers, message, call)
        try:
            if response.status == 404:
                call.execution = Execution.NONE
                raise SessionLost(f"the MCP server {self._endpoint.upstream!r} lost its session")
            if response.status >= 300:
                failure = http.status_error(response, self._endpoint)
                call.execution = failure.execution
                raise failure
            await http.body(response, self._endpoint)
        finally:
            response.close()

    async def receive(self) -> bytes:
        while (event := await self._event()) is not None:
            if event.name == "message" and event.data:
                return event.data
        raise UpstreamLost(f"the MCP server {self._endpoint.upstream!r} ended its stream")

    async def _event(self) -> sse.Event | None:
        """The next event, None at the end of the stream."""
        assert self._response is not None  # noqa: S101
        while not self._waiting:
            piece = await http.chunk(self._response, self._endpoint)
            if not piece:
                return None
            self._waiting.extend(http.events(self._parser, piece, self._endpoint))
        return self._waiting.popleft()

    def close_idle(self, unused_for: float) -> None:
        self._client.close_idle(unused_for)

    async def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._client.close()


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:  # a port that is none
        return "", None, None
