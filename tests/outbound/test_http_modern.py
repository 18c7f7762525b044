"""What a link to a 2026-07-28 server sends, hears and gives up."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from mcp_sidecar.call import Trace
from mcp_sidecar.errors import Execution, Unavailable, UpstreamProtocolError, UpstreamUnavailable
from mcp_sidecar.outbound.http import EraChanged
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.jsonrpc import Request
from tests.outbound.canned import Canned, error
from tests.outbound.links import Heard, a_call, ask, modern, showing, text_of, tool
from tests.support.fake_server import FakeServer

TRACE = Trace("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "vendor=1", "k=v")


@pytest.mark.covers("B-13")
async def test_requests_carry_the_headers_of_the_revision_and_nothing_the_caller_did_not_mean():
    async with FakeServer() as server, modern(server.url, showing("t")) as link:
        call = msgspec.structs.replace(a_call(), trace=TRACE, mirrored=((b"mcp-param-region", b"eu"),))
        await ask(link, "regional", {"region": "eu"}, call=call)
        (received,) = server.requests
    assert set(received.headers) == {
        "host", "content-type", "accept", "content-length", "authorization", "x-request-id", "traceparent",
        "tracestate", "baggage", "mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-region",
    }  # fmt: skip
    assert received.headers["mcp-protocol-version"] == "2026-07-28"
    assert received.headers["mcp-method"] == "tools/call"
    assert received.headers["mcp-name"] == "regional"
    assert received.headers["x-request-id"] == "r-1"
    assert received.headers["traceparent"] == TRACE.traceparent


@pytest.mark.covers("B-13")
@pytest.mark.parametrize("name", ["with space", " padded", "grüße", "=?base64?eA==?=", "new\nline", "\u2028"])
async def test_names_that_are_no_header_travel_encoded(name: str):
    async with FakeServer() as server, modern(server.url) as link:
        answer = await link.exchange(tool(link, name), a_call(), Heard())
        assert answer.error is not None and b"Unknown tool" in answer.error
        assert server.violations == []


@pytest.mark.parametrize(
    ("method", "key", "value"), [("prompts/get", "name", "greet"), ("resources/read", "uri", "fake://greeting")]
)
async def test_prompts_and_resources_are_named_too(method: str, key: str, value: str):
    async with FakeServer() as server, modern(server.url) as link:
        params = {key: json.dumps(value).encode(), "arguments": b'{"who":"me"}'}
        answer = await link.exchange(Request(method, b"1", params, modern_meta()), a_call(), Heard())
        assert answer.result is not None
        assert server.requests[0].headers["mcp-name"] == value
        assert server.violations == []


@pytest.mark.parametrize("answers", ["json", "sse"])
async def test_an_answer_comes_as_json_or_on_a_stream(answers: str):
    async with FakeServer(answers=answers) as server, modern(server.url) as link:  # type: ignore[arg-type]
        call = a_call()
        assert await ask(link, "echo", {"text": "hi"}, call=call) == "hi"
        assert call.execution is Execution.DONE


@pytest.mark.covers("B-14")
async def test_callers_with_equal_ids_and_tokens_get_their_own_answers_and_progress():
    async with FakeServer() as server, modern(server.url) as link:
        sinks = [Heard() for _ in range(8)]
        running = [
            link.exchange(tool(link, "progress", {"steps": steps}, progressToken="same"), a_call(), sink)
            for steps, sink in enumerate(sinks, 1)
        ]
        answers = await asyncio.gather(*running)
        ids = [received.id for received in server.requests]
        tokens = [received.meta["progressToken"] for received in server.requests]
    assert [text_of(answer) for answer in answers] == [f"{steps} steps" for steps in range(1, 9)]
    assert [len(sink.of("notifications/progress")) for sink in sinks] == list(range(1, 9))
    assert {params["progressToken"] for sink in sinks for params in sink.of("notifications/progress")} == {"same"}
    assert len(set(ids)) == 8 and "mine" not in ids
    assert len(set(tokens)) == 8 and "same" not in tokens


async def test_progress_under_a_token_nobody_gave_is_dropped_and_other_notifications_pass():
    async with FakeServer() as server, modern(server.url) as link:
        server.next_reply("unasked_notifications")
        sink = Heard()
        await link.exchange(tool(link, "echo", {"text": "hi"}, progressToken=7), a_call(), sink)
    assert [message["method"] for message in sink.messages] == ["notifications/com.example/odd"]


@pytest.mark.covers("B-20")
async def test_cancelling_closes_the_stream_at_once():
    async with FakeServer() as server, modern(server.url) as link:
        call = a_call()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(link.exchange(tool(link, "hold", {"gate": "g"}), call, Heard()))
            await server.until(lambda s: s.executions)
            running.cancel()
            await server.until(lambda s: s.cancelled, 0.1)
        assert [(one.how, one.tool) for one in server.cancelled] == [("closed", "hold")]
        assert call.execution is Execution.UNKNOWN
        assert server.count("notifications/cancelled") == 0


async def test_cancelling_in_the_middle_of_a_stream_closes_it():
    async with FakeServer() as server, modern(server.url) as link, asyncio.TaskGroup() as tasks:
        spoke = asyncio.Event()
        request = tool(link, "hold", {"gate": "g"}, progressToken=1)
        running = tasks.create_task(link.exchange(request, a_call(), Heard(spoke.set)))
        await spoke.wait()
        running.cancel()
        await server.until(lambda s: s.cancelled and s.open_connections == 0)


async def test_a_sink_that_fails_cancels_the_request():
    def full() -> None:
        raise BufferError

    async with FakeServer() as server, modern(server.url) as link:
        with pytest.raises(BufferError):
            await link.exchange(tool(link, "hold", {"gate": "g"}, progressToken=1), a_call(), Heard(full))
        await server.until(lambda s: s.cancelled)


async def test_one_cancelled_call_leaves_the_others_alone():
    async with FakeServer() as server, modern(server.url) as link, asyncio.TaskGroup() as tasks:
        one, two = (tasks.create_task(ask(link, "hold", {"gate": "g", "text": name})) for name in "ab")
        await server.until(lambda s: len(s.executions) == 2)
        one.cancel()
        await server.until(lambda s: s.cancelled)
        server.release("g")
        assert await two == "b"
        assert len(server.cancelled) == 1


async def test_sockets_are_kept_and_idle_ones_closed():
    async with FakeServer() as server, modern(server.url) as link:
        for _ in range(3):
            await ask(link, "echo", {"text": "hi"})
        assert server.connections == 1
        link.close_idle(60.0)
        assert server.open_connections == 1
        link.close_idle(0.0)
        await server.until(lambda s: s.open_connections == 0)
        assert await ask(link, "echo", {"text": "again"}) == "again"


async def test_a_socket_that_the_server_closed_while_it_was_idle_harms_no_call():
    async with FakeServer() as server, modern(server.url) as link:
        for _ in range(20):
            assert await ask(link, "echo", {"text": "hi"}) == "hi"
            server.close_idle_sockets()
            await server.until(lambda s: s.open_connections == 0)
        assert len(server.executions) == server.connections == 20


async def test_a_json_rpc_error_is_an_answer_whatever_its_status():
    async with FakeServer() as server, modern(server.url) as link:
        call = a_call()
        crashed = await link.exchange(tool(link, "crash", {"code": -32602}), call, Heard())
        unknown = await link.exchange(Request("no/such", b"1", meta=modern_meta()), a_call(), Heard())
    assert call.execution is Execution.DONE
    assert crashed.error is not None and json.loads(crashed.error)["data"] == {"tool": "crash"}
    assert unknown.error is not None and json.loads(unknown.error)["code"] == -32601


@pytest.mark.parametrize("code", [-32600, -32000, -32022])
async def test_a_refusal_as_of_another_era_says_so_and_keeps_the_answer(code: int):
    async with Canned(400, error(code)) as server, modern(server.url) as link:
        call = a_call()
        with pytest.raises(EraChanged) as caught:
            await ask(link, "echo", call=call)
        assert caught.value.execution is call.execution is Execution.NONE
        assert caught.value.answer.error is not None and b"secret-words" in caught.value.answer.error
        assert "secret" not in str(caught.value)


@pytest.mark.covers("B-16")
async def test_redirects_are_not_followed():
    async with FakeServer(script={"tools/call": "status_307"}) as server, modern(server.url) as link:
        call = a_call()
        with pytest.raises(UpstreamProtocolError, match="redirects are not followed"):
            await ask(link, "echo", {"text": "hi"}, call=call)
        assert call.execution is Execution.NONE
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("999999", 3600.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None)]
)
async def test_a_busy_server_tells_when_to_come_again(value: str, seconds: float | None):
    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 x\r\nretry-after: %b\r\ncontent-length: 0\r\n\r\n" % value.encode())
        writer.close()

    listener = await asyncio.start_server(busy, "127.0.0.1", 0)
    async with listener, modern(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/mcp") as link:
        with pytest.raises(UpstreamUnavailable) as caught:
            await ask(link, "echo")
        assert caught.value.retry_after == seconds


async def test_check_asks_who_the_server_is_and_fails_when_it_is_gone():
    async with FakeServer() as server, modern(server.url) as link:
        await link.check()
        assert [received.rpc for received in server.requests] == ["server/discover"]
        await server.stop()
        with pytest.raises(UpstreamUnavailable):
            await link.check()


async def test_closing_a_link_ends_what_runs_on_it():
    async with FakeServer() as server, modern(server.url) as link, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(fail_of(link))
        await server.until(lambda s: s.executions)
        await link.close()
        assert await running is Execution.UNKNOWN
        assert (await fail_of(link)) is Execution.NONE  # nothing leaves a closed link


async def fail_of(link: object) -> Execution:
    call = a_call()
    with pytest.raises(Unavailable) as caught:
        await ask(link, "hold", {"gate": "g"}, call=call)  # type: ignore[arg-type]
    assert caught.value.execution is call.execution
    return call.execution
