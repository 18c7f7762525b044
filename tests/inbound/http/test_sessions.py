"""The table of sessions and what is kept of their streams, fed random steps: bounds hold and nobody's is lost."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mcp_sidecar.call import Client
from mcp_sidecar.errors import InvalidCall, Overloaded, UnknownSession
from mcp_sidecar.inbound.http.sessions import Bond, HttpSession, Sessions
from mcp_sidecar.inbound.http.streams import MOST_BYTES, MOST_EVENTS, EventLog, Room, Stream
from mcp_sidecar.protocol.jsonrpc import Response

ROOM = 2 * MOST_BYTES
IDLE = 100.0
MOST = 4
BONDS = [Bond("ann", "up"), Bond("bob", "up"), Bond("ann", "other")]


def session(bond: Bond = BONDS[0], room: Room | None = None) -> HttpSession:
    return HttpSession(Client("c", "2025-06-18"), bond, (), room or Room())


def at_once(work: Coroutine[Any, Any, None]) -> None:
    """Run what has nothing to wait for: no connection carries these streams."""
    with pytest.raises(StopIteration):
        work.send(None)


@pytest.mark.covers("B-83")
class Table(RuleBasedStateMachine):
    """Sessions opened, used, made busy, forgotten and left alone, next to a list that does it the plain way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.table = Sessions(MOST, IDLE)
        self.alive: list[HttpSession] = []  # the one used longest ago first
        self.gone: list[HttpSession] = []

    def _over(self, one: HttpSession) -> bool:
        return not one.calls and self.now - one.used >= IDLE

    @rule(bond=st.sampled_from(BONDS))
    def open(self, bond: Bond) -> None:
        entered = session(bond)
        idle = [one for one in self.alive if not one.calls]
        if len(self.alive) >= MOST and not idle:
            with pytest.raises(Overloaded) as refused:
                self.table.open(entered, self.now)
            assert refused.value.retry_after
            return
        loser = self.table.open(entered, self.now)
        assert loser is (idle[0] if len(self.alive) >= MOST else None)
        if loser is not None:
            self.alive.remove(loser)
            self.gone.append(loser)
        self.alive.append(entered)

    @precondition(lambda self: self.alive or self.gone)
    @rule(data=st.data(), bond=st.sampled_from(BONDS))
    def find(self, data: st.DataObject, bond: Bond) -> None:
        one = data.draw(st.sampled_from(self.alive + self.gone))
        if one in self.gone or one.bond != bond or self._over(one):
            with pytest.raises(UnknownSession):
                self.table.find(one.id, bond, self.now)
            return
        assert self.table.find(one.id, bond, self.now) is one
        self.alive.remove(one)
        self.alive.append(one)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def begin_or_end_a_call(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.alive))
        if one.calls:
            one.calls.clear()
        else:
            one.calls[b"1"] = None  # type: ignore[assignment]  # nothing looks at it

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.alive))
        self.table.remove(one)
        self.alive.remove(one)
        self.gone.append(one)

    @rule(seconds=st.sampled_from([0.0, 1.0, IDLE / 2, IDLE]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        over = [one for one in self.alive if self._over(one)]
        assert self.table.expire(self.now) == over
        self.alive = [one for one in self.alive if one not in over]
        self.gone += over

    @invariant()
    def it_holds_who_is_alive_in_order_of_use(self) -> None:
        assert list(self.table) == self.alive
        assert len(self.table) <= MOST


@dataclass
class Told:
    """A stream, and everything that was ever sent on it."""

    stream: Stream
    log: EventLog
    events: list[bytes] = field(default_factory=list)


@pytest.mark.covers("B-85")
class Kept(RuleBasedStateMachine):
    """Streams of three sessions, written to and resumed: what is delivered is right and whole, or refused."""

    @initialize()
    def begin(self) -> None:
        self.room = Room(ROOM)
        self.logs = [EventLog(self.room, priming=False) for _ in range(3)]
        self.told = [Told(log.news, log) for log in self.logs]

    @rule(number=st.integers(0, 2))
    def open(self, number: int) -> None:
        self.told.append(Told(self.logs[number].open(), self.logs[number]))

    @rule(
        data=st.data(),
        size=st.sampled_from([1, 100, MOST_BYTES // 3, MOST_BYTES - 100, MOST_BYTES, 2 * MOST_BYTES]),
        times=st.sampled_from([1, 1, 3, MOST_EVENTS]),
    )
    def send(self, data: st.DataObject, size: int, times: int) -> None:
        told = data.draw(st.sampled_from([one for one in self.told if not one.stream.finished]))
        for _ in range(times if size < 1000 else 1):
            message = b"%d" % len(told.events) + b"x" * size
            told.events.append(message)
            at_once(told.stream.send(message))

    @rule(data=st.data(), last=st.booleans())
    def finish(self, data: st.DataObject, last: bool) -> None:
        ending = [one for one in self.told if one.stream.number and not one.stream.finished]
        if ending:
            told = data.draw(st.sampled_from(ending))
            told.events += [b"end"] * last
            at_once(told.stream.finish(*[b"end"] * last))

    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        told = data.draw(st.sampled_from(self.told))
        after = data.draw(st.integers(0, len(told.events) + 1))
        try:
            stream, number = told.log.find(b"%d-%d" % (told.stream.number, after))
            events = stream.missed(number)
        except InvalidCall:
            return
        assert (stream, number) == (told.stream, after)
        expected = [
            b"id: %d-%d\nevent: message\ndata: %b\n\n" % (stream.number, place, message)
            for place, message in enumerate(told.events[after:], after + 1)
        ]
        assert events == expected

    @rule(number=st.integers(0, 2))
    def clear(self, number: int) -> None:
        self.logs[number].clear()

    @invariant()
    def no_bound_is_passed(self) -> None:
        if not hasattr(self, "logs"):
            return
        for log in self.logs:
            assert log.bytes == sum(len(chunk) for _, _, chunk in log._events) <= MOST_BYTES
            assert len(log._events) <= MOST_EVENTS
        assert self.room.used == sum(log.bytes for log in self.logs) <= ROOM

    @invariant()
    def finished_streams_are_known_only_while_something_of_them_is_kept(self) -> None:
        if not hasattr(self, "logs"):
            return
        for log in self.logs:
            numbers = {number for number, _, _ in log._events}
            assert all(stream.number in numbers for stream in log._streams.values() if stream.finished)


TestTable = Table.TestCase
TestTable.settings = settings(max_examples=100, stateful_step_count=40)
TestKept = Kept.TestCase
TestKept.settings = settings(max_examples=40, stateful_step_count=30)


@pytest.mark.covers("B-82")
async def test_questions_have_ids_of_their_own_and_take_one_answer():
    one = session()
    with one.asking() as (first, answer), one.asking() as (second, other):
        assert first != second
        one.answer(Response(b'"x"', result=b"{}"))
        one.answer(Response(second, result=b'{"a":1}'))
        one.answer(Response(second, result=b'{"a":2}'))
        assert not answer.done()
        assert other.result().result == b'{"a":1}'
    one.answer(Response(first, result=b"{}"))
    assert not answer.done()


@pytest.mark.covers("B-83")
def test_ids_of_sessions_cannot_be_guessed_and_stay_out_of_sight():
    ids = {session().id for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(one) == 32 and one.isascii() and one.isprintable() for one in ids)
    one = session()
    assert one.id not in repr(one)
