"""A Kubernetes API server as far as list and watch go, on a loopback port, that fails on demand; knows no sidecar.

Objects are put and deleted through the methods; everybody who watches hears of it. `fault` says how requests fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

Object = dict[str, Any]
_HISTORY = 100_000


class Fault(enum.Enum):
    """A way to fail. Those of streams come after a head with status 200."""

    CLOSE = "the connection is closed without a word"
    STALL = "nothing is ever answered"
    NOT_HTTP = "what is answered is not HTTP"
    REDIRECT = "everything is said to be elsewhere, in a circle"
    STREAM_ENDS = "a watch ends at once, as if its time were over"
    STREAM_BREAKS = "the connection of a watch is lost at once"
    STREAM_STALLS = "a watch says nothing, ever"
    HALF_LINE = "a watch ends in the middle of an event"
    GARBAGE = "a watch says what is not JSON"
    ENDLESS_LINE = "a watch says a line that never ends"
    GONE_EVENT = "a watch says 410 Expired"
    GONE_STATUS = "a watch from a version is refused with 410"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status for every request."""

    status: int
    message: str = ""
    retry_after: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request."""

    path: str
    query: Mapping[str, str]
    authorization: str
    agent: str

    @property
    def kind(self) -> str:
        if "watch" not in self.query:
            return "list"
        return "stream" if "sendInitialEvents" in self.query else "watch"


@dataclass(slots=True)
class _Collection:
    objects: dict[str, Object] = field(default_factory=dict)
    history: list[tuple[int, str, Object]] = field(default_factory=list)
    oldest: int = 0


@dataclass(eq=False, slots=True)
class _Stream:
    collection: str
    selector: str
    queue: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)


class KubeApi:
    """The server. `served` has the API paths of the resources that exist, without their namespaces."""

    def __init__(self, *, streaming_lists: bool = True, refuses_with: int = 422) -> None:
        self.streaming_lists = streaming_lists
        self.fault: Fault | Refusal | None = None
        self.token = ""
        self.served = {
            "/apis/discovery.k8s.io/v1/endpointslices",
            "/api/v1/services",
            "/apis/mcp.x-k8s.io/v1beta1/mcpservers",
        }
        self.asked: list[Asked] = []
        self.heard = asyncio.Event()
        """Set by every request; tests clear it."""
        self.idle = asyncio.Event()
        """Set while no watch is open."""
        self.port = 0
        self._refuses_with = refuses_with
        self._version = 100
        self._collections: dict[str, _Collection] = {}
        self._streams: set[_Stream] = set()

    @property
    def streams(self) -> int:
        """Watches that are open."""
        return len(self._streams)

    def put(self, resource: str, item: Object) -> Object:
        """Add or change an object; its version is filled in."""
        collection = self._of(resource)
        name = item["metadata"]["name"]
        kind = "MODIFIED" if name in collection.objects else "ADDED"
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": self._next()}}
        collection.objects[name] = item
        self._happened(resource, kind, item)
        return item

    def delete(self, resource: str, name: str) -> None:
        item = self._of(resource).objects.pop(name)
        gone = {**item, "metadata": {**item["metadata"], "resourceVersion": self._next()}}
        self._happened(resource, "DELETED", gone)

    def forget(self) -> None:
        """Compact the history: watches from before are answered with 410."""
        for collection in self._collections.values():
            collection.history.clear()
            collection.oldest = self._version

    def bookmark(self) -> None:
        """Tell every watch how far it is."""
        for stream in self._streams:
            stream.queue.put_nowait(_event("BOOKMARK", self._mark({})))

    def say(self, line: bytes) -> None:
        """Say this to every watch, whatever it is."""
        for stream in self._streams:
            stream.queue.put_nowait(line)

    def end_streams(self) -> None:
        """End every watch, as if its time were over."""
        for stream in self._streams:
            stream.queue.put_nowait(None)

    def kubeconfig(self, folder: Path, namespace: str = "tools", token: str = "") -> str:
        """Write a kubeconfig for this server; its path."""
        user = {"token": token} if token else {}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": namespace}}],
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "me", "user": user}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(content))
        return str(path)

    def _of(self, resource: str) -> _Collection:
        return self._collections.setdefault(resource, _Collection())

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def _mark(self, annotations: Mapping[str, str]) -> Object:
        return {"metadata": {"resourceVersion": str(self._version), "annotations": dict(annotations)}}

    def _happened(self, resource: str, kind: str, item: Object) -> None:
        history = self._of(resource).history
        history.append((self._version, kind, item))
        del history[:-_HISTORY]
        line = _event(kind, item)
        for stream in self._streams:
            if stream.collection == resource and _fits(item, stream.selector):
                stream.queue.put_nowait(line)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await self._answer(_asked(head), reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left, as clients do
        finally:
            writer.close()

    async def _answer(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(asked)
        self.heard.set()
        path, resource = _resource(asked.path)
        if self.fault is Fault.STALL:
            await reader.read()
        elif self.fault is Fault.NOT_HTTP:
            writer.write(b"\x16\x03\x01 what?\r\n\r\n")
        elif self.fault is Fault.REDIRECT:
            _write(writer, 307, b"{}", {"Location": asked.path})
        elif isinstance(self.fault, Refusal):
            after = {"Retry-After": self.fault.retry_after} if self.fault.retry_after else {}
            _refuse(writer, self.fault.status, self.fault.message, after)
        elif self.token and asked.authorization.lower() != f"bearer {self.token}".lower():
            _refuse(writer, 401, "Unauthorized")
        elif path not in self.served:
            _refuse(writer, 404, "the server could not find the requested resource")
        elif self.fault is not Fault.CLOSE:
            await self._serve(asked, resource, reader, writer)

    async def _serve(
        self, asked: Asked, resource: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        selector = asked.query.get("labelSelector", "")
        if asked.kind == "list":
            items = [item for item in self._of(resource).objects.values() if _fits(item, selector)]
            _write(writer, 200, json.dumps({"items": items, **self._mark({})}).encode())
            return
        if asked.kind == "stream" and not self.streaming_lists:
            _refuse(writer, self._refuses_with, "sendInitialEvents is forbidden for watch")
            return
        since = int(asked.query.get("resourceVersion", "0"))
        if self.fault is Fault.GONE_STATUS and asked.kind == "watch":
            _refuse(writer, 410, "too old resource version")
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        stream = _Stream(resource, selector)
        if self.fault is None or self.fault is Fault.GONE_STATUS:
            self._begin(asked, stream, since)
        if self.fault is not None:
            _misbehave(self.fault, stream)
        await self._pump(stream, reader, writer)

    def _begin(self, asked: Asked, stream: _Stream, since: int) -> None:
        """Say what a new watch has to hear first."""
        collection = self._of(stream.collection)
        if asked.kind == "stream":
            past = [("ADDED", item) for item in collection.objects.values()]
        elif since < collection.oldest:
            stream.queue.put_nowait(_expired())
            return
        else:
            past = [(kind, item) for version, kind, item in collection.history if version > since]
        for kind, item in past:
            if _fits(item, stream.selector):
                stream.queue.put_nowait(_event(kind, item))
        if asked.kind == "stream":
            stream.queue.put_nowait(_event("BOOKMARK", self._mark({"k8s.io/initial-events-end": "true"})))

    async def _pump(self, stream: _Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.add(stream)
        self.idle.clear()
        async with asyncio.TaskGroup() as tasks:
            gone = tasks.create_task(_left(reader), name="wait for the client to leave")
            gone.add_done_callback(lambda _: stream.queue.put_nowait(None))
            try:
                while (line := await stream.queue.get()) is not None:
                    if line == _BREAK:
                        writer.transport.abort()
                        return
                    writer.write(b"%x\r\n%b\r\n" % (len(line), line))
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
            except (OSError, RuntimeError):
                pass  # the client has left, for which uvloop has the second word
            finally:
                self._streams.discard(stream)
                if not self._streams:
                    self.idle.set()
                gone.cancel()


_BREAK = b"\0break"


async def _left(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        await reader.read()


def _misbehave(fault: Fault | Refusal, stream: _Stream) -> None:
    half = b'{"type":"ADDED","object":{"metadata":{"na'
    says: Mapping[object, list[bytes | None]] = {
        Fault.STREAM_ENDS: [None],
        Fault.STREAM_BREAKS: [_BREAK],
        Fault.HALF_LINE: [half, None],
        Fault.GARBAGE: [b"<html>502 Bad Gateway</html>\n"],
        Fault.ENDLESS_LINE: [b"x" * 1_000_000] * 10,
        Fault.GONE_EVENT: [_expired()],
        Fault.GONE_STATUS: [None],
    }
    for line in says.get(fault, []):
        stream.queue.put_nowait(line)


def _expired() -> bytes:
    return _event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"})


def _event(kind: str, item: Object) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def _fits(item: Object, selector: str) -> bool:
    """Equality and existence, which is all that tests select by."""
    labels = item["metadata"].get("labels", {})
    for requirement in filter(None, selector.split(",")):
        key, equals, value = requirement.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def _asked(head: bytes) -> Asked:
    first, *lines = head.decode().split("\r\n")
    url = urlsplit(first.split()[1])
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    return Asked(
        unquote(url.path), dict(parse_qsl(url.query)), headers.get("authorization", ""), headers.get("user-agent", "")
    )


def _resource(path: str) -> tuple[str, str]:
    """The API path without its namespace, and the resource."""
    base, _, rest = path.partition("/namespaces/")
    resource = rest.rpartition("/")[2]
    return f"{base}/{resource}", resource


def _refuse(writer: asyncio.StreamWriter, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status}
    _write(writer, status, json.dumps(body).encode(), headers)


def _write(writer: asyncio.StreamWriter, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    writer.write(f"HTTP/1.1 {status} Status\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body)


@contextlib.asynccontextmanager
async def kube_api(
    *, streaming_lists: bool = True, refuses_with: int = 422, tls: ssl.SSLContext | None = None
) -> AsyncIterator[KubeApi]:
    """Run a server; its connections end with the block."""
    api = KubeApi(streaming_lists=streaming_lists, refuses_with=refuses_with)
    async with asyncio.TaskGroup() as tasks:
        serving = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = tasks.create_task(api.serve(reader, writer), name="a connection of the API server")
            serving.add(task)
            task.add_done_callback(serving.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls, limit=2**20)
        api.port = server.sockets[0].getsockname()[1]
        try:
            yield api
        finally:
            server.close()
            for task in tuple(serving):
                task.cancel()
