"""What a session says by itself: one stream for all who listen, and an end that everybody hears of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mcp_sidecar.errors import SendQueueFull, SidecarError, UpstreamLost
from mcp_sidecar.outbound import hearing
from mcp_sidecar.outbound.hearing import Hearing, NoStream
from mcp_sidecar.outbound.link import LegacyLink
from mcp_sidecar.protocol.jsonrpc import Request
from tests.inbound.waiting import eventually
from tests.outbound.links import Heard, a_call, ask, family, legacy, tool
from tests.support.fake_server import FakeServer

CHANGED = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"
GREETING = "fake://greeting"


class Ear(Heard):
    """A listener in a task of its own."""

    def __init__(self, link: LegacyLink, tasks: asyncio.TaskGroup) -> None:
        super().__init__(self._tell)
        self._told = asyncio.Event()
        self.task = tasks.create_task(self._listen(link), name="ear")

    def _tell(self) -> None:
        self._told.set()

    async def _listen(self, link: LegacyLink) -> SidecarError | None:
        try:
            await link.listen(self, nothing)
        except SidecarError as error:
            return error
        return None

    async def until(self, count: int) -> None:
        while len(self.messages) < count:
            self._told.clear()
            await self._told.wait()

    async def ended(self) -> SidecarError:
        error = await self.task
        assert error is not None
        return error


@asynccontextmanager
async def listening(ears: int, **ways: bool) -> AsyncIterator[tuple[FakeServer, LegacyLink, list[Ear]]]:
    """So many listeners of one session, all being heard."""
    async with FakeServer("legacy", **ways) as server, legacy(server.url) as link, family() as tasks:  # type: ignore[arg-type]
        made = [Ear(link, tasks) for _ in range(ears)]
        await server.until(lambda s: s.count("") == 1 and s.streams == (1 if ways.get("get_stream", True) else 0))
        yield server, link, made
        for ear in made:
            ear.task.cancel()


async def test_listeners_share_one_stream_and_all_hear_everything():
    async with listening(3) as (server, _, ears):
        assert server.push(CHANGED) == 1
        for ear in ears:
            await ear.until(1)
        assert [[message["method"] for message in ear.messages] for ear in ears] == [[CHANGED]] * 3
        assert server.count("") == 1 == server.streams
        assert server.violations == []


async def test_the_stream_ends_with_its_last_listener_and_comes_back_with_the_next():
    async with listening(2) as (server, link, ears):
        ears[0].task.cancel()
        await asyncio.wait({ears[0].task})
        assert server.streams == 1
        ears[1].task.cancel()
        await server.until(lambda s: s.streams == 0)
        async with family() as tasks:
            ear = Ear(link, tasks)
            await server.until(lambda s: s.streams == 1)
            server.push(CHANGED)
            await ear.until(1)
            ear.task.cancel()


async def test_what_belongs_to_no_call_reaches_listeners_from_any_stream():
    async with listening(1) as (server, link, ears):
        server.next_reply("unasked_notifications")
        sink = Heard()
        await link.exchange(tool(link, "echo", {"text": "hi"}), a_call(), sink)
        await ears[0].until(1)
        assert [message["method"] for message in ears[0].messages] == ["notifications/com.example/odd"]
        assert sink.messages == []


async def test_a_server_without_a_stream_is_listened_to_all_the_same():
    async with listening(1, get_stream=False) as (server, link, ears):
        server.next_reply("unasked_notifications")
        await ask(link, "echo", {"text": "hi"})
        await ears[0].until(1)
        assert not ears[0].task.done()


async def test_a_ping_on_the_stream_is_answered_and_other_requests_refused():
    async with listening(1) as (server, _, _ears):
        assert await server.ask("ping") == {}
        with pytest.raises(Exception, match="not supported"):
            await server.ask("roots/list")
        assert server.violations == []


async def test_a_lost_stream_ends_every_listener():
    async with listening(3) as (server, _, ears):
        await server.stop()
        for ear in ears:
            assert isinstance(await ear.ended(), UpstreamLost)


@pytest.mark.parametrize("rudeness", ["status_500", "status_401", "reset", "html200", "404_once"])
async def test_a_refused_stream_ends_its_listeners(rudeness: str):
    async with FakeServer("legacy", script={"GET": rudeness}) as server, legacy(server.url) as link, family() as tasks:
        assert isinstance(await Ear(link, tasks).ended(), UpstreamLost)


async def test_a_stream_the_server_ended_politely_is_opened_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hearing, "_REOPEN_SECONDS", 0.01)
    async with listening(1) as (server, _, ears):
        (session,) = server.sessions.values()
        session.standalone.detach()
        await server.until(lambda s: s.count("") == 2 and s.streams == 1)
        server.push(CHANGED)
        await ears[0].until(1)


async def test_a_server_that_has_not_noticed_the_end_of_the_last_stream_is_asked_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hearing, "_REOPEN_SECONDS", 0.01)
    async with FakeServer("legacy") as server, legacy(server.url) as link, family() as tasks:
        await link.open()
        (session,) = server.sessions.values()
        session.standalone.carrier = next(iter(server._wires))  # it believes that a stream is open: 409
        ear = Ear(link, tasks)
        await server.until(lambda s: s.count("") == 2)
        session.standalone.carrier = None
        await server.until(lambda s: s.streams == 1)
        server.push(CHANGED)
        await ear.until(1)
        ear.task.cancel()


@pytest.mark.parametrize("get_stream", [True, False])
async def test_a_session_begun_anew_ends_its_listeners_because_it_knows_no_subscriptions(get_stream: bool):
    async with listening(2, get_stream=get_stream) as (server, link, ears):
        await link.subscribe(b'"fake://greeting"', a_call())
        server.forget_sessions()
        await ask(link, "echo", {"text": "hi"})
        for ear in ears:
            assert isinstance(await ear.ended(), UpstreamLost)


@pytest.mark.parametrize("get_stream", [True, False])
async def test_closing_the_link_ends_its_listeners(get_stream: bool):
    async with listening(2, get_stream=get_stream) as (_, link, ears):
        await link.close()
        for ear in ears:
            assert isinstance(await ear.ended(), UpstreamLost)


async def test_a_resource_is_subscribed_to_once_for_all_and_let_go_by_the_last():
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        uri = b'"fake://greeting"'
        for _ in range(3):
            await link.subscribe(uri, a_call())
        (session,) = server.sessions.values()
        assert server.count("resources/subscribe") == 1
        link.unsubscribe(uri)
        link.unsubscribe(uri)
        assert session.subscriptions == {GREETING}
        link.unsubscribe(uri)
        await eventually(lambda: not session.subscriptions)
        link.unsubscribe(uri)  # one too many does nothing
        assert server.count("resources/unsubscribe") == 1
        assert server.violations == []


async def nothing() -> None:
    """What is to be done when the stream is open."""


class Said:
    """A source that says what the test wants."""

    def __init__(self, messages: int = 0, end: SidecarError | None = None) -> None:
        self.deliver: Callable[[Request], None] = lambda _: None
        self.messages = messages
        self.end = end
        self.heard = 0

    async def hear(self, opened: Callable[[], None]) -> None:
        self.heard += 1
        opened()
        for number in range(self.messages):
            self.deliver(Request(CHANGED, params={"n": b"%d" % number}))
        if self.end is not None:
            raise self.end
        await asyncio.Event().wait()


async def test_a_slow_listener_is_dropped_and_a_quick_one_is_not():
    class Slow(Heard):
        async def notify(self, method: str, message: bytes) -> None:
            await super().notify(method, message)
            await asyncio.Event().wait()

    async with family() as tasks:
        heard, quick, slow = Hearing(Said(), tasks), Heard(), Slow()
        running = [tasks.create_task(heard.listen(sink, nothing)) for sink in (quick, slow)]
        for number in range(300):
            await asyncio.sleep(0)
            heard.deliver(Request(CHANGED, params={"n": b"%d" % number}))
        while len(quick.messages) < 300:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert len(slow.messages) == 1
        queue = next(iter(one for one in heard._listeners if one._queue.qsize())).__dict__["_queue"]
        assert queue.qsize() == hearing._BACKLOG + 1  # no more is kept for it
        for one in running:
            one.cancel()


async def test_a_listener_that_fell_behind_learns_of_it_after_what_it_had_missed_nothing_of():
    async with family() as tasks:
        source, sink = Said(messages=250), Heard()
        heard = Hearing(source, tasks)
        source.deliver = heard.deliver
        with pytest.raises(SendQueueFull):
            await heard.listen(sink, nothing)
        assert [params["n"] for params in sink.of(CHANGED)] == list(range(hearing._BACKLOG))


async def test_without_a_stream_listeners_stay_and_the_source_is_not_asked_again():
    async with family() as tasks:
        source = Said(end=NoStream("none"))
        heard, sink = Hearing(source, tasks), Heard()
        running = tasks.create_task(heard.listen(sink, nothing))
        for _ in range(5):
            await asyncio.sleep(0)
        heard.deliver(Request(CHANGED))
        while not sink.messages:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert source.heard == 1
        running.cancel()


async def test_a_listener_that_comes_while_the_others_are_told_of_the_end_starts_afresh():
    async with family() as tasks:
        source = Said()
        heard, late = Hearing(source, tasks), Heard()
        first = asyncio.gather(heard.listen(Heard(), nothing), return_exceptions=True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        heard.lose()
        second = tasks.create_task(heard.listen(late, nothing))
        (outcome,) = await first
        assert isinstance(outcome, UpstreamLost)
        heard.deliver(Request(CHANGED))
        while not late.messages:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert source.heard == 2
        second.cancel()


async def test_a_listener_is_told_that_it_began_when_the_stream_is_open_and_not_before():
    class Late(Said):
        async def hear(self, opened: Callable[[], None]) -> None:
            await gate.wait()
            await super().hear(opened)

    gate, began = asyncio.Event(), asyncio.Event()

    async def begin() -> None:
        began.set()

    async with family() as tasks:
        running = tasks.create_task(Hearing(Late(), tasks).listen(Heard(), begin))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not began.is_set()
        gate.set()
        async with asyncio.timeout(1):
            await began.wait()
        running.cancel()


async def test_a_listener_whose_stream_cannot_be_had_is_never_told_that_it_began():
    async def begin() -> None:
        raise AssertionError("it never began")

    class Refused(Said):
        async def hear(self, opened: Callable[[], None]) -> None:
            raise UpstreamLost("no")

    async with family() as tasks:
        with pytest.raises(UpstreamLost):
            await Hearing(Refused(), tasks).listen(Heard(), begin)
