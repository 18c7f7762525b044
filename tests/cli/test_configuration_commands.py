"""`check`, and what `serve` says before it binds anything."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from mcp_sidecar.cli.serve import flags, parser
from tests.support.terminal import PATIENCE, ended, started, typed

BAD = """\
pool:
  idel: 3s
upstreams:
  - name: Weather!
    url: http://127.0.0.1:1/mcp
"""


@pytest.mark.covers("B-60")
async def test_check_prints_every_problem_with_its_place(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text(BAD)
    shown = await typed("check", "-c", str(file))
    assert (shown.code, shown.out) == (64, "")
    first, second, summary = shown.err.splitlines()
    assert "config.yaml:2: pool.idel: " in first
    assert '"idle"' in first
    assert "config.yaml:4: upstreams[0].name" in second
    assert summary.startswith("2 problems")


async def test_check_of_a_good_file_names_the_upstreams(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text("upstreams: [{name: weather, url: 'http://127.0.0.1:1/mcp'}]")
    shown = await typed("check", "-c", str(file))
    assert (shown.code, shown.out) == (0, "configuration is good; upstreams: weather\n")
    assert (await typed("check", environ={"MCP_SIDECAR_CONFIG": str(file)})).out == shown.out


async def test_check_of_a_file_that_is_not_there_is_exit_code_64():
    shown = await typed("check", "-c", "/nonexistent/config.yaml")
    assert shown.code == 64
    assert "/nonexistent/config.yaml: cannot be read" in shown.err


@pytest.mark.covers("B-60")
async def test_serve_refuses_a_bad_configuration_with_exit_code_64(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text(BAD)
    shown = await typed("serve", "-c", str(file), "--grpc", "nonsense", environ={"MCP_SIDECAR_POOL_IDLE": "3"})
    assert shown.code == 64
    for place in ("config.yaml:2", "config.yaml:4", "flag --grpc", "environment MCP_SIDECAR_POOL_IDLE"):
        assert place in shown.err


def test_the_flags_of_serve_reach_the_configuration():
    options = parser().parse_args(["--upstream", "a=http://h/1", "--upstream", "b=http://h/2", "--log-level", "debug"])
    given = flags(options)
    assert given["upstream"] == ["a=http://h/1", "b=http://h/2"]
    assert given["log_level"] == "debug"
    assert given["grpc"] is None


async def test_a_signal_while_serve_is_still_starting_ends_it_at_once(tmp_path: Path):
    pipe = tmp_path / "config.yaml"
    os.mkfifo(pipe)
    process = await started("serve", "-c", str(pipe))
    writer = await _opened(pipe)
    try:
        # The configuration is being read and does not end: without a handler the exit code would be -SIGTERM.
        # One signal is not enough: Python runs handlers between system calls, and may be about to start the read.
        async with asyncio.timeout(PATIENCE):
            while process.returncode is None:
                process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.02)
        shown = await ended(process)
        assert (shown.code, shown.out, shown.err) == (0, "", "")
    finally:
        os.close(writer)


async def _opened(pipe: Path) -> int:
    """The writing end, once somebody reads."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                await asyncio.sleep(0.005)
