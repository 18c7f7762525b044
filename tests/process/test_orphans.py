"""The programs a sidecar started: none outlives it, however it ends."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.outbound.programs import FAKE, alive, gone
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import SidecarProcess, sidecar_process


def command(*ways: str) -> str:
    return "stdio:" + shlex.join((sys.executable, "-IS", str(FAKE), *ways))


@contextmanager
def serving(*ways: str) -> Iterator[SidecarProcess]:
    with sidecar_process({"up": command(*ways)}, environ={"SECRET": "canary"}) as sidecar:
        yield sidecar


async def call(sidecar: SidecarProcess, tool: str) -> str:
    """The text a tool answers with."""
    reply = await Modern(sidecar.url("up")).request("tools/call", {"name": tool, "arguments": {}})
    text: str = reply.messages[-1]["result"]["content"][0]["text"]
    return text


def guardian_of(sidecar: SidecarProcess) -> int:
    pid = sidecar.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(child) for child in children if b"guardian" in Path(f"/proc/{child}/cmdline").read_bytes())


@pytest.mark.covers("B-117", "B-141")
@pytest.mark.parametrize("ways", [("modern",), ("legacy",), ("modern", "stubborn"), ("legacy", "stubborn")], ids=str)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_no_process_outlives_a_sidecar(number: signal.Signals, ways: tuple[str, ...]):
    with serving(*ways) as sidecar:
        process = json.loads(await call(sidecar, "process"))
        grandchild = int(await call(sidecar, "fork"))
        pids = (process["pid"], grandchild, int(await call(sidecar, "daemon")), guardian_of(sidecar))
        assert all(map(alive, pids))
        assert "SECRET" not in process["env"] and "PATH" in process["env"]
        sidecar.signal(number)
        await sidecar.ended()
        await gone(*pids)


@pytest.mark.covers("B-117")
async def test_a_second_signal_leaves_no_process_either():
    with serving("legacy", "stubborn") as sidecar:
        pids = (json.loads(await call(sidecar, "process"))["pid"], int(await call(sidecar, "fork")))
        for _ in range(2):
            sidecar.signal(signal.SIGTERM)
            await asyncio.sleep(0.01)
        await sidecar.ended()
        await gone(*pids)


async def test_a_terminals_interrupt_reaches_the_sidecar_and_not_its_children():
    with serving("modern") as sidecar:
        pid = json.loads(await call(sidecar, "process"))["pid"]
        assert os.getpgid(pid) == pid != os.getpgid(guardian_of(sidecar)) != os.getpgid(sidecar.process.pid)


async def test_what_a_sidecar_exec_s_is_named_in_its_log_without_its_arguments():
    with serving("modern", "canary") as sidecar:
        await call(sidecar, "process")
        assert "canary" not in sidecar.out.read_text() + sidecar.err.read_text()
