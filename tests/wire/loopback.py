"""Both ends of real loopback connections for the tests of `mcp_sidecar.wire`; knows raw bytes and no proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mcp_sidecar.wire.http_client import HttpClient, Origin
from mcp_sidecar.wire.http_server import Handle, Listener, Reply, Request, fields
from mcp_sidecar.wire.limits import ClientLimits, ServerLimits

BOUND = 5.0  # seconds: nothing here takes longer on a machine that works


class Clock:
    """Monotonic seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes


@dataclass
class Peer:
    """A client that writes what it is told to, byte for byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[bytes, bytes]]:
        async with asyncio.timeout(BOUND):
            block = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = block[:-4].split(b"\r\n")
        pairs = [line.split(b": ", 1) for line in lines]
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}

    async def answer(self) -> Answer:
        status, headers = await self.head()
        if headers.get(b"transfer-encoding") == b"chunked":
            body = b"".join([chunk async for chunk in self.chunks()])
        else:
            async with asyncio.timeout(BOUND):
                body = await self.reader.readexactly(int(headers.get(b"content-length", b"0")))
        return Answer(status, headers, body)

    async def chunk(self) -> bytes:
        async with asyncio.timeout(BOUND):
            size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self.chunk():
            yield chunk

    async def rest(self) -> bytes:
        """Everything until the other end closes."""
        async with asyncio.timeout(BOUND):
            return await self.reader.read()

    async def closed(self) -> bool:
        """The other end closes, in good order or not, without another byte."""
        try:
            return await self.rest() == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def dial(port: int) -> AsyncIterator[Peer]:
    peer = Peer(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield peer
    finally:
        # What was not sent and not read is of no interest to a test that is over.
        peer.writer.transport.abort()
        try:
            await peer.writer.wait_closed()
        except ConnectionError:
            pass


@dataclass
class Served:
    listener: Listener
    port: int
    faults: list[BaseException] = field(default_factory=list)


@asynccontextmanager
async def serving(
    handle: Handle, limits: ServerLimits | None = None, clock: Callable[[], float] | None = None
) -> AsyncIterator[Served]:
    """A listener on a free port; afterwards it is closed and nothing of it is left."""
    faults: list[BaseException] = []
    async with asyncio.TaskGroup() as tasks:
        listener = Listener(handle, limits or ServerLimits(), tasks, on_fault=faults.append, clock=clock)
        _, port = await listener.bind("127.0.0.1", 0)
        try:
            yield Served(listener, port, faults)
        finally:
            async with asyncio.timeout(BOUND):
                await listener.close()
            assert listener.connections == 0


async def echo(request: Request, reply: Reply) -> None:
    """Answers with what it was asked: method, path, query and body, a line each."""
    words = f"{request.head.method} {request.head.path} {request.head.query}\n".encode()
    reply.send(200, fields((b"content-type", b"text/plain")), words + request.body)


async def until(fact: Callable[[], object]) -> None:
    """Wait until `fact` holds."""
    async with asyncio.timeout(BOUND):
        while not fact():  # noqa: ASYNC110 - what is waited for is a fact about real sockets and has no event
            await asyncio.sleep(0.001)


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Scripted:
    port: int
    accepted: list[Peer] = field(default_factory=list)


@asynccontextmanager
async def origin(script: Script) -> AsyncIterator[Scripted]:
    """A server that runs `script` on each connection and closes it when the script ends."""
    scripted = Scripted(0)

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        scripted.accepted.append(peer)
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0, limit=1 << 20)
    scripted.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        server.close()
        for peer in scripted.accepted:
            peer.writer.close()


async def request_of(peer: Peer) -> bytes:
    """One request with a Content-Length, head and body."""
    async with asyncio.timeout(BOUND):
        head = await peer.reader.readuntil(b"\r\n\r\n")
        length = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return head + (await peer.reader.readexactly(int(length[0])) if length else b"")


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def replying(*replies: bytes, close: bool = False) -> Script:
    """A script that answers each request with the next of these; the last one serves all that follow."""

    async def script(peer: Peer) -> None:
        for reply in replies:
            await request_of(peer)
            await peer.send(reply)
        while not close:
            await request_of(peer)
            await peer.send(replies[-1])

    return script


async def get(client: HttpClient) -> bytes:
    async with asyncio.timeout(BOUND):
        response = await client.request(b"GET", b"/", b"", b"")
        return await response.read()


@asynccontextmanager
async def calling(port: int, limits: ClientLimits | None = None) -> AsyncIterator[HttpClient]:
    """A client of that port; afterwards it holds no socket."""
    client = HttpClient(Origin("127.0.0.1", port, b"origin.test"), limits or ClientLimits())
    try:
        yield client
    finally:
        client.close()
        assert client.open_sockets == client.busy_sockets == 0
