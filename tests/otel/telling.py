"""A sidecar process that tells a real collector everything. Knows no signal's meaning."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from tests.otel.calling import settings
from tests.otel.collector import Running
from tests.support.sidecar_process import SidecarProcess, sidecar_process

PROTOCOLS = {"grpc": "grpc", "http": "http/protobuf"}


@contextlib.contextmanager
def telling(
    collector: Running, url: str, *, way: str = "grpc", scheme: str = "http", **environ: str
) -> Iterator[SidecarProcess]:
    """A sidecar in front of the server at `url` (calling.settings) that traces every call and sends every signal."""
    usual = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url(way, scheme),
        "OTEL_EXPORTER_OTLP_PROTOCOL": PROTOCOLS[way],
        "OTEL_TRACES_SAMPLER": "parentbased_always_on",
        "OTEL_LOGS_EXPORTER": "otlp",
    }
    words = settings(collector.arrived, url)
    with sidecar_process({}, *words, environ={**usual, **environ}) as sidecar:
        yield sidecar


async def ended(sidecar: SidecarProcess) -> None:
    """It is told to go, and has gone well."""
    sidecar.signal(signal.SIGTERM)
    assert await sidecar.ended() == 0
    assert sidecar.err.read_text() == ""
