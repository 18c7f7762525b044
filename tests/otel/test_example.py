"""The collector's example configuration in deploy/: a real collector takes it, and keeps what it says it keeps."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.otel.arrived import Arrived
from tests.otel.calling import GOOD, PLAN, call_all
from tests.otel.collector import HOST, ROOT, collector, configuration, program
from tests.otel.telling import ended, telling
from tests.otel.test_signals import assert_metrics, assert_spans
from tests.support.fake_server import FakeServer

EXAMPLE = ROOT / "deploy" / "otel-collector.yaml"
BACKEND = {"BACKEND": f"{HOST}:9"}


def validated(file: Path) -> subprocess.CompletedProcess[str]:
    command = [str(program()), "validate", f"--config={file}"]
    environ = {**os.environ, **BACKEND}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.covers("B-343")
def test_a_collector_takes_the_example():
    done = validated(EXAMPLE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("word", "other"), [("status_codes:", "status_code:"), ("[otlp_grpc]", "[nowhere]")])
def test_the_collector_would_have_found_a_mistake_in_it(tmp_path: Path, word: str, other: str):
    mistaken = tmp_path / "mistaken.yaml"
    mistaken.write_text(EXAMPLE.read_text().replace(word, other))
    assert validated(mistaken).returncode != 0


def here(folder: Path) -> dict[str, Any]:
    """What the example needs to run on loopback and to write into a folder: other addresses, and other exporters."""
    config = configuration(folder)
    del config["processors"]
    for pipeline in config["service"]["pipelines"].values():
        del pipeline["processors"]
    return config


@pytest.mark.covers("B-343")
async def test_with_the_example_every_trace_of_a_failure_is_kept_and_few_of_the_others(tmp_path: Path):
    async with FakeServer() as server:
        with collector(tmp_path, here(tmp_path), str(EXAMPLE), environ=BACKEND) as running:
            with telling(running, server.url) as sidecar:
                ledger = await call_all(sidecar, {**PLAN, GOOD: 12})
                await ended(sidecar)
                running.end()
    arrived = Arrived(tmp_path)
    kept = {span.trace for span in arrived.spans}
    assert {entry.trace for entry in ledger if entry.error} <= kept
    assert not {entry.trace for entry in ledger if not entry.error} <= kept
    assert_spans([entry for entry in ledger if entry.trace in kept], arrived)
    assert_metrics(ledger, arrived)
    assert len(arrived.records) == len(ledger)
