"""The log: one line an event, written by a thread of its own; `mcp_sidecar.logs`."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar import logs
from mcp_sidecar.logs import LEVELS, Line, Log, Writer

MIB = 1024 * 1024


def one_line(text: bool = False, **fields: logs.Field) -> bytes:
    lines: list[bytes] = []
    Log(lines.append, "debug", text=text).info("call", **fields)
    (line,) = lines
    return line


def test_a_line_is_json_with_time_level_and_event_first():
    line = json.loads(one_line(server="up", duration_ms=1.5, in_flight=3, ok=True, names=["a"], bound={"grpc": "x:1"}))
    assert list(line)[:3] == ["time", "level", "event"]
    assert time.strptime(line.pop("time")[:19], "%Y-%m-%dT%H:%M:%S")
    assert line == {
        "level": "info",
        "event": "call",
        "server": "up",
        "duration_ms": 1.5,
        "in_flight": 3,
        "ok": True,
        "names": ["a"],
        "bound": {"grpc": "x:1"},
    }


@pytest.mark.parametrize("threshold", LEVELS)
def test_only_events_from_the_level_up_are_written(threshold: str):
    lines: list[bytes] = []
    log = Log(lines.append, threshold)
    for level in LEVELS:
        getattr(log, level)(level)
    log.write([Line("", level, level) for level in LEVELS], [0.0] * len(LEVELS))
    said = [json.loads(line)["event"] for line in b"".join(lines).splitlines()]
    assert said == 2 * list(LEVELS)[list(LEVELS).index(threshold) :]


@given(st.text(), st.booleans())
def test_whatever_a_field_holds_a_line_is_one_line(value, text):
    line = one_line(text=text, name=value, other="end")
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert len(line.decode().splitlines()) == 1 or not text
    if not text:
        assert json.loads(line)["name"] == value


@pytest.mark.parametrize("text", [False, True])
def test_half_a_surrogate_pair_does_not_cost_the_line(text: bool):
    assert b"other" in one_line(text=text, name="a\ud800b", other="end")


@pytest.mark.parametrize("evil", ["\x1b[2J", "\x9b2J", "\u202e", "\r", "\x00", "\x07", "\u2028"])
def test_nothing_in_a_text_line_steers_a_terminal(evil: str):
    assert one_line(text=True, name=f"a{evil}b").decode().rstrip("\n").isprintable()


def test_a_text_line_is_for_people():
    line = one_line(text=True, server="up", empty="", error="two words", count=7, names=["a"]).decode()
    assert line.endswith(' call         server=up error="two words" count=7 names=["a"]\n')


def test_a_long_line_is_shortened_and_stays_json():
    line = one_line(stack="x" * 100_000, error="y" * 9000, server="up")
    assert len(line) <= 8 * 1024 + 1
    assert json.loads(line)["stack"] == "x" * 256


@pytest.mark.parametrize("odd", ["x" * 9000, "a\ud800b"], ids=["long", "half a pair"])
def test_a_line_that_needs_care_costs_none_of_those_that_come_with_it(odd: str):
    written: list[bytes] = []
    names = [f"e{number}" for number in range(40)]
    Log(written.append).write([Line("", "info", odd if name == "e20" else name) for name in names], [0.0] * 40)
    lines = b"".join(written).splitlines()
    assert max(map(len, lines)) <= 8 * 1024
    said = [json.loads(line)["event"] for line in lines]
    assert [*said[:20], *said[21:]] == [*names[:20], *names[21:]]
    assert len(written) < 25


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        try:
            os.close(end)
        except OSError:
            pass  # a test hung up


class Later:
    """Keeps what is to be run later until the test runs it."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def __call__(self, seconds: float, run: Callable[[], None]) -> None:
        assert 0 < seconds < 0.1
        self.due.append(run)

    def run(self) -> None:
        due, self.due = self.due, []
        for one in due:
            one()


def read_all(reading: int, size: int) -> bytes:
    got = b""
    while len(got) < size and (piece := os.read(reading, MIB)):
        got += piece
    return got


def test_lines_go_out_in_batches_and_in_order(pipe: tuple[int, int]):
    later = Later()
    writer = Writer(pipe[1], later)
    lines = [b"%d\n" % number for number in range(1000)]
    for line in lines[:500]:
        writer(line)
    assert len(later.due) == 1
    later.run()
    for line in lines[500:]:
        writer(line)
    writer.close()
    assert read_all(pipe[0], len(b"".join(lines))) == b"".join(lines)
    assert writer.dropped == 0


def test_a_reader_that_reads_nothing_costs_lines_and_never_waiting_or_memory(pipe: tuple[int, int]):
    later = Later()
    writer = Writer(pipe[1], later)
    line = b"x" * 1023 + b"\n"
    for _ in range(6 * 1024):
        writer(line)
        later.run()
    assert 1024 < writer.dropped < 3 * 1024
    # The reader comes back: what was kept arrives whole, and lines are taken again.
    kept = 6 * 1024 - writer.dropped
    assert read_all(pipe[0], kept * len(line)) == line * kept
    dropped = writer.dropped
    deadline = time.monotonic() + 5
    while writer._written < writer._taken and time.monotonic() < deadline:
        time.sleep(0.001)
    writer(b"again\n")
    writer.close()
    assert read_all(pipe[0], 6) == b"again\n"
    assert writer.dropped == dropped


def test_a_descriptor_that_would_block_is_tried_again_and_no_line_is_torn(pipe: tuple[int, int]):
    os.set_blocking(pipe[1], False)
    later = Later()
    writer = Writer(pipe[1], later)
    whole = b"".join(b"%06d %b\n" % (number, b"x" * 100) for number in range(5000))
    for line in whole.splitlines(keepends=True):
        writer(line)
    later.run()
    assert read_all(pipe[0], len(whole)) == whole
    writer.close()


@pytest.mark.covers("B-429")
def test_a_reader_that_is_gone_ends_nothing(pipe: tuple[int, int]):
    os.close(pipe[0])
    writer = Writer(pipe[1], Later())
    writer(b"nobody reads this\n")
    writer.flush()
    writer(b"nor this\nnor that\n")
    writer(b"nor anything\n")
    writer.close()
    assert not writer._thread.is_alive()
    assert writer.dropped == 4, "lines are counted, however many are written at once"


def test_of_a_batch_that_is_cut_short_what_was_not_written_is_counted(pipe: tuple[int, int]):
    lines = b"".join(b"%06d %b\n" % (number, b"x" * 1000) for number in range(1000))
    writer = Writer(pipe[1], Later())
    writer(lines)
    writer.flush()
    read = os.read(pipe[0], 10_000)  # the rest waits for room: the pipe holds less than the batch
    os.close(pipe[0])
    writer.close(10)
    assert not writer._thread.is_alive()
    assert 0 < writer.dropped <= 1000 - read.count(b"\n")


def test_closing_with_a_stuck_reader_gives_up_in_time(pipe: tuple[int, int]):
    writer = Writer(pipe[1], Later())
    writer(b"x" * MIB)
    writer.close(0.05)
    assert writer._thread.is_alive()
    os.close(pipe[0])
    writer._thread.join(5)


def test_what_is_counted_by_two_threads_adds_up(pipe: tuple[int, int]):
    """The backlog is the difference of two counters; one for both would lose a batch now and then, for ever."""
    reader = threading.Thread(target=read_all, args=(pipe[0], 20_000 * 64))
    reader.start()
    writer = Writer(pipe[1], lambda _, run: run())
    for _ in range(20_000):
        writer(b"x" * 63 + b"\n")
    writer.close(10)
    reader.join(10)
    assert writer._taken == writer._written == 20_000 * 64
    assert writer.dropped == 0
