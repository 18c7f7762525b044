"""The processes of servers: what they are given, what becomes of what they say, and that all of them end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from mcp_sidecar.errors import Execution, UpstreamLost, UpstreamUnavailable
from mcp_sidecar.outbound import launcher
from mcp_sidecar.outbound.launcher import Launcher
from tests.inbound.waiting import eventually
from tests.outbound.links import a_call, ask
from tests.outbound.programs import BOTH_ERAS, alive, fake, gone, linked, programs

both_eras = pytest.mark.parametrize("era", BOTH_ERAS)


async def process(link: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await ask(link, "process"))
    return found


@pytest.mark.covers("B-115")
async def test_a_program_gets_the_environment_it_was_given_and_no_other(tmp_path: Path):
    env = {"PATH": os.environ["PATH"], "ROOT": "/data", "EMPTY": ""}
    async with linked(fake("modern", env=env, cwd=str(tmp_path))) as (_, link):
        found = await process(link)
        assert found["cwd"] == str(tmp_path)
        added = {"LC_CTYPE", "STARTED_BY_MCP_SIDECAR"}  # the first by Python
        assert {name: value for name, value in found["env"].items() if name not in added} == env


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (("no-such-program-anywhere",), {}),
        (("/",), {}),
        ((str(Path(__file__)),), {}),
        ((sys.executable,), {"cwd": "/no/such/directory"}),
        (("a\0b",), {}),
    ],
)
async def test_a_program_that_cannot_be_started_is_unavailable_and_nothing_ran(command: Any, more: Any):
    async with programs(fake("modern", command=command, **more)) as its:
        with pytest.raises(UpstreamUnavailable, match="cannot be started") as caught:
            await its.verdict()
        assert caught.value.execution is Execution.NONE
        assert command[0] not in caught.value.message or command == ("/",)


@pytest.mark.covers("B-116")
async def test_stderr_is_logged_line_by_line_and_long_lines_are_cut():
    async with linked(fake("modern")) as (its, link):
        await ask(link, "complain", {"lines": 3, "width": 5000})
        await eventually(lambda: len(its.said("stderr")) == 3)
        assert [text[:2] for text in its.said("stderr")] == ["0 ", "1 ", "2 "]
        assert {len(text) for text in its.said("stderr")} == {2048}
        assert {line["server"] for line in its.lines if line["event"] == "stderr"} == {"up"}


@pytest.mark.covers("B-116")
async def test_a_flood_on_stderr_is_counted_and_harms_no_call():
    async with linked(fake("modern")) as (its, link):
        assert await ask(link, "complain", {"lines": 20_000, "width": 100}) == "complained"
        assert await ask(link, "echo", {"text": "hi"}) == "hi"
    assert len(its.said("stderr")) < 2000
    dropped = sum(line.get("dropped", 0) for line in its.lines if line["event"] == "stderr")
    assert dropped + len(its.said("stderr")) == 20_000


@both_eras
async def test_a_process_ends_by_itself_when_its_stdin_is_closed(era: str):
    async with linked(fake(era)) as (its, link):
        pid = (await process(link))["pid"]
        await link.close()
        assert not alive(pid)
        assert its.ways._launchers[its.upstream.endpoints[0]]._failures == 0  # type: ignore[index]


@pytest.mark.covers("B-117")
async def test_a_process_that_will_not_go_is_killed_with_all_it_started():
    async with linked(fake("legacy", "stubborn")) as (_, link):
        pid = (await process(link))["pid"]
        grandchild = int(await ask(link, "fork"))
        async with asyncio.timeout(3):
            await link.close()
        await gone(pid, grandchild)


@pytest.mark.covers("B-117")
async def test_what_a_process_leaves_behind_goes_with_it():
    async with linked(fake("modern")) as (_, link):
        grandchild = int(await ask(link, "fork"))
        with pytest.raises(UpstreamLost, match="ended"):
            await ask(link, "die")
        await gone(grandchild)


@pytest.mark.covers("B-141")
@pytest.mark.parametrize("way", ["closed", "died"])
async def test_a_daemon_that_left_the_group_of_its_program_goes_with_it(way: str):
    async with linked(fake("modern")) as (its, link):
        other = its.link(await its.verdict())
        await other.open()
        pid, daemon, others = (
            (await process(link))["pid"],
            int(await ask(link, "daemon")),
            int(await ask(other, "daemon")),
        )
        assert os.getpgid(daemon) != pid and alive(daemon)
        if way == "closed":
            await link.close()
        else:
            with pytest.raises(UpstreamLost):
                await ask(link, "die")
        await gone(daemon)
        assert alive(others)
        await other.close()
        await gone(others)


async def test_a_process_that_does_not_read_holds_up_its_callers_and_no_memory():
    async with linked(fake("modern")) as (_, link), asyncio.TaskGroup() as tasks:
        assert await ask(link, "stop_reading") == "deaf"
        calls = [a_call() for _ in range(8)]
        big = {"text": "x" * 2_000_000}
        running = [tasks.create_task(ask(link, "echo", big, call=call)) for call in calls]
        await asyncio.sleep(0.2)
        stdin = link._stream._wire._process.stdin
        assert stdin.transport.get_write_buffer_size() < 2_100_000
        assert [call.execution for call in calls].count(Execution.UNKNOWN) == 1
        for task in running:
            task.cancel()


@both_eras
async def test_a_daemon_that_keeps_the_pipes_of_its_parent_does_not_hide_the_parents_end(era: str):
    async with linked(fake(era)) as (_, link):
        daemon = int(await ask(link, "leave"))
        with pytest.raises(UpstreamLost):
            await ask(link, "die")
        assert await ask(link, "echo", {"text": "another process"}) == "another process"
        await gone(daemon)


@pytest.mark.covers("B-118")
async def test_a_program_that_keeps_ending_is_started_ever_more_slowly():
    async with programs(fake("modern", "dies")) as its:
        starting: Launcher = its.ways._launcher(its.upstream.endpoints[0])  # type: ignore[arg-type]
        starting._backoff = type(starting._backoff)(first=0.05, longest=60.0, factor=100.0, draw=lambda *_: 1.0)
        for failures in (1, 2):
            child = await starting.start()
            await eventually(lambda: starting._failures == failures)  # noqa: B023
            await child.close()
        with pytest.raises(UpstreamUnavailable, match="2 times in a row") as caught:
            await starting.start()
        assert 1 < (caught.value.retry_after or 0) <= 5.0
        assert caught.value.execution is Execution.NONE
        assert its.said("stderr") == ["it dies"] * 2


async def test_a_process_that_ran_long_enough_was_no_failed_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launcher, "_STEADY_SECONDS", 0.0)
    async with programs(fake("modern", "dies")) as its:
        starting: Launcher = its.ways._launcher(its.upstream.endpoints[0])  # type: ignore[arg-type]
        starting._backoff = type(starting._backoff)(first=0.0)
        for _ in range(3):
            child = await starting.start()
            await eventually(lambda: not child.running)  # noqa: B023
            await child.close()
        assert starting._failures == 1


async def test_a_process_that_nobody_comes_for_is_ended_after_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launcher, "_SPARE_SECONDS", 0.01)
    async with programs(fake("modern")) as its:
        await its.verdict()
        (starting,) = its.ways._launchers.values()
        await eventually(lambda: starting._spare is None)


async def test_a_process_kept_for_a_link_that_ended_meanwhile_is_not_given_to_it():
    async with programs(fake("modern")) as its:
        await its.verdict()
        (starting,) = its.ways._launchers.values()
        spare = starting._spare
        assert spare is not None
        os.kill(spare._group, signal.SIGKILL)
        await eventually(lambda: not spare.running)
        link = its.link(await its.verdict())
        await link.open()
        assert (await process(link))["pid"] != spare._group
        await link.close()


async def test_a_guardian_that_was_killed_is_replaced_and_told_of_all_children():
    async with linked(fake("modern")) as (its, link):
        guardian = its.ways._guardian
        first = guardian._exit
        assert first is not None
        os.kill(_guardian_pid(), signal.SIGKILL)
        await asyncio.wait({first.gone})
        other = its.link(await its.verdict())
        await other.open()
        pids = {(await process(one))["pid"] for one in (link, other)}
        assert set(guardian._watched) == pids
        await other.close()


def _guardian_pid() -> int:
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            if b"guardian_program" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
    raise AssertionError("no guardian")
