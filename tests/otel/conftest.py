"""Says in one sentence what is missing before any test here begins; starts nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.otel.collector import program

if shutil.which("go") is None or not program().exists():
    pytest.exit("no collector: `make test-otel` builds it with Go from hack/otelcol", returncode=1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is sent on its own waits for up to five seconds, and some tests wait for that several times."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(120))
