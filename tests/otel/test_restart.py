"""A collector that hangs, is killed, and comes back: spans that ended have arrived or are counted, and calls go on."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.inbound.waiting import eventually
from tests.otel.arrived import Arrived
from tests.otel.asking import SECONDS, until
from tests.otel.calling import FACES, GOOD, Entry, call_all
from tests.otel.collector import collector, configuration
from tests.otel.telling import ended, telling
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.sidecar_process import SidecarProcess

_DROPPED = re.compile(r'^mcp_sidecar_telemetry_dropped_total\{signal="traces"\} (\S+)$', re.MULTILINE)
_ROUND = {GOOD: 5}
_SPANS = 2 * len(FACES) * sum(_ROUND.values())


async def dropped(sidecar: SidecarProcess) -> int:
    """The spans that no collector has taken, from the Prometheus page."""
    page = (await raw_http.request("GET", sidecar.probe("/metrics"))).body.decode()
    found = _DROPPED.search(page)
    assert found, page
    return int(float(found[1]))


def arrived(folder: Path, ledger: list[Entry]) -> int:
    """How many spans of these calls are in the file, each once."""
    traces = {entry.trace for entry in ledger}
    found = [span.span for span in Arrived(folder).spans if span.trace in traces]
    assert len(found) == len(set(found)), "a span came twice"
    return len(found)


@pytest.mark.covers("B-342")
@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_what_a_killed_collector_missed_is_sent_later_or_counted(tmp_path: Path, way: str):
    only = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_TIMEOUT": "300"}
    async with FakeServer() as server:
        with collector(tmp_path) as first, telling(first, server.url, way=way, **only) as sidecar:
            well = await call_all(sidecar, _ROUND)
            await eventually(lambda: arrived(tmp_path, well) == _SPANS, SECONDS)
            first.process.send_signal(signal.SIGSTOP)  # it takes connections, and answers nothing
            hung = await call_all(sidecar, _ROUND)
            await until(lambda: dropped(sidecar))
            first.end(signal.SIGKILL)
            missed = await call_all(sidecar, _ROUND)
            again = configuration(tmp_path, ports=first.ports)
            with collector(tmp_path, again) as second:
                await eventually(lambda: arrived(tmp_path, missed) == _SPANS, SECONDS)
                after = await call_all(sidecar, _ROUND)
                counted = await dropped(sidecar)
                await ended(sidecar)
                second.end()
    assert [arrived(tmp_path, ledger) for ledger in (well, missed, after)] == [_SPANS] * 3
    assert arrived(tmp_path, hung) + counted == _SPANS
    assert len(server.executions) == len(well + hung + missed + after)
