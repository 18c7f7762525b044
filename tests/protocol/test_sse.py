"""Event streams read (SSE-1, SSE-3 to SSE-5) and written (SSE-2): `protocol.sse`."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_sidecar.errors import MalformedMessage
from mcp_sidecar.protocol import jsonrpc, sse
from mcp_sidecar.protocol.sse import Event, Parser
from tests.protocol.spellings import FRAGILE, objects, respelt


@dataclass
class Reference:
    """The specification's words one by one (WHATWG HTML, 9.2.6), over a whole stream; only events without data but with
    an id are told, too, and fields as far as the parser promises them.
    """

    events: list[Event]
    last_id: str = ""
    retry: int | None = None


def reference(stream: bytes) -> Reference:
    read = Reference([])
    stream = stream.removeprefix(b"\xef\xbb\xbf")
    lines = re.split(rb"\r\n|\n|\r", stream)[:-1]  # what follows the last line end is no line
    name, new_id = "", None
    data: list[bytes] = []
    for line in lines:
        if line == b"":
            if new_id is not None:
                read.last_id = new_id
            if data or new_id is not None:
                read.events.append(Event(name or "message", b"\n".join(data), read.last_id, read.retry))
            name, data, new_id = "", [], None
            continue
        field, colon, value = line.partition(b":")
        if colon and value[:1] == b" ":
            value = value[1:]
        if field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"data":
            data.append(value)
        elif field == b"id" and b"\0" not in value:
            new_id = value.decode("utf-8", "replace")
        elif field == b"retry" and re.fullmatch(rb"[0-9]{1,9}", value):
            read.retry = int(value)
    return read


WORDS = [
    *(b"data", b"data:", b"data: ", b"data:x", b"data: {}", b"data:  two", b"data:a:b", b"Data: no", b" data: no"),
    *(
        b"event: message",
        b"event:",
        b"event: x\0y",
        b"id: 1",
        b"id",
        b"id: \0",
        b"id:  2",
        "id: é".encode(),
        b"id:\xff",
    ),
    *(b"retry: 10", b"retry: -1", b"retry: 1e3", b"retry:", b"retry: 99999999999", "retry: ٣".encode(), b"retry: 007"),
    *(
        b": comment",
        b":",
        b"unknown: field",
        b"\xef\xbb\xbfdata: no mark here",
        "data: \u2028\u0085".encode(),
        b"data: \x0b\x0c",
    ),
]
ENDS = [b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\n", b"\n\r", b"\n\r\n"]
streams = st.builds(
    lambda mark, parts, tail: mark + b"".join(word + end for word, end in parts) + tail,
    st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf", b"\xef\xbb"]),
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(ENDS)), max_size=15),
    st.sampled_from([b"", b"data: unfinished", b"id: 9\n", b"\r"]),
)


def in_pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[start:end] for start, end in itertools.pairwise(places)]


def feed_again_and_again(parser: Parser, piece: bytes) -> None:
    for _ in range(100):
        parser.feed(piece)


@given(streams, st.lists(st.integers(0, 10_000), max_size=6))
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 9, 10, 11])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
def test_a_stream_cut_anywhere_says_what_the_whole_says(stream, cuts):
    expected = reference(stream)
    parser = Parser()
    found = [event for piece in in_pieces(stream, cuts) for event in parser.feed(piece)]
    assert found == expected.events
    assert (parser.last_id, parser.retry) == (expected.last_id, expected.retry)


@given(streams)
def test_a_stream_byte_by_byte_says_what_the_whole_says(stream):
    parser = Parser()
    found = [event for at in range(len(stream)) for event in parser.feed(stream[at : at + 1])]
    assert found == reference(stream).events == Parser().feed(stream)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_any_bytes_are_some_stream(stream, cuts):
    parser = Parser()
    found = [event for piece in in_pieces(stream, cuts) for event in parser.feed(piece)]
    assert found == reference(stream).events


def test_an_event_is_told_with_the_line_end_that_completes_it():
    parser = Parser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\r") == [Event("message", b"a")]
    assert parser.feed(b"\ndata: b\n") == []
    assert parser.feed(b"\n") == [Event("message", b"b")]


@pytest.mark.covers("B-12")
def test_the_id_of_an_event_counts_once_the_event_is_whole():
    parser = Parser()
    parser.feed(b"id: 1\ndata: one\n\nid: 2\ndata: tw")
    assert parser.last_id == "1"  # or the event that was cut off would never be sent again
    again = parser.resumed()
    assert again.feed(b"id: 2\ndata: two\n\n") == [Event("message", b"two", "2")]
    assert again.last_id == "2"


def test_a_resumed_stream_knows_the_id_and_the_pause_and_nothing_else():
    parser = Parser()
    parser.feed(b"id: 7\nretry: 250\n\nevent: odd\ndata: lost")
    again = parser.resumed()
    assert (again.last_id, again.retry) == ("7", 250)
    assert again.feed(b"\xef\xbb\xbfdata: x\n\n") == [Event("message", b"x", "7", 250)]


def test_a_priming_event_has_an_id_and_no_data():
    assert Parser().feed(b"id: 1\nretry: 5\ndata:\n\n") == [Event("message", b"", "1", 5)]
    assert Parser().feed(b"id: 1\n\n") == [Event("message", b"", "1")]
    assert Parser().feed(b"event: x\nretry: 5\n: nothing\n\n") == []


@pytest.mark.covers("B-15")
@pytest.mark.parametrize("lines", [1, 7])
def test_an_event_may_be_as_large_as_the_limit_and_not_a_byte_larger(lines: int):
    limit = 7000
    line = b"data:" + b"x" * (limit // lines - 1) + b"\n"
    assert len(Parser(limit).feed(line * lines + b"\n")) == 1
    with pytest.raises(MalformedMessage, match="larger than 7000"):
        Parser(limit).feed(line * (lines - 1) + line[:-1] + b"x\n\n")


@pytest.mark.covers("B-15")
@pytest.mark.parametrize("start", [b"", b"data: ", b": ", b"event: ", b"\xef\xbb\xbf"])
def test_a_line_without_an_end_is_cut_off_at_the_limit(start: bytes):
    parser = Parser(10_000)
    parser.feed(start)
    with pytest.raises(MalformedMessage):
        feed_again_and_again(parser, b"x" * 1000)
    assert len(parser._buffer) <= 12_000


def test_data_without_an_end_is_cut_off_at_the_limit():
    parser = Parser(10_000)
    with pytest.raises(MalformedMessage):
        feed_again_and_again(parser, b"data: " + b"x" * 1000 + b"\n")


def test_comments_and_small_events_without_end_leave_nothing_behind():
    parser = Parser(1000)
    for _ in range(2000):
        parser.feed(b": ping\n\nevent: x\nid: 1\ndata: x\n\n")
    assert len(parser._buffer) == len(parser._data) == parser._size == 0


@pytest.mark.timeout(10)
def test_a_large_event_in_small_pieces_is_read_in_one_go_each():
    parser = Parser()
    event = sse.encode(b'"' + b"x" * 2_000_000 + b'"')
    found = [one for at in range(0, len(event), 100) for one in parser.feed(event[at : at + 100])]
    assert [len(one.data) for one in found] == [2_000_002]


@pytest.mark.parametrize("value", FRAGILE.values(), ids=FRAGILE)
def test_a_message_we_write_is_one_event_with_the_same_meaning(value: bytes):
    message = b'{"jsonrpc":"2.0","id":1,"result":{"x":%b}}' % value
    (event,) = Parser().feed(sse.encode(message))
    assert event.name == "message"
    assert event.data == message.replace(b"\r", b" ").replace(b"\n", b" ")


@given(objects, st.randoms(use_true_random=False))
def test_nothing_in_a_message_begins_another_event(value, chance):
    message = b'{"jsonrpc":"2.0","id":1,"result":%b}' % respelt(value, chance).encode()
    parsed = jsonrpc.parse(message)
    stream = sse.KEEP_ALIVE + sse.encode(parsed.encode(parsed.id)) + sse.KEEP_ALIVE
    (event,) = Parser().feed(stream)
    assert json.loads(event.data)["result"] == value
    assert reference(stream).events == [event]
