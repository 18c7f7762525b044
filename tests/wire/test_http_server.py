"""How requests become handler calls and answers, on one connection and on many."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.wire.http_server import Disconnected, Reply, Request, fields
from mcp_sidecar.wire.limits import ServerLimits
from tests.wire.loopback import BOUND, dial, echo, serving, until

GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_request_reaches_the_handler_as_it_was_sent():
    seen: list[Request] = []

    async def note(request: Request, reply: Reply) -> None:
        seen.append(request)
        reply.send(204, fields((b"x", b"y")), b"")

    async with serving(note) as served, dial(served.port) as peer:
        await peer.send(b"PUT /%2e/?q=%20 HTTP/1.1\r\nHost: x\r\nA: 1 \r\na: 2\r\nContent-Length: 3\r\n\r\nabc")
        answer = await peer.answer()
        port = peer.writer.get_extra_info("sockname")[1]
    assert answer.status == 204
    assert answer.headers == {b"x": b"y"}
    (request,) = seen
    assert (request.head.method, request.head.path, request.head.query, request.body) == (
        "PUT",
        "/%2e/",
        "q=%20",
        b"abc",
    )
    assert request.head.headers.all(b"a") == [b"1", b"2"]
    assert request.head.headers.get(b"a") == b"1"
    assert request.head.headers.get(b"b") is None
    assert request.peer == f"127.0.0.1:{port}"


async def test_a_connection_carries_many_requests():
    async with serving(echo) as served, dial(served.port) as peer:
        for body in (b"one", b"", b"three" * 100_000):
            await peer.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            assert (await peer.answer()).body == b"POST / \n" + body
        assert served.listener.connections == 1


async def test_pipelined_requests_are_answered_in_order_one_at_a_time():
    running = 0
    most = 0

    async def slow(request: Request, reply: Reply) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        reply.send(200, b"", request.head.path.encode())

    async with serving(slow) as served, dial(served.port) as peer:
        await peer.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(2000)))
        assert [(await peer.answer()).body for _ in range(2000)] == [b"/%d" % n for n in range(2000)]
    assert most == 1


async def test_input_behind_a_request_in_progress_is_bounded():
    go_on = asyncio.Event()

    async def wait(request: Request, reply: Reply) -> None:
        await go_on.wait()
        reply.send(200, b"", b"")

    limits = ServerLimits(ahead_bytes=10_000)
    async with serving(wait, limits) as served, dial(served.port) as peer:
        peer.writer.transport.set_write_buffer_limits(high=1 << 30)
        count = 400_000
        await peer.send(GET * count)
        await until(lambda: any(not c._reading for c in served.listener._service.connections))
        (connection,) = served.listener._service.connections
        assert 10_000 < len(connection._ahead) <= 10_000 + 256 * 1024
        assert len(connection._parser.ready) < 200
        go_on.set()
        for _ in range(1000):
            assert (await peer.answer()).status == 200
        assert len(connection._ahead) <= 10_000 + 2 * 256 * 1024


async def test_answers_to_a_client_that_does_not_read_are_bounded():
    served_requests = 0

    async def generous(request: Request, reply: Reply) -> None:
        nonlocal served_requests
        served_requests += 1
        reply.send(200, b"", b"a" * 200_000)

    async with serving(generous) as served, dial(served.port) as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(GET * 1000)
        await until(lambda: any(c._full for c in served.listener._service.connections))
        await asyncio.sleep(0.02)
        (connection,) = served.listener._service.connections
        stopped_at = served_requests
        assert stopped_at < 200
        assert connection._transport.get_write_buffer_size() <= 400_000
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(stopped_at + 1):
            assert len((await peer.answer()).body) == 200_000


async def test_a_refusal_waits_for_the_answers_before_it():
    async def slow(request: Request, reply: Reply) -> None:
        await asyncio.sleep(0.01)
        reply.send(200, b"", request.head.path.encode())

    async with serving(slow) as served, dial(served.port) as peer:
        await peer.send(GET + b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n" + b"nonsense\r\n\r\n")
        assert (await peer.answer()).body == b"/a"
        assert (await peer.answer()).body == b"/2"
        assert (await peer.answer()).status == 400
        assert await peer.closed()


async def test_a_client_asks_for_the_body_to_be_awaited():
    async with serving(echo) as served, dial(served.port) as peer:
        await peer.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n")
        assert await peer.head() == (100, {})
        await peer.send(b"abc")
        assert (await peer.answer()).body == b"POST / \nabc"


async def test_continue_waits_for_the_answer_before_it():
    go_on = asyncio.Event()

    async def wait(request: Request, reply: Reply) -> None:
        await go_on.wait()
        reply.send(200, b"", request.body)

    async with serving(wait) as served, dial(served.port) as peer:
        await peer.send(GET + b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        await asyncio.sleep(0.01)
        go_on.set()
        assert (await peer.answer()).status == 200
        assert await peer.head() == (100, {})
        await peer.send(b"z")
        assert (await peer.answer()).body == b"z"


async def test_head_is_answered_without_a_body():
    async with serving(echo) as served, dial(served.port) as peer:
        await peer.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
        status, headers = await peer.head()
        assert (status, headers[b"content-length"]) == (200, b"8")
        assert (await peer.answer()).body == b"GET /a b=c\n"


@pytest.mark.parametrize("first", [b"GET / HTTP/1.0\r\nHost: x\r\n\r\n", GET[:-2] + b"Connection: close\r\n\r\n"])
async def test_a_last_request_closes_the_connection(first: bytes):
    async with serving(echo) as served, dial(served.port) as peer:
        await peer.send(first + GET)
        answer = await peer.answer()
        assert (answer.status, answer.headers[b"connection"]) == (200, b"close")
        assert await peer.closed()


async def test_a_streamed_answer_arrives_piece_by_piece():
    read = asyncio.Event()

    async def stream(request: Request, reply: Reply) -> None:
        reply.start(200, fields((b"content-type", b"text/event-stream")))
        await reply.write(b"one")
        await reply.write(b"")
        await read.wait()
        await reply.write(b"two")
        reply.end()

    async with serving(stream) as served, dial(served.port) as peer:
        await peer.send(GET)
        assert (await peer.head())[1][b"transfer-encoding"] == b"chunked"
        assert await peer.chunk() == b"one"
        read.set()
        assert await peer.chunk() == b"two"
        assert await peer.chunk() == b""
        read.set()
        await peer.send(GET)
        assert (await peer.answer()).body == b"onetwo"


async def test_http_1_0_is_streamed_to_without_chunks():
    async def stream(request: Request, reply: Reply) -> None:
        reply.start(200, b"")
        await reply.write(b"one")
        await reply.write(b"two")
        reply.end()

    async with serving(stream) as served, dial(served.port) as peer:
        await peer.send(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        assert await peer.rest() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"


async def test_a_stream_nobody_reads_stops_its_writer():
    written = 0

    async def endless(request: Request, reply: Reply) -> None:
        nonlocal written
        reply.start(200, b"")
        while True:
            await reply.write(b"a" * 10_000)
            written += 10_000

    async with serving(endless) as served, dial(served.port) as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(GET)
        await until(lambda: any(c._full for c in served.listener._service.connections))
        (connection,) = served.listener._service.connections
        stopped_at = written
        await asyncio.sleep(0.02)
        assert written == stopped_at
        assert connection._transport.get_write_buffer_size() <= 64 * 1024 + 20_000
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await peer.head()
        for _ in range(stopped_at // 10_000 + 100):
            assert await peer.chunk() == b"a" * 10_000


async def test_two_writers_of_one_stream_both_go_on():
    async def both(request: Request, reply: Reply) -> None:
        reply.start(200, b"")

        async def write(letter: bytes) -> None:
            for _ in range(300):
                await reply.write(letter * 10_000)

        await asyncio.gather(write(b"a"), write(b"b"))
        reply.end()

    async with serving(both) as served, dial(served.port) as peer:
        await peer.send(GET)
        body = (await peer.answer()).body
    assert body.count(b"a") == body.count(b"b") == 3_000_000


async def test_a_client_that_leaves_cancels_its_handler():
    started = asyncio.Event()
    cancelled = asyncio.Event()

    async def wait(request: Request, reply: Reply) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serving(wait) as served:
        async with dial(served.port) as peer:
            await peer.send(GET)
            await started.wait()
        async with asyncio.timeout(BOUND):
            await cancelled.wait()
        await until(lambda: served.listener.connections == 0)
    assert served.faults == []


async def test_a_client_that_leaves_lets_the_handler_finish_what_follows_the_answer():
    answered = asyncio.Event()
    finished = asyncio.Event()

    async def tidy(request: Request, reply: Reply) -> None:
        reply.send(200, b"", b"")
        await answered.wait()
        await asyncio.sleep(0.005)
        finished.set()

    async with serving(tidy) as served:
        async with dial(served.port) as peer:
            await peer.send(GET)
            await peer.answer()
        await until(lambda: served.listener.connections == 0)
        answered.set()
        async with asyncio.timeout(BOUND):
            await finished.wait()


async def test_writing_to_a_client_that_left_says_so():
    outcome: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    gone = asyncio.Event()

    async def stream(request: Request, reply: Reply) -> None:
        reply.start(200, b"")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            gone.set()
        try:
            await reply.write(b"a")
        except Disconnected as error:
            outcome.set_result(error)
            raise
        finally:
            reply.end()

    async with serving(stream) as served:
        async with dial(served.port) as peer:
            await peer.send(GET)
            await peer.head()
        async with asyncio.timeout(BOUND):
            assert isinstance(await outcome, Disconnected)
    assert served.faults == []


FAULTS = {"raises": ValueError("secret"), "lets a foreign cancellation through": asyncio.CancelledError()}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_of_the_handler_is_answered_and_reported(fault: BaseException):
    async def fail(request: Request, reply: Reply) -> None:
        if request.head.path == "/a":
            raise fault
        await echo(request, reply)

    async with serving(fail) as served, dial(served.port) as peer:
        await peer.send(GET + b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await peer.answer()
        assert (answer.status, answer.body) == (500, b"")
        assert (await peer.answer()).status == 200
    assert served.faults == [fault]


async def test_a_handler_that_does_not_answer_is_a_fault():
    async def silent(request: Request, reply: Reply) -> None:
        pass

    async with serving(silent) as served, dial(served.port) as peer:
        await peer.send(GET)
        assert (await peer.answer()).status == 500
    assert [type(fault) for fault in served.faults] == [RuntimeError]


async def test_a_stream_that_breaks_off_does_not_look_complete():
    async def broken(request: Request, reply: Reply) -> None:
        reply.start(200, b"")
        await reply.write(b"a")
        raise ValueError

    async with serving(broken) as served, dial(served.port) as peer:
        await peer.send(GET)
        await peer.head()
        assert await peer.chunk() == b"a"
        assert await peer.closed()
    assert [type(fault) for fault in served.faults] == [ValueError]


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b"])
async def test_a_reply_field_cannot_split_the_answer(value: bytes):
    async def split(request: Request, reply: Reply) -> None:
        reply.send(200, fields((b"x", value)), b"")

    async with serving(split) as served, dial(served.port) as peer:
        await peer.send(GET)
        answer = await peer.answer()
        assert (answer.status, answer.headers) == (500, {b"content-length": b"0"})
    assert [type(fault) for fault in served.faults] == [ValueError]


async def test_calls_out_of_order_are_errors():
    errors: list[str] = []

    async def wrong(request: Request, reply: Reply) -> None:
        for call in (reply.end, lambda: reply.send(200, b"", b""), lambda: reply.start(200, b""), reply.end):
            try:
                call()
            except RuntimeError:
                errors.append("refused")
        with pytest.raises(RuntimeError):
            await reply.write(b"a")

    async with serving(wrong) as served, dial(served.port) as peer:
        await peer.send(GET)
        assert (await peer.answer()).status == 200
    assert len(errors) == 3
    assert served.faults == []
