"""Heads that were seen before: a message is the same whether its head is read or recognised."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.wire.heads import Heads, split
from mcp_sidecar.wire.http_server import Reply, Request
from mcp_sidecar.wire.limits import ServerLimits
from tests.wire.loopback import calling, dial, echo, origin, replying, serving

HEAD = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nA: b\r\n\r\n"


def message(body: bytes, head: bytes = HEAD) -> bytes:
    return head % len(body) + body


def test_heads_that_differ_in_nothing_but_the_length_are_one():
    short, long = split(message(b"a")), split(message(b"a" * 1000))
    assert short is not None and long is not None
    assert short[0] == long[0]
    assert (short[1], long[1]) == (b"a", b"a" * 1000)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        HEAD % 1,
        HEAD % 1 + b"ab",
        HEAD % 0 + b"a",
        HEAD.replace(b"%d", b"") + b"",
        HEAD.replace(b"%d", b"1, 1") + b"a",
        HEAD.replace(b"%d", b"+1") + b"a",
        HEAD.replace(b"%d", b"0x1") + b"a",
        HEAD.replace(b"%d", b"\xb9") + b"a",
        HEAD.replace(b"Content-Length: %d\r\n", b"") + b"a",
        message(b"a", HEAD.replace(b"A: b", b"A: " + b"b" * 5000)),
        message(b"a") + message(b"a"),
    ],
)
def test_what_is_not_one_message_with_a_plain_length_is_not_split(data: bytes):
    assert split(data) is None


@given(st.binary(max_size=300))
def test_any_bytes_either_split_or_do_not(data: bytes):
    parts = split(data)
    assert parts is None or data.endswith(parts[1])


def test_heads_are_forgotten_before_there_are_too_many():
    heads: Heads[int] = Heads()
    for number in range(1000):
        heads.learn(message(b"a", HEAD.replace(b"/p", b"/%d" % number)), number)
        assert len(heads) <= 256
    for length in range(1000):
        data = message(b"a" * length, HEAD.replace(b"/p", b"/999"))
        assert heads.recall(data) == heads.recall(data) == (999, b"a" * length)
        assert len(heads) <= 256


def test_a_head_known_with_its_length_is_no_message_with_less_or_more_behind_it():
    heads: Heads[int] = Heads()
    heads.learn(message(b"abc"), 1)
    for _ in range(2):
        assert heads.recall(message(b"abc")) == (1, b"abc")
        assert heads.recall(message(b"abc")[:-1]) is None
        assert heads.recall(message(b"abc") + b"d") is None
        assert heads.recall(message(b"abc") * 2) is None
    assert heads.recall(message(b"abc", HEAD.replace(b"A: b", b"A: c"))) is None


async def test_a_request_with_a_known_head_is_the_request_that_it_was():
    seen: list[Request] = []

    async def note(request: Request, reply: Reply) -> None:
        seen.append(request)
        reply.send(200, b"", request.body)

    async with serving(note) as served:
        for _ in range(2):
            async with dial(served.port) as peer:
                for body in (b"one", b"three", b"", b"one"):
                    await peer.send(message(body))
                    assert (await peer.answer()).body == body
    assert [request.body for request in seen] == [b"one", b"three", b"", b"one"] * 2
    assert seen[1].head is seen[2].head is seen[3].head is seen[5].head


async def test_a_known_head_does_not_open_the_way_for_a_body_that_is_too_long():
    async with serving(echo, ServerLimits(body_bytes=100)) as served, dial(served.port) as peer:
        for _ in range(2):
            await peer.send(message(b"a" * 100))
            assert (await peer.answer()).status == 200
        await peer.send(message(b"a" * 101))
        assert (await peer.answer()).status == 413


@pytest.mark.parametrize("cut", [1, 20, 60])
async def test_a_known_head_in_pieces_is_read(cut: int):
    async with serving(echo) as served, dial(served.port) as peer:
        for _ in range(3):
            await peer.send(message(b"hello"))
            assert (await peer.answer()).body.endswith(b"hello")
        await peer.send(message(b"again")[:cut])
        await peer.send(message(b"again")[cut:])
        assert (await peer.answer()).body.endswith(b"again")


async def test_known_heads_one_after_the_other_in_one_segment_are_all_answered():
    async with serving(echo) as served, dial(served.port) as peer:
        for _ in range(2):
            await peer.send(message(b"x"))
            await peer.answer()
        await peer.send(message(b"1") + message(b"22") + message(b"333"))
        bodies = [(await peer.answer()).body for _ in range(3)]
        assert [body.rsplit(b"\n")[-1] for body in bodies] == [b"1", b"22", b"333"]


REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nContent-Length: %d\r\n\r\n"


async def test_replies_with_a_known_head_have_their_own_bodies():
    async with (
        origin(replying(*(message(body, REPLY) for body in (b"a", b"bb", b"", b"a")))) as server,
        calling(server.port) as client,
    ):
        for body in (b"a", b"bb", b"", b"a"):
            reply = await client.request(b"GET", b"/", b"", b"")
            assert (reply.status, reply.headers.get(b"content-type")) == (200, b"text/plain")
            assert reply.body in (None, body)
            assert await reply.read() == body
            reply.close()


async def test_a_reply_behind_an_interim_one_is_not_taken_for_its_body():
    inner = message(b"a", REPLY)
    other = message(b"b", REPLY)
    async with (
        origin(replying(EARLY % len(inner) + inner, EARLY % len(other) + other)) as server,
        calling(server.port) as client,
    ):
        for body in (b"a", b"b"):
            reply = await client.request(b"GET", b"/", b"", b"")
            assert (reply.status, await reply.read()) == (200, body)
            reply.close()


async def test_a_reply_that_closes_the_connection_closes_it_each_time():
    last = message(b"a", REPLY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    async with origin(replying(last, close=True)) as server, calling(server.port) as client:
        for _ in range(3):
            reply = await client.request(b"GET", b"/", b"", b"")
            assert await reply.read() == b"a"
            reply.close()
            assert client.open_sockets == 0


def test_the_parser_agrees_that_a_length_is_said_once():
    """What `split` relies on: a head with two lengths never passes, so it is never learnt."""
    twice = HEAD.replace(b"A: b", b"content-length: 1") % 1 + b"a"
    with pytest.raises(httptools.HttpParserError):
        httptools.HttpRequestParser(object()).feed_data(twice)
