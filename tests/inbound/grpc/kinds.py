"""A service with one RPC of every kind, behind the real chain on a real server; what its handlers do, the test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from mcp_sidecar.inbound.auth import authenticator
from mcp_sidecar.inbound.chain import Chain, Ledger
from mcp_sidecar.inbound.grpc.metadata import RpcCall
from mcp_sidecar.inbound.grpc.server import Registrar, Unknown, options, the_call
from mcp_sidecar.inbound.instruments import CALLS, OPERATION_SECONDS, RPC_SECONDS
from mcp_sidecar.inbound.metrics import Counter, Histogram, Metrics
from mcp_sidecar.logs import Log
from mcp_sidecar.settings import AuthSettings, GrpcSettings

SERVICE = "test.Kinds"
KINDS = ("UnaryUnary", "UnaryStream", "UnaryGenerator", "StreamUnary", "StreamStream", "StreamGenerator")
STREAMS_OUT = ("UnaryStream", "UnaryGenerator", "StreamStream", "StreamGenerator")
# What a reader does not read is felt after 1 KiB, not 64.
SMALL_WINDOW = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))

Act = Callable[[RpcCall], Awaitable[None]]
Metadata = Sequence[tuple[str, str | bytes]]


class Kinds:
    """The handlers, in every style that gRPC knows. Streams say `one`, act, and say `two`; others act and answer."""

    def __init__(self, act: Act) -> None:
        self._act = act

    async def UnaryUnary(self, _request: bytes, call: RpcCall) -> bytes:  # noqa: N802
        await self._act(call)
        return b"two"

    async def UnaryStream(self, _request: bytes, call: RpcCall) -> None:  # noqa: N802
        await call.context.write(b"one")
        await self._act(call)
        await call.context.write(b"two")

    async def UnaryGenerator(self, _request: bytes, call: RpcCall) -> AsyncIterator[bytes]:  # noqa: N802
        yield b"one"
        await self._act(call)
        yield b"two"

    async def StreamUnary(self, requests: AsyncIterator[bytes], call: RpcCall) -> bytes:  # noqa: N802
        async for _ in requests:
            await self._act(call)
        return b"two"

    async def StreamStream(self, requests: AsyncIterator[bytes], call: RpcCall) -> None:  # noqa: N802
        await call.context.write(b"one")
        async for _ in requests:
            await self._act(call)
        await call.context.write(b"two")

    async def StreamGenerator(self, requests: AsyncIterator[bytes], call: RpcCall) -> AsyncIterator[bytes]:  # noqa: N802
        yield b"one"
        async for _ in requests:
            await self._act(call)
        yield b"two"

    def handlers(self) -> dict[str, Any]:
        """As the generated `add_*_to_server` functions hand them over, but for messages that are plain bytes."""
        streaming = {
            "UnaryUnary": grpc.unary_unary_rpc_method_handler,
            "UnaryStream": grpc.unary_stream_rpc_method_handler,
            "UnaryGenerator": grpc.unary_stream_rpc_method_handler,
            "StreamUnary": grpc.stream_unary_rpc_method_handler,
            "StreamStream": grpc.stream_stream_rpc_method_handler,
            "StreamGenerator": grpc.stream_stream_rpc_method_handler,
        }
        return {name: wrap(getattr(self, name)) for name, wrap in streaming.items()}


@dataclass
class Outcome:
    """What a client saw of one call."""

    code: str
    details: str
    trailers: dict[str, Any]
    messages: list[bytes]
    call: Any


@dataclass
class Served:
    """The server's side (`lines`, `metrics`) and a client's (`call`)."""

    metrics: Metrics
    channel: Any
    lines: list[dict[str, Any]] = field(default_factory=list)

    def start(
        self, kind: str, *, timeout: float | None = None, metadata: Metadata = (), rpc: str = "", mute: bool = False
    ) -> Any:
        """Begin a call; the request of a kind that streams is one message and the end of the stream.

        A `mute` one sends no message: one that is written when the answer is on its way already makes the client give
        up with INTERNAL, whatever the answer is.
        """
        rpc = rpc or f"/{SERVICE}/{kind}"
        channel, given = self.channel, {"timeout": timeout, "metadata": tuple(metadata)}
        if kind == "UnaryUnary":
            return channel.unary_unary(rpc)(b"request", **given)
        if kind.startswith("Unary"):
            return channel.unary_stream(rpc)(b"request", **given)
        stream = channel.stream_unary if kind == "StreamUnary" else channel.stream_stream
        return stream(rpc)(_no_request() if mute else _one_request(), **given)

    async def call(self, kind: str, **given: Any) -> Outcome:
        """One call to its end."""
        return await ended(self.start(kind, **given), kind)

    def codes(self) -> list[str]:
        """The codes of the log lines of calls."""
        return [line["code"] for line in self.lines if line["event"] == "call"]

    def samples(self) -> dict[str, list[str]]:
        """The code of every sample, by instrument."""
        return samples(self.metrics)


async def _one_request() -> AsyncIterator[bytes]:
    yield b"request"


async def _no_request() -> AsyncIterator[bytes]:
    return
    yield


async def ended(call: Any, kind: str) -> Outcome:
    """What a call has come to."""
    messages: list[bytes] = []
    try:
        if kind in STREAMS_OUT:
            while (message := await call.read()) is not grpc.aio.EOF:
                messages.append(message)
        else:
            messages.append(await call)
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        pass  # the status says it all
    trailers = dict(await call.trailing_metadata() or ())
    return Outcome((await call.code()).name, await call.details() or "", trailers, messages, call)


def samples(metrics: Metrics) -> dict[str, list[str]]:
    """The code of every sample, by instrument."""
    found: dict[str, list[str]] = {CALLS: [], RPC_SECONDS: [], OPERATION_SECONDS: []}
    for family in metrics.snapshot().families:
        for series in family.series:
            if isinstance(series, Counter) and family.name == CALLS:
                found[family.name] += [dict(series.labels)["code"]] * int(series.value)
            elif isinstance(series, Histogram) and family.name in found:
                found[family.name] += [dict(series.labels)["code"]] * sum(series.counts)
    return found


@asynccontextmanager
async def served(
    act: Act, *, auth: AuthSettings | None = None, client: Sequence[tuple[str, Any]] = ()
) -> AsyncIterator[Served]:
    """The service on loopback behind recovery, logging, authentication and metrics, as the sidecar's own."""
    metrics = Metrics()
    lines: list[dict[str, Any]] = []
    log = Log(lambda line: lines.append(json.loads(line)), "debug")
    chain = Chain(Ledger(log, metrics), authenticator(auth or AuthSettings(), lambda _: None))
    server = grpc.aio.server(options=options(GrpcSettings(), local=True))
    Registrar([server], chain, the_call).add_registered_method_handlers(SERVICE, Kinds(act).handlers())
    server.add_generic_rpc_handlers((Unknown(chain),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1), *client])
    try:
        async with asyncio.timeout(20):
            yield Served(metrics, channel, lines)
    finally:
        await channel.close()
        await server.stop(None)
