"""Carries encoded batches to a collector, by OTLP over gRPC or over HTTP. Blocks its thread, within bounds.

Not the SDK's exporters: those sleep between tries past their own time limit, tell nobody what a collector rejected, and
read the environment (docs/decisions/0025).
"""

from __future__ import annotations

import gzip
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from mcp_sidecar import __version__
from mcp_sidecar.settings import SignalSettings
from mcp_sidecar.telemetry.delivery import Refused
from mcp_sidecar.telemetry.target import Target

_MOST_ANSWER = 64 * 1024
_AGENT = f"mcp-sidecar/{__version__}"
_UNSEEN = frozenset((grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED))
"""The collector did not take the batch, and may take it later. After a timeout nobody knows, and twice is worse."""
_REJECTED = frozenset(
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
    )
)
"""The collector has seen the batch, taken nothing of it, and would say the same again."""
_BUSY = frozenset((429, 502, 503, 504))
"""What OTLP over HTTP may be asked again after (OTLP 1.x, "Retryable Response Codes")."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a signal is called in OTLP."""

    rpc: str
    answer: type[Any]
    rejected: str


FORMS: Mapping[str, Form] = {
    "traces": Form("trace.v1.TraceService", ExportTraceServiceResponse, "rejected_spans"),
    "metrics": Form("metrics.v1.MetricsService", ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": Form("logs.v1.LogsService", ExportLogsServiceResponse, "rejected_log_records"),
}


class Wire(Protocol):
    """Sends a message within so many seconds: how much of it was rejected. Raises `Refused`."""

    def send(self, message: Message, seconds: float) -> int: ...

    def cut(self) -> None:
        """End what is under way, from another thread; nothing can be sent after it."""


def wire(target: Target, signal: str, settings: SignalSettings) -> Wire:
    """The wire of a target. Raises `OSError` for a certificate that cannot be used."""
    kind = GrpcWire if target.protocol == "grpc" else HttpWire
    return kind(target, FORMS[signal], settings)


class GrpcWire:
    """OTLP over gRPC; the channel reconnects by itself."""

    def __init__(self, target: Target, form: Form, settings: SignalSettings) -> None:
        # A proxy named in the environment is meant for the internet; a collector is a neighbour.
        options = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_reconnect_backoff_ms", 5000),
            ("grpc.primary_user_agent", _AGENT),
        ]
        compression = grpc.Compression.Gzip if settings.compression == "gzip" else grpc.Compression.NoCompression
        if target.tls:
            credentials = grpc.ssl_channel_credentials(
                _content(settings.certificate), _content(settings.client_key), _content(settings.client_certificate)
            )
            self._channel = grpc.secure_channel(target.address, credentials, options, compression)
        else:
            self._channel = grpc.insecure_channel(target.address, options, compression)
        self._metadata = tuple((name.lower(), value) for name, value in settings.headers.items())
        self._rejected = form.rejected
        self._export: Any = self._channel.unary_unary(
            f"/opentelemetry.proto.collector.{form.rpc}/Export",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=form.answer.FromString,
        )

    def send(self, message: Message, seconds: float) -> int:
        try:
            answer = self._export(message, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            code = error.code()
            raise Refused(
                f"gRPC status {code.name}", again=code in _UNSEEN, untaken=code in _UNSEEN | _REJECTED
            ) from error
        except ValueError as error:  # a closed channel
            raise Refused("closed") from error
        return int(getattr(answer.partial_success, self._rejected))

    def cut(self) -> None:
        self._channel.close()


class HttpWire:
    """OTLP over HTTP/1.1, a connection for each batch: they are seconds apart."""

    def __init__(self, target: Target, form: Form, settings: SignalSettings) -> None:
        self._target = target
        self._form = form
        self._gzip = settings.compression == "gzip"
        self._headers = {"content-type": "application/x-protobuf", "user-agent": _AGENT, **settings.headers}
        if self._gzip:
            self._headers["content-encoding"] = "gzip"
        self._tls = _context(settings) if target.tls else None
        self._open: socket.socket | None = None
        self._closed = False

    def send(self, message: Message, seconds: float) -> int:
        body = message.SerializeToString()
        connection = self._connected(seconds)
        self._open = connection.sock
        late = threading.Timer(seconds, self._end)
        late.daemon = True
        late.start()
        try:
            if self._closed:
                raise Refused("closed", untaken=True)
            connection.request("POST", self._target.path, gzip.compress(body) if self._gzip else body, self._headers)
            response = connection.getresponse()
            answer = response.read(_MOST_ANSWER)
            if self._open is None or self._closed:  # what looks like the end of the answer is our own doing
                raise Refused("timeout")
            return self._judge(response.status, answer)
        except TimeoutError as error:
            raise Refused("timeout") from error
        except (OSError, http.client.HTTPException) as error:
            raise Refused("timeout" if self._open is None else type(error).__name__) from error
        finally:
            late.cancel()
            self._open = None
            connection.close()

    def _end(self) -> None:
        """A socket's timeout begins anew with each byte; this ends one that comes in drops, from another thread."""
        if (connected := self._open) is not None:
            self._open = None
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself

    def _connected(self, seconds: float) -> http.client.HTTPConnection:
        """A connection that stands. One that does not come about has carried nothing, so that may be tried again."""
        connection = self._connection(seconds)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            reason = "connection refused" if isinstance(error, ConnectionRefusedError) else type(error).__name__
            raise Refused(reason, again=True, untaken=True) from error
        return connection

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        host, port = self._target.host, self._target.port
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=seconds)
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=self._tls)

    def _judge(self, status: int, answer: bytes) -> int:
        if status != 200:
            raise Refused(f"HTTP status {status}", again=status in _BUSY, untaken=status in _BUSY or status < 500)
        try:
            partial = self._form.answer.FromString(answer).partial_success
        except DecodeError:
            return 0  # taken, and said in words we do not know
        return int(getattr(partial, self._form.rejected))

    def cut(self) -> None:
        self._closed = True
        self._end()


def _content(file: str) -> bytes | None:
    return Path(file).read_bytes() if file else None


def _context(settings: SignalSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.certificate or None)
    if settings.client_certificate:
        context.load_cert_chain(settings.client_certificate, settings.client_key)
    return context
