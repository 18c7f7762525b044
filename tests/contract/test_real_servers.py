"""Real servers are installed once and whole, start, and end with whoever started them."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import real_servers
from tests.support.real_servers import ServerFailed

SECONDS = 20.0
_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MCP_SIDECAR_TEST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _count_one(place: Path) -> None:
    place.mkdir()
    with (place.parent / "installed").open("a") as log:
        log.write("x")


def test_two_processes_that_install_at_once_install_once(empty_cache: Path) -> None:
    script = "from tests.contract import test_real_servers as t; t.real_servers.installed('thing', t._count_one)"
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=_ROOT) for _ in range(2)]
    assert [process.wait(SECONDS) for process in processes] == [0, 0]
    assert (empty_cache / "installed").read_text() == "x"


def test_what_an_installer_left_half_done_is_done_again(empty_cache: Path) -> None:
    def fail_half_way(place: Path) -> None:
        (place / "half").mkdir(parents=True)
        raise ServerFailed("no network")

    with pytest.raises(ServerFailed):
        real_servers.installed("thing", fail_half_way)
    assert not (empty_cache / "thing").exists()
    assert list(real_servers.installed("thing", _count_one).iterdir()) == []


def test_a_failed_installer_is_quoted() -> None:
    with pytest.raises(ServerFailed, match="gone wrong"):
        real_servers.run_installer([sys.executable, "-c", "print('gone wrong'); raise SystemExit(1)"])


def test_a_server_that_does_not_start_is_quoted_and_leaves_nothing() -> None:
    command = [sys.executable, "-c", "print('cannot start')"]
    with pytest.raises(ServerFailed, match="cannot start"), real_servers.running("broken", lambda _: command):
        pytest.fail("it runs")


def test_a_server_ends_with_its_block() -> None:
    with real_servers.sdk2() as server:
        assert _listens(server.port)
    assert server.process.returncode == -signal.SIGKILL
    assert not _listens(server.port)


def test_a_server_dies_with_a_parent_that_was_killed() -> None:
    script = """
import signal, sys
from tests.support import real_servers
program = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"
idle = [sys.executable, "-c", program]
with real_servers.running("idle", lambda port: [*idle, str(port)]) as server:
    print(server.process.pid, flush=True)
    signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=_ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            assert not select.select([child], [], [], 0)[0]
            parent.kill()
            ended, _, _ = select.select([child], [], [], SECONDS)
            assert ended
        finally:
            os.close(child)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
