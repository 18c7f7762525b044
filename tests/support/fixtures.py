"""Real servers for tests, each started once a session and only when a test asks for it; knows nothing of their insides.

A failing test shows what the servers it used have printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import real_servers
from tests.support.real_servers import RealServer
from tests.support.sidecar_process import SidecarProcess, sidecar_process

_SHOWN = 4000
_ROOT = Path(__file__).resolve().parents[2]


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


@dataclass(frozen=True, slots=True)
class Behind:
    """A server as it is seen through a sidecar."""

    url: str


@pytest.fixture(scope="session")
def sidecar_of_links(
    sdk2_server: RealServer, sdk1_sse_server: RealServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SidecarProcess]:
    """Reaches SDK servers over each transport but Streamable HTTP: `stdio`, `stdio1` (SDK 1.x), `sse` and `grpc`."""
    programs = {"stdio": ("sdk2_server", sys.executable), "stdio1": ("sdk1_server", str(real_servers.sdk1_python()))}
    written = [
        {
            "name": name,
            "command": [python, "-m", f"tests.support.servers.{module}", "stdio"],
            "cwd": str(_ROOT),
            "env": {"PYTHONWARNINGS": "ignore"},
        }
        for name, (module, python) in programs.items()
    ]
    file = tmp_path_factory.mktemp("links") / "config.yaml"
    file.write_text(json.dumps({"upstreams": written}))
    with sidecar_process({"far": sdk2_server.url}) as there:
        urls = {"sse": f"sse+{sdk1_sse_server.url}", "grpc": f"grpc://{there.bound['grpc']}/far"}
        with sidecar_process(urls, "-c", str(file)) as here:
            yield here


@pytest.fixture(scope="session")
def behind_stdio(sidecar_of_links: SidecarProcess) -> Behind:
    return Behind(sidecar_of_links.url("stdio"))


@pytest.fixture(scope="session")
def behind_sse(sidecar_of_links: SidecarProcess) -> Behind:
    return Behind(sidecar_of_links.url("sse"))


@pytest.fixture(scope="session")
def behind_grpc(sidecar_of_links: SidecarProcess) -> Behind:
    return Behind(sidecar_of_links.url("grpc"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Add the end of the log of every real server the test used."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, RealServer) and value.log.exists():
                report.sections.append((f"log of {name}", value.log.read_text(errors="replace")[-_SHOWN:]))
    return report
