"""Everything at once: rude answers, restarts, forgotten sessions, closed sockets, callers that go away.

What a call says of itself is compared with what the server did: done ran once, none never ran, unknown at most once.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from mcp_sidecar.call import Call, Deadline
from mcp_sidecar.errors import Execution, SidecarError
from mcp_sidecar.protocol.jsonrpc import Response
from tests.engine.engines import ERAS, Bench, Heard, bench, tool
from tests.support.fake_server import FakeServer

CALLS = 150
RUDE = (
    *("closes_before_reply", "closes_mid_sse", "reset", "reset_mid_sse", "truncated_body", "truncated_json", "html200"),
    *("wrong_id", "status_500", "status_503", "status_401", "garbage", "ends_without_final", "never_answers"),
)


async def one_call(over: Bench, chance: random.Random, number: int) -> tuple[int, Call]:
    """A call with a number of its own; cancelled, late or left alone."""
    call = Call("/test/Run", f"rid-{number}", deadline=Deadline.after(chance.choice((0.02, 0.1, 1.0))))
    asked = tool("progress", {"progressToken": "same"}, id="same", steps=chance.randrange(3), number=number)

    async def run() -> Response:  # on a busy machine the deadline may have passed already, which `run` says at once
        return await over.engine.run(call, asked, "", Heard())

    running = asyncio.create_task(run())
    if chance.random() < 0.2:
        await asyncio.sleep(chance.random() * 0.02)
        running.cancel()
    try:
        answer = await running
    except SidecarError as failure:
        call.execution = failure.execution  # what the caller is told
    except asyncio.CancelledError:
        pass  # and the log says what the call says
    else:
        assert answer.id == b'"same"'
        assert call.execution is Execution.DONE
    return number, call


async def weather(up: FakeServer, chance: random.Random, over: asyncio.Event) -> None:
    while not over.is_set():
        await asyncio.sleep(chance.random() * 0.02)
        match chance.randrange(10):
            case 0:
                await up.stop(reset=chance.random() < 0.5)
                await asyncio.sleep(chance.random() * 0.02)
                await up.start()
            case 1:
                up.forget_sessions()
            case 2 | 3:
                up.close_idle_sockets()
            case _:
                up.next_reply(chance.choice(RUDE), on="progress")


@pytest.mark.covers("B-14", "B-20", "B-22", "B-23")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_what_every_call_says_of_itself_is_what_happened(era: Any, seed: int):
    chance = random.Random(seed)
    async with FakeServer(era, chance.choice(["json", "sse"])) as up, bench({"up": up.url}, attempts=3) as over:
        calm = asyncio.Event()
        storm = asyncio.create_task(weather(up, chance, calm))
        told: list[tuple[int, Call]] = []
        for first in range(0, CALLS, 15):
            told += await asyncio.gather(*(one_call(over, chance, number) for number in range(first, first + 15)))
        calm.set()
        await storm
        ran = Counter(run.arguments["number"] for run in up.executions)
        wrong = [
            (number, call.execution, ran[number])
            for number, call in told
            if ran[number]
            not in {Execution.DONE: (1,), Execution.NONE: (0,), Execution.UNKNOWN: (0, 1)}[call.execution]
        ]
        assert wrong == []
        assert any(call.execution is Execution.DONE for _, call in told), "some get through the worst weather"
        assert over.lifecycle.in_flight == 0
        assert all(one.in_flight == 0 for one in over.dialer.pool.connections())
        assert not over.engine._alarm.limits
        assert len(told) == CALLS
