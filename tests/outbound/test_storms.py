"""Many callers at once while everything goes wrong: every call ends, none runs twice, nothing is left behind."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from mcp_sidecar.errors import SidecarError
from mcp_sidecar.outbound.link import Link
from tests.inbound.waiting import eventually
from tests.outbound.links import a_call, ask, client_in, link_of
from tests.support.fake_rude import RUDE
from tests.support.fake_server import FakeServer

CALLS = 120
# Quick ways to fail that break no rule for the client: what answers a request nobody asked is counted as its fault.
GUSTS = sorted(
    set(RUDE) - {"oversized", "oversized_event", "endless_body", "endless_sse_line", "request_on_modern_stream"}
)
both_eras = pytest.mark.parametrize("era", ["modern", "legacy"])


async def one(link: Link, number: int, give_up_after: float | None) -> tuple[str, str]:
    """How a call ended, and whether it may have run as far as the link knows."""
    call = a_call()
    try:
        async with asyncio.timeout(give_up_after):
            text = await ask(link, "echo", {"text": str(number)}, call=call, progressToken="same")
    except TimeoutError:
        return "given up", call.execution.value
    except SidecarError as error:
        return "failed", error.execution.value
    except AssertionError:
        return "error", call.execution.value
    assert text in (str(number), "rude")
    return "answered", call.execution.value


@both_eras
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_every_call_ends_and_none_runs_twice(seed: int, era: Any):
    chance = random.Random(seed)
    async with FakeServer(era, answers=chance.choice(["json", "sse"])) as server, link_of(era, server.url) as link:
        running = []
        for number in range(CALLS):
            patience = chance.choice([0.0, 0.001, 0.01, 0.05])
            running.append(asyncio.ensure_future(one(link, number, patience)))
            if chance.random() < 0.2:
                server.next_reply(chance.choice(GUSTS))
            if chance.random() < 0.1:
                server.forget_sessions()
            if chance.random() < 0.1:
                server.close_idle_sockets()
            await asyncio.sleep(chance.choice([0, 0, 0, 0.001]))
        ended = await asyncio.gather(*running)
        runs = Counter(execution.arguments["text"] for execution in server.executions)
        assert max(runs.values(), default=0) <= 1
        for number, (_, execution) in enumerate(ended):
            assert execution != "none" or str(number) not in runs
        server._script.clear()
        assert await ask(link, "echo", {"text": "after"}) == "after"
        await eventually(lambda: client_in(link).busy_sockets == 0)
        assert server.violations == []
        if era == "legacy":
            assert link._session._tokens == {}


@both_eras
async def test_calls_survive_a_server_that_restarts_under_them(era: Any):
    async with FakeServer(era) as server, link_of(era, server.url) as link:
        outcomes: dict[str, tuple[str, str]] = {}
        over = asyncio.Event()

        async def keep_calling(caller: int) -> None:
            for number in range(caller, 1_000_000, 10):
                if over.is_set():
                    return
                outcomes[str(number)] = await one(link, number, 5.0)
                await asyncio.sleep(0.001)

        callers = [asyncio.ensure_future(keep_calling(caller)) for caller in range(5)]
        for _ in range(4):
            enough = len(server.executions) + 20
            await server.until(lambda s, enough=enough: len(s.executions) >= enough)  # type: ignore[misc]
            await server.stop(reset=True)
            await asyncio.sleep(0.005)
            await server.start()
        await server.until(lambda s: [one for one in s.executions[-20:] if one.finished])
        over.set()
        await asyncio.gather(*callers)
        runs = Counter(execution.arguments["text"] for execution in server.executions)
        assert max(runs.values()) == 1
        assert {kind for kind, _ in outcomes.values()} <= {"answered", "failed"}
        for number, (_, execution) in outcomes.items():
            assert (execution != "none") or number not in runs
            assert execution != "done" or number in runs
        assert await ask(link, "echo", {"text": "after"}) == "after"
        assert server.violations == []
