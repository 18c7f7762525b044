"""What a call over a link ends in when the server misbehaves, in both eras; nothing a server sent is repeated."""

from __future__ import annotations

import asyncio
import json

import pytest

from mcp_sidecar.errors import Execution, SidecarError, UpstreamLost, UpstreamProtocolError, UpstreamUnavailable
from mcp_sidecar.outbound.credentials import CredentialsRefused
from mcp_sidecar.protocol.jsonrpc import Response
from mcp_sidecar.protocol.session import Session
from tests.outbound.canned import Canned
from tests.outbound.links import Heard, a_call, ask, client_in, legacy, link_of, modern, tool
from tests.support.fake_rude import RUDE
from tests.support.fake_server import FakeServer
from tests.support.fake_wire import event

both_eras = pytest.mark.parametrize("era", ["modern", "legacy"])

PROTOCOL, LOST, UNAVAILABLE = UpstreamProtocolError, UpstreamLost, UpstreamUnavailable
FAILS: dict[str, tuple[type[SidecarError], Execution]] = {
    "html200": (PROTOCOL, Execution.UNKNOWN),
    "truncated_json": (PROTOCOL, Execution.UNKNOWN),
    "truncated_body": (LOST, Execution.UNKNOWN),
    "endless_body": (PROTOCOL, Execution.UNKNOWN),
    "oversized": (PROTOCOL, Execution.UNKNOWN),
    "oversized_event": (PROTOCOL, Execution.UNKNOWN),
    "endless_sse_line": (PROTOCOL, Execution.UNKNOWN),
    "wrong_id": (PROTOCOL, Execution.UNKNOWN),
    "missing_id": (PROTOCOL, Execution.UNKNOWN),
    "result_and_error": (PROTOCOL, Execution.UNKNOWN),
    "not_jsonrpc": (PROTOCOL, Execution.UNKNOWN),
    "result_of_no_shape": (PROTOCOL, Execution.UNKNOWN),
    "error_of_no_shape": (PROTOCOL, Execution.UNKNOWN),
    "batch_array": (PROTOCOL, Execution.UNKNOWN),
    "batch_event": (PROTOCOL, Execution.UNKNOWN),
    "bad_sse": (PROTOCOL, Execution.UNKNOWN),
    "closes_before_reply": (LOST, Execution.UNKNOWN),
    "closes_mid_sse": (LOST, Execution.UNKNOWN),
    "ends_without_final": (LOST, Execution.UNKNOWN),
    "reset": (LOST, Execution.UNKNOWN),
    "reset_mid_sse": (LOST, Execution.UNKNOWN),
    "garbage": (PROTOCOL, Execution.UNKNOWN),
    "huge_headers": (PROTOCOL, Execution.UNKNOWN),
    "1xx_storm": (PROTOCOL, Execution.UNKNOWN),
    "status_500": (PROTOCOL, Execution.UNKNOWN),
    "status_503": (UNAVAILABLE, Execution.UNKNOWN),
    "status_401": (CredentialsRefused, Execution.NONE),
    "status_307": (PROTOCOL, Execution.NONE),
}
ENDLESS = ("endless_sse_comments", "endless_progress", "never_answers", "slow_drip")  # until the caller's deadline
HARMLESS = ("unasked_notifications", "unknown_result_type")
# Each era has a test of its own for these.
ELSEWHERE = ("404_once", "request_on_modern_stream", "two_finals")
LEAKS = (
    "Welcome",
    "secret",
    "Traceback",
    "rude",
    "somebody",
    "xxxx",
    "elsewhere",
    "resource_metadata",
    '"ok"',
    "filler",
)


def test_every_rudeness_has_its_place():
    assert {*FAILS, *ENDLESS, *HARMLESS, *ELSEWHERE} == set(RUDE)


@pytest.mark.covers("B-15", "B-22")
@both_eras
@pytest.mark.parametrize("rudeness", FAILS)
async def test_a_rude_answer_fails_the_one_call_and_no_other(rudeness: str, era: str):
    kind, execution = FAILS[rudeness]
    async with FakeServer(era) as server, link_of(era, server.url) as link:  # type: ignore[arg-type]
        assert await ask(link, "echo", {"text": "before"}) == "before"
        bystander = asyncio.ensure_future(ask(link, "hold", {"gate": "g", "text": "unharmed"}))
        await server.until(lambda s: len(s.executions) == 2)
        server.next_reply(rudeness)
        call = a_call()
        with pytest.raises(SidecarError) as caught:
            await ask(link, "echo", {"text": "hi"}, call=call, progressToken=1)
        assert type(caught.value) is kind
        assert caught.value.execution is call.execution is execution
        assert not [leak for leak in LEAKS if leak in str(caught.value)]
        server.release("g")
        assert await bystander == "unharmed"
        assert await ask(link, "echo", {"text": "after"}) == "after"
        assert client_in(link).busy_sockets == 0


@pytest.mark.covers("B-15", "B-20")
@both_eras
@pytest.mark.parametrize("rudeness", ENDLESS)
async def test_an_answer_without_an_end_ends_with_the_callers_patience(rudeness: str, era: str):
    async with FakeServer(era) as server, link_of(era, server.url) as link:  # type: ignore[arg-type]
        server.next_reply(rudeness)
        call = a_call()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await ask(link, "echo", {"text": "hi"}, call=call, progressToken=1)
        assert call.execution is Execution.UNKNOWN
        assert await ask(link, "echo", {"text": "after"}) == "after"


@both_eras
@pytest.mark.parametrize("rudeness", HARMLESS)
async def test_what_is_merely_odd_passes(rudeness: str, era: str):
    async with FakeServer(era) as server, link_of(era, server.url) as link:  # type: ignore[arg-type]
        server.next_reply(rudeness)
        assert await ask(link, "echo", {"text": "hi"}) == "rude"


@both_eras
async def test_what_comes_after_the_response_is_not_read(era: str):
    async with FakeServer(era) as server, link_of(era, server.url) as link:  # type: ignore[arg-type]
        server.next_reply("two_finals")
        assert await ask(link, "echo", {"text": "hi"}) == "rude"
        assert await ask(link, "echo", {"text": "after"}) == "after"


async def test_a_request_on_a_modern_stream_is_a_breach():
    async with FakeServer() as server, modern(server.url) as link:
        server.next_reply("request_on_modern_stream")
        with pytest.raises(UpstreamProtocolError, match="sent a request"):
            await ask(link, "echo", {"text": "hi"})


async def test_404_with_a_json_rpc_error_is_an_answer_of_a_modern_server():
    async with FakeServer() as server, modern(server.url) as link:
        server.next_reply("404_once")
        call = a_call()
        answer = await link.exchange(tool(link, "echo", {"text": "hi"}), call, Heard())
        assert answer.error is not None and json.loads(answer.error)["code"] == -32600
        assert call.execution is Execution.DONE


@pytest.mark.parametrize("code", [400, 404, 405, 406, 413, 415, 422])
@pytest.mark.parametrize(
    "body", [b"<html>secret</html>", b'{"jsonrpc":"2.0","id":1,"result":{}}', b'{"secret":1}', b"{"]
)
async def test_a_client_error_without_a_json_rpc_error_was_refused_before_it_ran(code: int, body: bytes):
    async with Canned(code, body) as server, modern(server.url) as link:
        call = a_call()
        with pytest.raises(UpstreamProtocolError) as caught:
            await ask(link, "echo", call=call)
        assert caught.value.execution is call.execution is Execution.NONE
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "sent",
    [
        {"jsonrpc": "2.0", "id": 1, "result": {}, "secret": 1},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "secret"}, "result": {}},
        {"jsonrpc": "secret", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": ["secret"], "result": {}},
        {"jsonrpc": "2.0", "method": "secret method", "params": {}},
        {"jsonrpc": "2.0", "method": "secret", "params": ["secret"]},
        b'{"jsonrpc":"2.0","id":1,"secret":1,"secret":2,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"secret":\xff}}',
        b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 80 + b"]" * 80 + b"}",
        b'{"jsonrpc":"2.0","id":1,"result":secret}',
        b"",
        b"secret",
    ],
)
@pytest.mark.covers("B-15")
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_a_malformed_message_is_not_quoted(sent: object, kind: str):
    raw = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    body = raw if kind == "application/json" else b"data: " + raw + b"\n\n"
    async with Canned(200, body, kind) as server, modern(server.url) as link:
        with pytest.raises((UpstreamProtocolError, UpstreamLost)) as caught:
            await ask(link, "echo")
        assert "secret" not in str(caught.value)
        assert caught.value.execution is Execution.UNKNOWN


@pytest.mark.parametrize("kind", ["Application/JSON; charset=utf-8", "application/json;x=y"])
async def test_the_media_type_is_read_as_http_has_it(kind: str):
    async with Canned(200, {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"text": "hi"}]}}, kind) as server:
        async with modern(server.url) as link:
            assert await ask(link, "echo") == "hi"


async def test_events_of_other_names_are_not_messages():
    body = b"event: ping\ndata: 2026-11-23\n\n" + event(
        {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"text": "x"}]}}
    )
    async with Canned(200, body, "text/event-stream") as server, modern(server.url) as link:
        assert await ask(link, "echo") == "x"


async def test_progress_of_another_request_on_a_stream_is_not_passed_on():
    """Ids count up in a session, so a rude server can name its neighbour's."""

    def progress(token: int) -> bytes:
        params = {"progressToken": token, "progress": 1}
        return event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})

    body = progress(1) + progress(2) + progress(3) + event({"jsonrpc": "2.0", "id": 2, "result": {"content": []}})
    async with Canned(200, body, "text/event-stream") as server, legacy(server.url) as link:
        link._session = session = Session("2025-11-25")
        session.register(tool(link, "other", progressToken="same"))
        sink = Heard()
        answer = await link.exchange(tool(link, "echo", progressToken="same"), a_call(), sink)
        assert isinstance(answer, Response) and answer.result is not None
        assert len(sink.messages) == 1
