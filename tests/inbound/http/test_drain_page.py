"""`POST /api/drain`: this pod may, nobody else may, and the answer comes when the work is done."""

from __future__ import annotations

import asyncio
import time

import pytest

from mcp_sidecar.drain import Drain, plan
from mcp_sidecar.inbound.http.drain_page import DrainPage
from mcp_sidecar.lifecycle import Lifecycle, Phase
from mcp_sidecar.settings import DrainSettings
from mcp_sidecar.wire.headers import Headers
from mcp_sidecar.wire.http_server import Head, Reply, Request
from tests.inbound.http.posts import Answer, exchanged, message, post, written
from tests.inbound.waiting import eventually
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.sidecar import Sidecar

CALL = message()


def page_of(sidecar: Sidecar) -> str:
    return f"http://{sidecar.address('http')}/api/drain"


async def ready(sidecar: Sidecar) -> int:
    return (await raw_http.request("GET", f"http://{sidecar.address('metrics')}/readyz")).status


@pytest.mark.covers("B-62")
@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"wait_seconds": 5}', b'{"wait_seconds": 1, "more": [1]}', b'{"wait_seconds":1e9}']
)
async def test_an_idle_sidecar_is_drained_at_once(body):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await exchanged(page_of(sidecar), written(page_of(sidecar), body, []))
        assert answer.status == 200
        await eventually(lambda: answer.message["in_flight"] == 0)
        assert await ready(sidecar) == 503
        refused = await post(sidecar.url("up"), CALL)
        assert refused.facts == (503, -31014)
        assert refused.headers["mcp-sidecar-execution"] == "none"
        assert refused.headers["retry-after"] == "1"
        assert up.connections == 0


@pytest.mark.covers("B-62")
async def test_the_answer_comes_when_the_last_call_has_ended():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        held = Modern(sidecar.url("up")).opened(
            "tools/call", {"name": "hold", "arguments": {"gate": "g"}}, progressToken=1
        )
        async with held as stream, asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(raw_http.post(page_of(sidecar), {"wait_seconds": 9}))
            await eventually(lambda: asked.done() or sidecar.lines)
            while await ready(sidecar) != 503:
                pass
            assert not asked.done()
            up.release("g")
            *_, last = [message async for message in stream.messages()]
            assert "result" in last
            assert (await asked).messages == [{"phase": "draining", "in_flight": 0}]
        assert up.cancelled == []


@pytest.mark.covers("B-62")
async def test_who_waits_too_short_learns_how_many_calls_are_left():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        held = Modern(sidecar.url("up")).opened(
            "tools/call", {"name": "hold", "arguments": {"gate": "g"}}, progressToken=1
        )
        async with held:
            for wait in (0.01, 0, -1):
                reply = await raw_http.post(page_of(sidecar), {"wait_seconds": wait})
                assert reply.messages[0]["in_flight"] == 1
            up.release("g")


@pytest.mark.covers("B-382")
async def test_a_drain_is_one_line_of_the_log_that_says_who_asked_and_how_long_it_may_take():
    budget = DrainSettings(lame_duck=0.25, grace=1.5)
    async with FakeServer() as up, Sidecar({"up": up.url}, drain=budget) as sidecar:
        for _ in range(2):
            assert (await raw_http.post(page_of(sidecar), {"wait_seconds": 5})).status == 200
        sidecar.stop()
        await sidecar.stopped()
        (line,) = [line for line in sidecar.lines if line["event"] == "draining"]
        assert (line["by"], line["lame_duck"], line["grace"], line["in_flight"]) == ("hook", 0.25, 1.5, 0)
        assert line["peer"].startswith("127.0.0.1:")
    async with Sidecar({}) as sidecar:
        sidecar.stop()
        await sidecar.stopped()
        (line,) = [line for line in sidecar.lines if line["event"] == "draining"]
        assert line["by"] == "signal" and "peer" not in line


@pytest.mark.covers("B-62")
async def test_asking_twice_and_a_signal_as_well_is_one_drain():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(raw_http.post(page_of(sidecar), {"wait_seconds": 5})) for _ in range(5)]
        for one in asked:
            assert (await one).status == 200
        sidecar.stop()
        began = time.monotonic()
        await sidecar.stopped()
        assert time.monotonic() - began < 1.5


@pytest.mark.covers("B-43")
@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("localhost", [("Origin", "http://evil.example")]),
        ("localhost", [("Origin", "null")]),
        ("localhost", [("Origin", "http://localhost")]),
        ("rebound.example", []),
    ],
)
async def test_a_web_page_cannot_drain(host, headers):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await exchanged(page_of(sidecar), written(page_of(sidecar), b"{}", headers, host=host))
        assert answer.status == 403
        assert await ready(sidecar) == 200


@pytest.mark.covers("B-42", "B-422")
@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_only_a_post_drains(verb):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        reply = await raw_http.request(verb, page_of(sidecar))
        assert (reply.status, reply.headers["allow"]) == (405, "POST")
        assert reply.messages == [{"error": "only POST"}]
        assert await ready(sidecar) == 200


@pytest.mark.covers("B-42")
@pytest.mark.parametrize(
    "body",
    [b"[]", b"5", b"{", b'{"wait_seconds": "5"}', b'{"wait_seconds": null}', b'{"wait_seconds": NaN}', b"\xff",
     b'{"a": ' + b"[" * 100_000, b'{"wait_seconds": 1e999}'],
)  # fmt: skip
async def test_a_wish_nobody_can_read_drains_nothing(body):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await exchanged(page_of(sidecar), written(page_of(sidecar), body, []))
        assert answer.status == 400
        assert await ready(sidecar) == 200
        assert [line for line in sidecar.lines if line["event"] == "fault"] == []


class Paper:
    """Takes what a `Reply` puts on the wire."""

    lost = False
    closing = False
    unhindered = True

    def __init__(self) -> None:
        self.sent = b""

    def transmit(self, data: bytes) -> None:
        self.sent += data

    async def writable(self) -> None:
        """Always."""


LOCAL = ["127.0.0.1:4000", "127.9.9.9:4000", "[::1]:4000", "[::ffff:127.0.0.1]:4000", "unix"]
FOREIGN = ["10.0.0.7:4000", "[fd00::2]:4000", "[::ffff:10.0.0.7]:4000", "0.0.0.0:4000", "[::]:4000", "169.254.1.1:4000"]


@pytest.mark.covers("B-43", "B-62")
@pytest.mark.parametrize("peer", [*LOCAL, *FOREIGN])
async def test_only_processes_of_this_pod_may_drain(peer):
    lifecycle, paper = Lifecycle(), Paper()
    lifecycle.advance(Phase.SERVING)
    async with asyncio.TaskGroup() as tasks:
        page = DrainPage(Drain(lifecycle, plan(DrainSettings(lame_duck=0, grace=0), None), tasks), lifecycle)
        await page(
            Request(Head("POST", "/api/drain", "", Headers([])), b'{"wait_seconds": 5}', peer),
            Reply(paper, silent=False, old=False),
        )
    allowed = peer in LOCAL
    assert paper.sent.startswith(b"HTTP/1.1 200 " if allowed else b"HTTP/1.1 403 ")
    assert lifecycle.ready is not allowed


@pytest.mark.covers("B-62")
async def test_a_client_that_leaves_does_not_stop_the_drain_it_began():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        held = Modern(sidecar.url("up")).opened(
            "tools/call", {"name": "hold", "arguments": {"gate": "g"}}, progressToken=1
        )
        async with held:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03):
                    await raw_http.post(page_of(sidecar), {"wait_seconds": 9})
            assert await ready(sidecar) == 503
            refused: Answer = await post(sidecar.url("up"), CALL)
            assert refused.status == 503
            up.release("g")


@pytest.mark.covers("B-20", "B-22", "B-30", "B-62")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_calls_that_outlast_the_grace_are_told_so_and_cancelled_at_the_server(era):
    brief = DrainSettings(lame_duck=0, grace=0.05)
    async with FakeServer(era) as up, Sidecar({"up": up.url}, drain=brief) as sidecar, asyncio.TaskGroup() as tasks:
        held = {"name": "hold", "arguments": {"gate": "never"}}
        plain = tasks.create_task(post(sidecar.url("up"), message(params=held)))
        async with Modern(sidecar.url("up")).opened("tools/call", held, progressToken=1) as stream:
            await anext(stream.messages())
            await up.until(lambda up: len(up.executions) == 2)
            sidecar.stop()
            last = [one async for one in stream.messages()][-1]
            assert last["error"]["data"]["execution"] == "unknown"
        answer = await plain
        assert answer.facts == (503, -31014)
        assert answer.headers["mcp-sidecar-execution"] == "unknown"
        await sidecar.stopped()
        await up.until(lambda up: len(up.cancelled) == 2)
        assert [line["code"] for line in sidecar.calls()] == ["UNAVAILABLE"] * 2
