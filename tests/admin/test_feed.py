"""The event stream: live, bounded for whoever does not read, and over when the sidecar leaves."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from mcp_sidecar.admin.door import Deed, Page
from mcp_sidecar.admin.feed import MOST_READERS, Feed
from mcp_sidecar.admin.recent import MOST, Recent
from mcp_sidecar.admin.snapshot import Snapshots
from mcp_sidecar.call import Call
from mcp_sidecar.directory import Directory
from mcp_sidecar.lifecycle import Lifecycle
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound.credentials import Credentials
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.outbound.pool import Pool
from mcp_sidecar.outbound.probe import Prober
from mcp_sidecar.outbound.ways import Ways
from mcp_sidecar.settings import AdminSettings, DrainSettings, PoolSettings, TelemetrySettings
from mcp_sidecar.wire.headers import Headers
from mcp_sidecar.wire.http_server import Head, Reply, Request
from tests.admin.test_recent import line
from tests.admin.visiting import get, page, watching
from tests.inbound.http.posts import message, post
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.otlp import Collector
from tests.support.sidecar import Sidecar

SECONDS = 20.0


async def _next(events, name):
    async for event in events:
        if event.event == name:
            return event.message
    raise AssertionError(f"the stream ended without {name}")


@pytest.mark.covers("B-328")
async def test_a_stream_begins_with_the_state_and_tells_of_each_call_as_it_ends():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, watching(sidecar) as events:
        async with asyncio.timeout(SECONDS):
            assert (await _next(events, "state"))["phase"] == "serving"
            await post(sidecar.url("up"), message())
            news = await _next(events, "calls")
            assert news["missed"] == 0
            (call,) = news["calls"]
            line = sidecar.calls()[0]
            for field in ("method", "server", "name", "code", "execution", "duration_ms", "request_id", "peer"):
                assert call[field] == line[field]
            assert (call["number"], call["protocol_version"]) == (1, "2026-07-28")
            assert call["connection_id"]
            assert 0 < call["waited_ms"] <= call["duration_ms"]
            await post(sidecar.url("up"), message(params={"name": "nothing", "arguments": {}}))
            assert (await _next(events, "calls"))["calls"][0]["name"] == "nothing"


@pytest.mark.covers("B-381")
@pytest.mark.parametrize("sample", [1.0, 0.0], ids=["traced", "not traced"])
async def test_a_call_shows_how_long_each_of_its_requests_took(sample: float):
    async with Collector() as collector, FakeServer() as up:
        traced = TelemetrySettings(otlp_endpoint=collector.grpc, sample=sample)
        async with Sidecar({"up": up.url}, telemetry=traced) as sidecar, watching(sidecar) as events:
            async with asyncio.timeout(SECONDS):
                up.next_reply("closes_before_reply", on="prompts/list")
                await post(sidecar.url("up"), message("prompts/list"))
                (call,) = (await _next(events, "calls"))["calls"]
            first, again = call["legs"]
            assert (first["error"], again["error"]) == ("UPSTREAM_LOST", "")
            for leg in call["legs"]:
                assert (leg["name"], leg["toward"]) == ("prompts/list", up.url.split("/")[2])
                assert leg["duration_ms"] > 0
            assert first["offset_ms"] + first["duration_ms"] <= again["offset_ms"]
            assert again["offset_ms"] + again["duration_ms"] <= call["duration_ms"] + 0.02  # both are rounded


@pytest.mark.covers("B-328")
async def test_looking_at_the_page_is_no_call():
    async with Sidecar({}) as sidecar:
        async with watching(sidecar) as events, asyncio.timeout(SECONDS):
            await _next(events, "state")
            await get(sidecar, "/api/state")
            await get(sidecar, "/")
        assert sidecar.calls() == []


@pytest.mark.covers("B-329")
async def test_a_reader_that_does_not_read_costs_nothing_that_grows_and_disturbs_nobody():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        async with raw_http.opened("GET", page(sidecar, "/api/events")) as stuck:
            assert stuck.status == 200
            for _ in range(3 * MOST):
                assert (await post(sidecar.url("up"), message())).status == 200
            async with watching(sidecar) as events, asyncio.timeout(SECONDS):
                news = await _next(events, "calls")
                assert news["missed"] + len(news["calls"]) == 3 * MOST
                assert len(news["calls"]) == MOST


class Stuck:
    """The connection of a client that takes one write and no other."""

    lost = closing = unhindered = False

    def __init__(self) -> None:
        self.sent = 0
        self.waited_for = asyncio.Event()

    def transmit(self, data: bytes) -> None:
        self.sent += len(data)

    async def writable(self) -> None:
        self.waited_for.set()
        await asyncio.Event().wait()


class OpenDoor:
    """Lets everybody in."""

    async def admit(self, request: Request, reply: Reply, rpc: str) -> Call:
        return Call(rpc=rpc, request_id="r")

    def doing(self, deed: Deed, rpc: str) -> Page:
        raise NotImplementedError


@pytest.mark.covers("B-329")
async def test_nothing_more_is_made_for_a_reader_before_it_has_taken_what_was_sent():
    recent, stuck, lifecycle = Recent(), Stuck(), Lifecycle()
    async with asyncio.TaskGroup() as tasks:
        pool = Pool(PoolSettings(), tasks)
        dialer = Dialer(pool, Prober(tasks), Credentials(), Ways(tasks, Log(lambda _: None)))
        snapshots = Snapshots(AdminSettings(), "0", "p", Directory(), dialer, lifecycle, recent)
        feed = Feed(OpenDoor(), lifecycle, recent, snapshots, pace=0.0)
        request = Request(Head("GET", "/api/events", "", Headers([])), b"", "127.0.0.1:1")
        reading = tasks.create_task(feed(request, Reply(stuck, silent=False, old=False)))
        await stuck.waited_for.wait()
        sent = stuck.sent
        for _ in range(100):
            recent.tell([(Call(rpc="", request_id="r"), 0.0, None, None)], [line()])
            await asyncio.sleep(0)
        assert stuck.sent == sent
        reading.cancel()


@pytest.mark.covers("B-329")
async def test_there_are_so_many_readers_and_no_more():
    async with Sidecar({}) as sidecar, contextlib.AsyncExitStack() as open_ones:
        for _ in range(MOST_READERS):
            await open_ones.enter_async_context(watching(sidecar))
        refused = await get(sidecar, "/api/events")
        assert (refused.status, refused.headers["retry-after"]) == (503, "2")
        await open_ones.aclose()
        async with asyncio.timeout(SECONDS):
            while True:
                async with raw_http.opened("GET", page(sidecar, "/api/events")) as again:
                    if again.status == 200:
                        break


@pytest.mark.covers("B-329")
async def test_who_asks_for_the_head_of_the_stream_is_answered_and_takes_no_place():
    async with Sidecar({}) as sidecar:
        for _ in range(MOST_READERS + 1):
            async with asyncio.timeout(SECONDS), raw_http.opened("HEAD", page(sidecar, "/api/events")) as head:
                assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
                assert "transfer-encoding" not in head.headers


@pytest.mark.covers("B-330")
async def test_a_drain_is_seen_and_ends_the_stream_and_the_stream_holds_up_no_drain():
    drain = DrainSettings(lame_duck=0.6, grace=2.0)
    async with Sidecar({}, drain=drain) as sidecar, watching(sidecar) as events, asyncio.timeout(SECONDS):
        assert (await _next(events, "state"))["phase"] == "serving"
        sidecar.stop()
        seen = [(event.event, event.message) async for event in events]
        phases = [message["phase"] for name, message in seen if name == "state"]
        assert phases[0] == "lame_duck"
        assert seen[-1] == ("end", "draining")
        await sidecar.stopped()


@pytest.mark.covers("B-330")
async def test_nobody_begins_to_read_from_a_sidecar_that_drains():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        await raw_http.request("POST", page(sidecar, "/api/drain"), b"{}")
        assert (await get(sidecar, "/api/events")).status == 503
        assert (await get(sidecar, "/api/state")).messages[0]["phase"] == "draining"
