"""gRPC listeners: options, registration of services behind the chain, start, stop. Knows no service's meaning."""

from __future__ import annotations

import inspect
import ipaddress
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from mcp_sidecar.call import Call
from mcp_sidecar.documented import LARGEST
from mcp_sidecar.errors import InvalidCall, UnknownMethod
from mcp_sidecar.inbound.chain import Chain, Handler
from mcp_sidecar.inbound.grpc.metadata import Context, RpcCall, read_call, say_done
from mcp_sidecar.inbound.grpc.status import recover
from mcp_sidecar.inbound.grpc.writing import write
from mcp_sidecar.settings import GrpcSettings, KeepaliveSettings

Behaviour = TypeVar("Behaviour", bound=Callable[..., object])
Handlers = Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
Option = tuple[str, int]
Arrive = Callable[[str, Context], RpcCall]
"""Makes the call of an RPC's name and context."""
_LOOKAHEAD = 256 * 1024
_METADATA = 16 * 1024
_METADATA_SLACK = 4 * 1024


def options(settings: GrpcSettings, *, local: bool) -> list[Option]:
    """Server options under C-core's names (docs/configuration.md says what they mean).

    Connections on loopback and unix sockets (`local`) have no age and no idle limit: there is no balancer to spread
    them, and a limit would end every open stream.
    """
    keepalive = settings.keepalive
    chosen = [
        # The default would let a second process take half of our connections without a word.
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", settings.max_concurrent_streams),
        # Streams count until Python has let go of them; without this, bursts at the limit fail with RST code 7.
        ("grpc.http2.max_deallocating_streams", settings.max_concurrent_streams),
        # Without a bandwidth probe the window stays what it is set to: a bound for what an unread stream can hold.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _LOOKAHEAD),
        # Twice what is allowed: a message a little too large gets our answer and a log line, not gRPC's bare status.
        ("grpc.max_receive_message_length", min(2 * settings.max_message, LARGEST)),
        ("grpc.max_send_message_length", -1),  # bounded by what is read from upstreams
        ("grpc.max_metadata_size", _METADATA),
        ("grpc.absolute_max_metadata_size", _METADATA + _METADATA_SLACK),
        ("grpc.server_handshake_timeout_ms", 10_000),
        *_keepalive(keepalive),
    ]
    if not local:
        chosen += _ages(keepalive)
    return chosen


def _keepalive(settings: KeepaliveSettings) -> list[Option]:
    return [
        ("grpc.keepalive_time_ms", _ms(settings.time)),
        ("grpc.keepalive_timeout_ms", _ms(settings.timeout)),
        ("grpc.keepalive_permit_without_calls", int(settings.permit_without_stream)),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(settings.min_time)),
    ]


def _ages(settings: KeepaliveSettings) -> list[Option]:
    return [
        ("grpc.max_connection_idle_ms", _ms(settings.max_connection_idle)),
        ("grpc.max_connection_age_ms", _ms(settings.max_connection_age)),
        ("grpc.max_connection_age_grace_ms", _ms(settings.max_connection_age_grace)),
    ]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def is_local(address: str) -> bool:
    """Only this machine can reach the address: loopback or a unix socket."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Registrar:
    """Takes the place of a server in generated `add_*_to_server` functions and puts the chain around every method.

    `pick` chooses what a handler gets besides its request: the call, or its gRPC context; `arrive` makes the call.
    """

    def __init__(
        self,
        servers: Sequence[grpc.aio.Server],
        chain: Chain,
        pick: Callable[[RpcCall], object],
        arrive: Arrive = read_call,
    ) -> None:
        self._arrive = arrive
        self._servers = servers
        self._chain = chain
        self._pick = pick

    def add_generic_rpc_handlers(self, _handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Ignored: the same methods come again, by name."""

    def add_registered_method_handlers(self, service: str, handlers: Handlers) -> None:
        """Register every method generically: gRPC's registered methods slow its accept loop down."""
        composed = {name: self._compose(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        generic = grpc.method_handlers_generic_handler(service, composed)
        for server in self._servers:
            server.add_generic_rpc_handlers((generic,))

    def _compose(self, rpc: str, handler: Any) -> Any:
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        read = _reader(handler.request_deserializer, streaming=handler.request_streaming)
        run = _around(self._chain, _leaf(behaviour, self._pick, read), rpc, self._arrive)
        wrap = _KINDS[handler.request_streaming, handler.response_streaming]
        # Parsed by gRPC, what is no message would fail before the chain: no log line, and Python's words to the client.
        return wrap(run, None, None if getattr(behaviour, "serialized", False) else handler.response_serializer)


def serialized(behaviour: Behaviour) -> Behaviour:
    """Mark a handler that returns its response as the bytes that go onto the wire."""
    behaviour.serialized = True  # type: ignore[attr-defined]
    return behaviour


def _around(chain: Chain, handler: Handler, rpc: str, arrive: Arrive) -> Callable[[Any, Any], Coroutine[Any, Any, Any]]:
    return chain.around(handler, recover, arrive=partial(arrive, rpc), conclude=say_done)


_KINDS: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


Read = Callable[[Any], Any]


def _reader(parse: Callable[[bytes], Any] | None, *, streaming: bool) -> Read:
    """From what arrived to what a handler gets: a message, or a stream of them."""

    def read(data: bytes) -> Any:
        try:
            return data if parse is None else parse(data)
        except DecodeError as error:
            raise InvalidCall("the request is not the protobuf message that this RPC takes") from error

    return (lambda messages: _Parsed(messages, read)) if streaming else read


class _Parsed:
    """A stream of messages out of a stream of bytes."""

    def __init__(self, messages: AsyncIterable[bytes], read: Read) -> None:
        self._messages = aiter(messages)
        self._read = read

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return self._read(await anext(self._messages))


def _leaf(behaviour: Callable[..., Any], pick: Callable[[RpcCall], object], read: Read) -> Handler:
    """Any style of handler as one coroutine; a stream is written, not yielded, so that the chain sees its end."""
    if inspect.isasyncgenfunction(behaviour):

        async def drain(call: Call, request: Any) -> None:
            assert isinstance(call, RpcCall)  # noqa: S101
            async with aclosing(behaviour(read(request), pick(call))) as messages:
                async for message in messages:
                    await write(call.context, message)

        return drain

    if pick is the_call:
        return lambda call, request: behaviour(read(request), call)
    return lambda call, request: behaviour(read(request), pick(call))  # type: ignore[arg-type]  # an RpcCall always


class Unknown(grpc.GenericRpcHandler):
    """The last handler asked: methods that do not exist go through the chain like all others."""

    def __init__(self, chain: Chain, arrive: Arrive = read_call) -> None:
        self._chain = chain
        self._arrive = arrive

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        rpc = str(details.method)

        async def refuse(_call: Call, _request: Any) -> None:
            raise UnknownMethod(f"there is no RPC {rpc[:128]}")

        # Streaming both ways fits whatever kind of call the client believes in.
        return grpc.stream_stream_rpc_method_handler(_around(self._chain, refuse, rpc[:128], self._arrive))


def the_call(call: RpcCall) -> RpcCall:
    """What our own services get."""
    return call


def the_context(call: RpcCall) -> object:
    """What services written for plain gRPC get."""
    return call.context
