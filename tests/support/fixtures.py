"""Real servers for tests, each started once a session and only when a test asks for it; knows nothing of their insides.

A failing test shows what the servers it used have printed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.support import real_servers
from tests.support.real_servers import RealServer

_SHOWN = 4000


@pytest.fixture(scope="session")
def sdk2_server() -> Iterator[RealServer]:
    with real_servers.sdk2() as server:
        yield server


@pytest.fixture(scope="session")
def sdk1_server() -> Iterator[RealServer]:
    with real_servers.sdk1() as server:
        yield server


@pytest.fixture(scope="session")
def sdk1_sse_server() -> Iterator[RealServer]:
    with real_servers.sdk1_sse() as server:
        yield server


@pytest.fixture(scope="session")
def everything_server() -> Iterator[RealServer]:
    with real_servers.everything() as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Add the end of the log of every real server the test used."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, RealServer) and value.log.exists():
                report.sections.append((f"log of {name}", value.log.read_text(errors="replace")[-_SHOWN:]))
    return report
