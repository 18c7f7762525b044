"""Many 2025-era clients that do everything at once, badly: everybody gets what is theirs, and nothing stays behind."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mcp_sidecar.settings import HttpSettings
from tests.inbound.waiting import eventually
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_http import Exchange
from tests.support.raw_mcp import Legacy
from tests.support.sidecar import Sidecar

CLIENTS, STEPS = 25, 12


class Restless:
    """One client, which notes the ids of the requests it has sent and read an answer to."""

    _numbers = itertools.count()

    def __init__(self, url: str, draw: random.Random) -> None:
        self.client = Legacy(url, {"elicitation": {}}, draw.choice(["2025-11-25", "2025-06-18", "2025-03-26"]))
        self.draw = draw
        self.sent: list[str] = []

    async def run(self) -> None:
        await self.client.initialize()
        steps: list[Callable[[], Any]] = [self.echo, self.progress, self.ask, self.leave, self.cancel, self.listen]
        for _ in range(STEPS):
            await self.draw.choice([*steps, self.subscribe, self.begin_anew])()
        await self.client.close()

    def _headers(self) -> dict[str, str]:
        self.sent.append(f"r{next(self._numbers)}")
        return {**self.client.headers, "X-Request-Id": self.sent[-1]}

    async def post(self, method: str, params: Any, **meta: Any) -> raw_http.Reply:
        body = self.client.compose(method, params, **meta)
        return await raw_http.request("POST", self.client.url, body, self._headers())

    async def echo(self) -> None:
        text = f"text {self.draw.random()}"
        reply = await self.post("tools/call", {"name": "echo", "arguments": {"text": text}})
        assert reply.messages[-1]["result"]["content"][0]["text"] == text

    async def progress(self) -> None:
        steps = self.draw.randrange(1, 30)
        reply = await self.post("tools/call", {"name": "progress", "arguments": {"steps": steps}}, progressToken="p")
        told = [one for one in reply.messages if "method" in one]
        assert [one["params"]["progress"] for one in told] == list(range(1, steps + 1))
        assert reply.messages[-1]["result"]["content"][0]["text"] == f"{steps} steps"

    async def ask(self) -> None:
        name = f"name {self.draw.random()}"
        body = self.client.compose("tools/call", {"name": "ask_elicitation", "arguments": {}})
        async with raw_http.opened("POST", self.client.url, body, self._headers()) as stream:
            await self._answer(stream, name)

    async def _answer(self, stream: Exchange, name: str) -> None:
        messages = stream.messages()
        question = await anext(messages)
        await self.client.answer(question["id"], {"action": "accept", "content": {"name": name}})
        assert (await anext(messages))["result"]["content"][0]["text"] == f"accept: {name}"

    async def leave(self) -> None:
        """Lose the connection in the middle, then fetch the rest."""
        text = f"text {self.draw.random()}"
        arguments = {"seconds": 0.02, "text": text}
        body = self.client.compose("tools/call", {"name": "slow", "arguments": arguments}, progressToken="p")
        if self.client.version != "2025-11-25":
            body = self.client.compose("tools/call", {"name": "progress", "arguments": {"steps": 9}}, progressToken="p")
            text = "9 steps"
        async with raw_http.opened("POST", self.client.url, body, self._headers()) as stream:
            if "text/event-stream" not in stream.headers["content-type"]:
                return
            event = await anext(stream.events())
        async with self.client.listening(event.id) as rest:
            *_, last = [one async for one in rest.messages()]
            assert last["result"]["content"][0]["text"] == text

    async def cancel(self) -> None:
        body = self.client.compose("tools/call", {"name": "hold", "arguments": {"gate": "never"}}, progressToken="p")
        async with raw_http.opened("POST", self.client.url, body, self._headers()) as stream:
            await anext(stream.events())
            request_id = json.loads(body)["id"]
            await self.client.notify("notifications/cancelled", {"requestId": request_id})
            assert not [one async for one in stream.messages() if "result" in one]

    async def listen(self) -> None:
        async with self.client.listening() as stream:
            assert stream.status in {200, 409}
            await asyncio.sleep(self.draw.random() / 50)

    async def subscribe(self) -> None:
        method = self.draw.choice(["resources/subscribe", "resources/unsubscribe"])
        reply = await self.post(method, {"uri": f"fake://{self.draw.randrange(3)}"})
        assert reply.messages[-1]["result"] == {}

    async def begin_anew(self) -> None:
        if self.draw.random() < 0.5:
            await self.client.close()
        self.client.session = ""
        await self.client.initialize()


@pytest.mark.covers("B-14", "B-30", "B-81", "B-82", "B-84", "B-85")
@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_storm_of_clients_leaves_nobody_with_anothers_and_nothing_behind(era, seed):
    draw = random.Random(seed)
    http = HttpSettings(session_idle=3.0)
    async with asyncio.timeout(50), FakeServer(era) as up, Sidecar({"up": up.url}, http=http) as sidecar:
        crowd = [Restless(sidecar.url("up"), random.Random(draw.random())) for _ in range(CLIENTS)]
        async with asyncio.TaskGroup() as tasks:
            for one in crowd:
                tasks.create_task(one.run())
        sent = {request_id for one in crowd for request_id in one.sent}
        await eventually(lambda: sent <= {line["request_id"] for line in sidecar.calls()})
        lines = Counter(line["request_id"] for line in sidecar.calls())
        assert {request_id: lines[request_id] for request_id in sent if lines[request_id] != 1} == {}
        assert not [line for line in sidecar.calls() if line["code"] not in ("OK", "CANCELLED")]
        assert not [line for line in sidecar.lines if line["event"] == "fault"]
        await up.until(lambda up: up.streams == 0, 20)
        assert up.violations == []
