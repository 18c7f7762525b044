"""What servers say by themselves, for one session: a `subscriptions/listen` that is kept up. Knows no wire.

While the client listens, or has subscribed to resources, one such exchange runs. A change of what is wanted begins
another one and ends the first when that is acknowledged: nothing is missed in between, a few messages may come twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import msgspec

from mcp_sidecar.call import Call, new_request_id
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.engine.listen import ACKNOWLEDGED, LOG_LEVEL, REFUSED
from mcp_sidecar.errors import InvalidParams, SidecarError, UpstreamRefused
from mcp_sidecar.outbound.backoff import Backoff
from mcp_sidecar.outbound.link import Ignore
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.tasks import Job

if TYPE_CHECKING:
    from mcp_sidecar.inbound.session.session import Session

_MOST_RESOURCES = 1000
_LONGEST_URI = 8192  # it is kept for as long as the session
_CANCELLED = "notifications/cancelled"
_AGAIN = Backoff(first=0.5, longest=30.0)
_FLAGS = {"tools": "toolsListChanged", "prompts": "promptsListChanged", "resources": "resourcesListChanged"}


class News:
    """The one listener of a session. Its messages go to the session's own stream."""

    def __init__(self, session: Session, engine: Engine, tasks: asyncio.TaskGroup) -> None:
        self._session = session
        self._engine = engine
        self._tasks = tasks
        self._turn = asyncio.Lock()  # one change at a time
        self._uris: frozenset[str] = frozenset()
        self._current: _Listening | None = None

    async def attend(self) -> None:
        """The client listens; that the server does not answer at the moment is not its business."""
        async with self._turn:
            if self._current is None:
                self._current = self._listen(self._uris)

    async def neglect(self) -> None:
        """The client listens no more."""
        async with self._turn:
            if not self._uris and not self._session.outlet.carried:
                self.stop()

    async def subscribe(self, uri: str, call: Call) -> bytes | None:
        """Tell the client of changes to one resource more. Raises what keeps that from being so, or returns the error
        (JSON text) that the server has for it.
        """
        async with self._turn:
            if uri in self._uris:
                return None
            if len(uri) > _LONGEST_URI:
                raise InvalidParams(f'"params.uri" may have {_LONGEST_URI} characters at most')
            if len(self._uris) >= _MOST_RESOURCES:
                raise InvalidParams(f"at most {_MOST_RESOURCES} resources can be subscribed to in one session")
            heard = await self._replace(self._uris | {uri}, call)
            if uri not in heard.uris:
                await self._replace(self._uris - {uri}, call)
                if uri not in heard.refused:
                    raise InvalidParams("the MCP server does not tell of changes to this resource")
            return heard.refused.get(uri)

    async def unsubscribe(self, uri: str, call: Call) -> None:
        """And of one less."""
        async with self._turn:
            if uri in self._uris:
                await self._replace(self._uris - {uri}, call)

    async def refresh(self, call: Call) -> None:
        """Something else about the session has changed, such as its log level."""
        async with self._turn:
            if self._current is not None:
                try:
                    await self._replace(self._uris, call)
                except SidecarError:
                    pass  # whoever listens still asks for it with the next attempt

    def stop(self) -> None:
        """Listen no more."""
        current, self._current = self._current, None
        if current is not None:
            current.stop()

    async def _replace(self, uris: frozenset[str], call: Call) -> _Heard:
        """Listen to these resources; returns what the server will tell of."""
        if not uris and not self._session.outlet.carried:
            self._uris = uris
            self.stop()
            return _Heard()
        successor = self._listen(uris)
        try:
            async with asyncio.timeout(self._engine.deadline(call, self._session.server).remaining()):
                heard = await successor.acknowledged
            if isinstance(heard, SidecarError):
                raise heard
        except TimeoutError as error:
            successor.stop()
            raise self._engine.too_late(call) from error
        except BaseException:
            successor.stop()
            raise
        self.stop()
        self._uris, self._current = uris, successor
        return heard

    def _listen(self, uris: frozenset[str]) -> _Listening:
        return _Listening(self._session, self._engine, self._tasks, uris)


class _Acknowledged(msgspec.Struct):
    resourceSubscriptions: list[str] = []  # noqa: N815  # the wire's spelling


_acknowledged = msgspec.json.Decoder(_Acknowledged)


class _Heard(msgspec.Struct, frozen=True):
    """Which resources the server will tell of, and its errors about others, as JSON text."""

    uris: Collection[str] = ()
    refused: Mapping[str, bytes] = {}


class _Listening(Ignore):
    """One exchange, begun again whenever it ends, until it is stopped."""

    def __init__(self, session: Session, engine: Engine, tasks: asyncio.TaskGroup, uris: frozenset[str]) -> None:
        self._session = session
        self._engine = engine
        self._uris = uris
        self._failures = 0
        self.acknowledged: asyncio.Future[_Heard | SidecarError] = asyncio.get_running_loop().create_future()
        """What the server will tell of, or why the first attempt failed."""
        self._job = Job(tasks, self._keep_up(), "listen for a session")

    def stop(self) -> None:
        """Nobody listens any more."""
        self._job.cancel()

    async def notify(self, method: str, message: bytes) -> None:
        notification = jsonrpc.parse_request(message)
        if method == ACKNOWLEDGED:
            missed, self._failures = self._failures > 0, 0
            self._settle(_read(notification))
            if missed:
                await self._tell_of_lists()
            return
        if method == _CANCELLED:
            return  # of a question, by the server's own id: the client knows it under another one, or not at all
        meta = {key: value for key, value in notification.meta.items() if key != eras.META_SUBSCRIPTION}
        plain = Request(method, params=notification.params, meta=meta)
        await self._session.outlet.send(plain.encode(b""))

    async def _tell_of_lists(self) -> None:
        """The server was not heard for a while: what it said meanwhile is lost, and the client better looks."""
        for name in self._session.offered:
            if name in _FLAGS:
                await self._session.outlet.send(Request(f"notifications/{name}/list_changed").encode(b""))

    async def _keep_up(self) -> None:
        while True:
            refusal = await self._once()
            if refusal is not None:
                self._settle(refusal)
                return  # a server that has an answer to this will not have another one soon
            if not self._engine.lifecycle.admitting:
                return
            self._failures += 1
            await asyncio.sleep(_AGAIN.delay(self._failures))

    async def _once(self) -> SidecarError | None:
        """One exchange to its end; what the server has against it."""
        session = self._session
        call = Call("", new_request_id(), client=session.client, sampled=False)
        try:
            response = await self._engine.run(call, _request(session, self._uris), session.server, self)
        except SidecarError as error:
            self._settle(error)
            return None
        return _refusal(response)

    def _settle(self, how: _Heard | SidecarError) -> None:
        if not self.acknowledged.done():
            self.acknowledged.set_result(how)


def _refusal(response: Response) -> SidecarError | None:
    if response.error is None:
        return None
    code, message = jsonrpc.read_error(response) or (eras.INTERNAL_ERROR, "it refuses to be listened to")
    return UpstreamRefused(code, message)


def _read(acknowledgement: Request) -> _Heard:
    refused = jsonrpc.members(acknowledgement.meta.get(REFUSED, b"{}"), "an acknowledgement")
    try:
        granted = _acknowledged.decode(acknowledgement.params.get("notifications", b"{}"))
    except msgspec.DecodeError:
        return _Heard(refused=refused)
    return _Heard(granted.resourceSubscriptions, refused)


def _request(session: Session, uris: frozenset[str]) -> Request:
    """What the client of a session wants to hear of."""
    wanted: dict[str, object] = {_FLAGS[name]: True for name in session.offered if name in _FLAGS}
    if uris:
        wanted["resourceSubscriptions"] = sorted(uris)
    meta = modern_meta()
    if session.client.log_level:
        meta[LOG_LEVEL] = b'"%b"' % session.client.log_level.encode()
    return Request(eras.LISTEN, b'"listen"', {"notifications": msgspec.json.encode(wanted)}, meta)
