"""Tests of `mcp_sidecar.inbound.probes`, on a real listener where the wire matters."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.inbound.health import HealthBoard
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.inbound.probes import probe, probes
from mcp_sidecar.lifecycle import Lifecycle, Phase
from mcp_sidecar.wire.http_server import Listener
from mcp_sidecar.wire.limits import ServerLimits


def _board(*latches):
    lifecycle = Lifecycle(latches or ("start",))
    if not latches:
        lifecycle.release("start")
    return lifecycle, HealthBoard(lifecycle)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
async def test_a_probe_that_holds_says_ok(path):
    _, board = _board()
    assert probe(path, board, Metrics()) == (200, "text/plain; charset=utf-8", b"ok\n")


async def test_a_probe_that_fails_names_what_is_waited_for_in_one_line():
    _, board = _board("discovery", "listeners")
    for path in ("/readyz", "/startupz"):
        status, _, body = probe(path, board, Metrics())
        assert (status, body) == (503, b"starting, waiting for: discovery, listeners\n")
    assert probe("/livez", board, Metrics())[0] == 200


async def test_draining_ends_readiness_and_neither_startup_nor_liveness():
    lifecycle, board = _board()
    lifecycle.advance(Phase.DRAINING)
    assert [probe(path, board, Metrics())[0] for path in ("/readyz", "/startupz", "/livez")] == [503, 200, 200]


async def test_the_metrics_page_is_prometheus_text():
    _, board = _board()
    metrics = Metrics()
    metrics.count("mcp_sidecar_calls_total", code="OK", execution="done")
    status, content_type, body = probe("/metrics", board, metrics)
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'mcp_sidecar_calls_total{code="OK",execution="done"} 1\n' in body


@pytest.mark.parametrize("path", ["/", "/metrics/", "/livez2", "/LIVEZ", "/config"])
async def test_any_other_path_is_answered_with_those_that_exist(path):
    _, board = _board()
    status, _, body = probe(path, board, Metrics())
    assert (status, body) == (404, b"not here; there are /livez, /readyz, /startupz, /metrics\n")


async def _ask(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to `request`, which asks for the connection to be closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return head, body
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("verb", "path", "status", "body"),
    [
        ("GET", "/livez", b"200", b"ok\n"),
        ("HEAD", "/livez", b"200", b""),
        ("GET", "/readyz?verbose=1", b"503", b"starting, waiting for: discovery\n"),
        ("GET", "/metrics", b"200", b""),
        ("GET", "/nonsense", b"404", b"not here; there are /livez, /readyz, /startupz, /metrics\n"),
        ("POST", "/livez", b"405", b"only GET and HEAD\n"),
        ("DELETE", "/metrics", b"405", b"only GET and HEAD\n"),
    ],
)
async def test_the_listener_serves_probes_to_readers_only(verb, path, status, body):
    _, board = _board("discovery")
    faults: list[BaseException] = []
    async with asyncio.timeout(5), asyncio.TaskGroup() as tg:
        listener = Listener(probes(board, Metrics()), ServerLimits(), tg, on_fault=faults.append)
        _, port = await listener.bind("127.0.0.1", 0)
        request = f"{verb} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        head, got = await _ask(port, request.encode())
        await listener.close()
    assert head.split(b" ")[1] == status
    assert got == body
    assert (b"allow: GET, HEAD" in head) is (status == b"405")
    assert faults == []
