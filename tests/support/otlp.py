"""A collector for tests: OTLP over gRPC and HTTP, all three signals, in as many moods as real ones. Knows no sidecar.

async with Collector() as collector:
    ...                                   # export to collector.grpc or collector.http
    await collector.until(lambda c: c.spans)
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Literal, Self

import grpc
import grpc.aio
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mcp_sidecar.wire.tls import server_material
from tests.support.certificates import Issued

Mode = Literal["ok", "slow", "drip", "hang", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "partial"]
HOST = "127.0.0.1"
_SLOW_SECONDS = 0.4
_DRIP_SECONDS = 0.01
_HTTP_STATUS = {"UNAVAILABLE": 503, "RESOURCE_EXHAUSTED": 429, "INVALID_ARGUMENT": 400}
_SIGNALS: dict[str, tuple[str, Any, Any, str]] = {
    "traces": (
        "trace.v1.TraceService",
        trace.ExportTraceServiceRequest,
        trace.ExportTraceServiceResponse,
        "rejected_spans",
    ),
    "metrics": (
        "metrics.v1.MetricsService",
        metrics.ExportMetricsServiceRequest,
        metrics.ExportMetricsServiceResponse,
        "rejected_data_points",
    ),
    "logs": (
        "logs.v1.LogsService",
        logs.ExportLogsServiceRequest,
        logs.ExportLogsServiceResponse,
        "rejected_log_records",
    ),
}


class Collector:
    """Listens on free loopback ports while it is entered. `mode` may change at any time.

    `partial` takes everything but the last span or record of a batch, `slow` takes its time, and
    over HTTP `drip` answers byte by byte without an end. `asked` counts requests,
    `headers` are those of the last one, `headers_of` those of the last one of each signal. What was refused is not
    kept; a request that hangs ends with its caller. With `issued` it speaks TLS; with `authorities` too, callers have
    to show a certificate of theirs.
    """

    def __init__(self, mode: Mode = "ok", issued: Issued | None = None, authorities: bytes = b"") -> None:
        self.mode: Mode = mode
        self._issued = issued
        self._authorities = authorities
        self.asked = 0
        self.headers: dict[str, str] = {}
        self.headers_of: dict[str, dict[str, str]] = {}
        self.requests: list[Any] = []
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._grpc = grpc.aio.server()
        for signal, (service, request, _, _) in _SIGNALS.items():
            handler: Any = grpc.unary_unary_rpc_method_handler(
                self._rpc(signal), request.FromString, lambda answer: answer.SerializeToString()
            )
            name = f"opentelemetry.proto.collector.{service}"
            self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": handler}),))
        port = self._grpc_port(f"{HOST}:0")
        await self._grpc.start()
        self._http = await asyncio.start_server(self._connected, HOST, 0, ssl=self._context())
        scheme = "http" if self._issued is None else "https"
        self.grpc = f"{scheme}://{HOST}:{port}"
        self.http = f"{scheme}://{HOST}:{self._http.sockets[0].getsockname()[1]}"
        return self

    def _grpc_port(self, address: str) -> int:
        if self._issued is None:
            return self._grpc.add_insecure_port(address)
        pair = (self._issued.key, self._issued.certificate)
        credentials = grpc.ssl_server_credentials([pair], self._authorities or None, bool(self._authorities))
        return self._grpc.add_secure_port(address, credentials)

    def _context(self) -> ssl.SSLContext | None:
        if self._issued is None:
            return None
        return server_material(self._issued.certificate, self._issued.key, self._authorities).context

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._grpc.stop(0)
        self._http.close()
        await self._http.wait_closed()

    @property
    def spans(self) -> list[Span]:
        return [span for _, span in self._scoped(trace.ExportTraceServiceRequest)]

    @property
    def records(self) -> list[Any]:
        return [record for _, record in self._scoped(logs.ExportLogsServiceRequest)]

    @property
    def metrics(self) -> dict[str, Metric]:
        """Of the last export, by name."""
        exports = [one for one in self.requests if isinstance(one, metrics.ExportMetricsServiceRequest)]
        return {metric.name: metric for _, metric in _items(exports[-1])} if exports else {}

    @property
    def resources(self) -> list[dict[str, Any]]:
        """What those who sent say of themselves."""
        return [attributes(resource) for one in self.requests for resource in _resources(one)]

    def _scoped(self, kind: type[Any]) -> Iterator[tuple[Any, Any]]:
        for one in self.requests:
            if isinstance(one, kind):
                yield from _items(one)

    async def until(self, true: Callable[[Collector], Any], seconds: float = 10.0) -> None:
        """Wait until what came makes it true. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while not true(self):
                self._changed.clear()
                await self._changed.wait()

    def _rpc(self, signal: str) -> Callable[[Any, Any], Any]:
        async def export(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            self._noted(signal, {str(key): str(value) for key, value in context.invocation_metadata() or ()})
            await self._dawdle()
            if self.mode in _HTTP_STATUS:
                self._note()
                await context.abort(grpc.StatusCode[self.mode], self.mode)
            return self._take(signal, request)

        return export

    def _noted(self, signal: str, headers: dict[str, str]) -> None:
        self.headers = self.headers_of[signal] = headers

    async def _dawdle(self) -> None:
        """Keep the caller waiting; one that hangs is waited for until the end."""
        if self.mode == "slow":
            await asyncio.sleep(_SLOW_SECONDS)
        elif self.mode == "hang":
            self._note()
            await self._closing.wait()

    def _note(self) -> None:
        self.asked += 1
        self._changed.set()

    def _take(self, signal: str, request: Any) -> Message:
        _, _, answer, rejected = _SIGNALS[signal]
        response = answer()
        if self.mode == "partial" and signal != "metrics":
            _lists(request)[-1].pop()
            setattr(response.partial_success, rejected, 1)
        self.requests.append(request)
        self._note()
        return response  # type: ignore[no-any-return]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            signal = head[0].split()[1].rpartition("/")[2]
            self._noted(signal, dict(line.lower().split(": ", 1) for line in head[1:] if line))
            body = await reader.readexactly(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            await self._dawdle()
            if self.mode == "drip":
                await self._drip(writer)
            if self._closing.is_set():
                return
            status, said = self._answer(signal, body)
            writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: {len(said)}\r\nconnection: close\r\n\r\n".encode())
            writer.write(said)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass  # the caller has had enough
        finally:
            writer.close()

    async def _drip(self, writer: asyncio.StreamWriter) -> None:
        """A head that goes on until the caller has enough, or the test is over."""
        self._note()
        writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        while not self._closing.is_set():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(_DRIP_SECONDS)

    def _answer(self, signal: str, body: bytes) -> tuple[int, bytes]:
        if self.mode in _HTTP_STATUS:
            self._note()
            return _HTTP_STATUS[self.mode], b""
        return 200, self._take(signal, _SIGNALS[signal][1].FromString(body)).SerializeToString()


def _resources(request: Any) -> list[Any]:
    _, value = request.ListFields()[0]
    return [one.resource for one in value]


def _lists(request: Any) -> list[Any]:
    """The lists of spans, metrics or records in a request."""
    _, resources = request.ListFields()[0]
    scopes = [scope for resource in resources for scope in resource.ListFields()[-1][1]]
    names = ("spans", "metrics", "log_records")
    return [next(getattr(scope, name) for name in names if hasattr(scope, name)) for scope in scopes]


def _items(request: Any) -> Iterator[tuple[Any, Any]]:
    for items in _lists(request):
        for item in items:
            yield request, item


def attributes(of: Any) -> dict[str, Any]:
    """The attributes of a span, a record, a data point or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}
