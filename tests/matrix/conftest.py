"""Starts each server of the matrix and a sidecar in front of it, once for all clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.matrix.pairs import SERVERS, environment, place_of
from tests.support.servers.sdk_tools import RECORD
from tests.support.sidecar_process import SidecarProcess, sidecar_process


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write", action="store_true", help="write the table of the matrix in docs/protocol.md")


@pytest.fixture(scope="session")
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the server of the test's own parameter is, without a sidecar."""
    with place_of(SERVERS[request.param]) as found:
        yield found


@pytest.fixture(scope="session")
def sidecar(place: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SidecarProcess]:
    """A sidecar whose only upstream, called `server`, is the one in that place."""
    if not place.startswith("["):
        with sidecar_process({"server": place}) as serving:
            yield serving
        return
    folder: Path = tmp_path_factory.mktemp("matrix")
    file, record = folder / "sidecar.yaml", folder / "given-up"
    record.touch()
    # A call that can be asked has a process alone (B-140): who asks what was given up may ask another one.
    env = {"PYTHONPATH": environment()["PYTHONPATH"], RECORD: str(record)}
    upstream = {"name": "server", "command": json.loads(place), "env": env}
    file.write_text(json.dumps({"upstreams": [upstream]}))
    with sidecar_process({}, "--config", str(file)) as serving:
        yield serving
