"""`mcp-sidecar demo` as people type it: a real sidecar in front of the demo server."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys

from mcp_sidecar.demo.acts import ACTS
from tests.support.terminal import PATIENCE, ended, started, typed


async def test_the_demo_plays_every_act_and_ends_well():
    shown = await typed("demo", "--once")
    assert shown.code == 0, shown.out + shown.err
    assert shown.err == ""
    for act in ACTS:
        assert f"{act.title}\n    {act.wire} → {act.sent}" in shown.out
    assert f"{len(ACTS)} calls, all went well" in shown.out
    assert shown.out.count("· progress 3/3  lift-off") == 2
    assert len(re.findall(r"← .* [0-9.]+ ms$", shown.out, re.MULTILINE)) == len(ACTS)


async def test_taken_ports_are_told_and_others_are_used():
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 15080))
            taken.listen()
        except OSError:
            pass  # somebody else holds it, which is as good
        shown = await typed("demo", "--once")
    assert shown.code == 0, shown.out + shown.err
    assert "port 15080 is taken: http listens elsewhere this time" in shown.out


async def test_the_demo_keeps_serving_until_ctrl_c_and_leaves_nothing_behind():
    process = await started("demo")
    assert process.stdout is not None
    told = ""
    async with asyncio.timeout(PATIENCE):
        while "any MCP client:" not in told:
            told += (await process.stdout.readline()).decode()
    address = re.search(r"gRPC (127\.0\.0\.1:\d+)", told)
    assert address is not None
    called = await typed("call", "demo", "add", "a=2", "b=40", "--address", address[1])
    assert (called.code, called.out) == (0, "42\n")
    process.send_signal(signal.SIGINT)
    shown = await ended(process)
    assert (shown.code, shown.err) == (0, "")
    assert (await typed("tools", "--address", address[1])).code == 69


async def test_a_sidecar_that_cannot_start_is_told_with_its_last_words():
    program = (
        "import sys; from mcp_sidecar.demo import show, neighbour; neighbour._LISTENERS['nonsense'] = 1;"
        "sys.exit(show.run(once=True, colour=False, program='x', environ={}))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    shown = await ended(process)
    assert shown.code == 1
    assert "the sidecar did not start (exit code 2)" in shown.out
    assert "unrecognized arguments: --nonsense" in shown.out
