"""What a link to a 2025-era server does: one session for many calls, begun anew when the server forgot it."""

from __future__ import annotations

import asyncio
import json

import pytest

from mcp_sidecar.errors import Execution, SidecarError, Unavailable, UpstreamProtocolError, UpstreamUnavailable
from mcp_sidecar.outbound import http_legacy
from mcp_sidecar.outbound.legacy_refusals import SessionLost
from mcp_sidecar.outbound.link import Link
from mcp_sidecar.protocol.jsonrpc import Request
from tests.outbound.canned import Canned, error
from tests.outbound.links import NOBODY, Heard, a_call, ask, legacy, listing, text_of, tool
from tests.support.fake_server import FakeServer


def rpcs(server: FakeServer) -> list[str]:
    return [received.rpc or received.method for received in server.requests]


@pytest.mark.covers("B-13")
async def test_a_session_begins_with_initialize_and_carries_every_call():
    async with FakeServer("legacy") as server:
        async with legacy(server.url, NOBODY) as link:
            await link.open()
            assert await ask(link, "echo", {"text": "one"}) == "one"
            assert await ask(link, "echo", {"text": "two"}) == "two"
        assert rpcs(server) == ["initialize", "notifications/initialized", "tools/call", "tools/call", "DELETE"]
        first, *others = server.requests
        assert "mcp-protocol-version" not in first.headers
        assert {received.headers["mcp-protocol-version"] for received in others} == {"2025-11-25"}
        assert len({received.headers["mcp-session-id"] for received in others}) == 1
        assert not any(name in others[1].headers for name in ("mcp-method", "mcp-name", "authorization"))
        assert server.violations == [] and server.sessions == {}
    assert link.profile.title == ("fake", "1.0.0")


@pytest.mark.parametrize("sessions", [True, False])
@pytest.mark.parametrize("answers", ["json", "sse"])
async def test_answers_come_as_json_or_on_a_stream_with_and_without_sessions(answers: str, sessions: bool):
    async with FakeServer("legacy", answers=answers, sessions=sessions) as server:  # type: ignore[arg-type]
        async with legacy(server.url) as link:
            call = a_call()
            assert await ask(link, "add", {"a": 1, "b": 2}, call=call) == "3"
            assert call.execution is Execution.DONE
        assert server.violations == []
        assert server.count("") == (1 if sessions else 0)  # the DELETE


@pytest.mark.covers("B-13")
@pytest.mark.parametrize("version", ["2025-06-18", "2025-03-26"])
async def test_the_version_the_server_counters_with_is_spoken(version: str):
    async with FakeServer("legacy", versions=(version,)) as server, legacy(server.url) as link:
        assert await ask(link, "echo", {"text": "hi"}) == "hi"
        assert link.profile.version == version
        assert server.requests[-1].headers["mcp-protocol-version"] == version
        assert server.requests[0].params["protocolVersion"] == "2025-11-25"
        assert server.violations == []


async def test_a_version_nobody_speaks_here_is_refused_without_repeating_it():
    async with FakeServer("legacy", versions=("2031-01-01",)) as server, legacy(server.url) as link:
        with pytest.raises(UpstreamProtocolError) as caught:
            await ask(link, "echo", {"text": "hi"})
        assert caught.value.execution is Execution.NONE
        assert "2031" not in str(caught.value)
        assert server.executions == []


async def test_calls_at_the_same_time_share_one_handshake():
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        texts = await asyncio.gather(*(ask(link, "echo", {"text": str(number)}) for number in range(20)))
        assert texts == [str(number) for number in range(20)]
        assert server.count("initialize") == 1 == len(server.sessions)
        assert server.violations == []


async def test_a_caller_that_gives_up_during_the_handshake_does_not_end_it_for_the_others():
    async with FakeServer("legacy") as server, legacy(server.url) as link, asyncio.TaskGroup() as tasks:
        one, two = (tasks.create_task(ask(link, "echo", {"text": name})) for name in "ab")
        await server.until(lambda s: s.count("initialize"))
        one.cancel()
        assert await two == "b"
        assert server.count("initialize") == 1
        assert len(server.executions) == 1


@pytest.mark.covers("B-14")
async def test_callers_with_equal_ids_and_tokens_get_their_own_answers_and_progress():
    async with FakeServer("legacy", answers="sse") as server, legacy(server.url) as link:
        sinks = [Heard() for _ in range(8)]
        running = [
            link.exchange(tool(link, "progress", {"steps": steps}, progressToken="same"), a_call(), sink)
            for steps, sink in enumerate(sinks, 1)
        ]
        answers = await asyncio.gather(*running)
        calls = [received for received in server.requests if received.tool]
        assert server.violations == []
    assert [text_of(answer) for answer in answers] == [f"{steps} steps" for steps in range(1, 9)]
    assert [len(sink.of("notifications/progress")) for sink in sinks] == list(range(1, 9))
    assert {params["progressToken"] for sink in sinks for params in sink.of("notifications/progress")} == {"same"}
    assert len({call.id for call in calls}) == 8
    assert len({call.meta["progressToken"] for call in calls}) == 8


async def test_progress_under_a_token_nobody_gave_is_dropped():
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        server.next_reply("unasked_notifications")
        sink = Heard()
        await link.exchange(tool(link, "echo", {"text": "hi"}, progressToken=7), a_call(), sink)
        assert sink.messages == []


@pytest.mark.covers("B-11")
async def test_a_forgotten_session_is_begun_anew_and_the_call_sent_once_more():
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        await ask(link, "echo", {"text": "one"})
        server.forget_sessions()
        assert await ask(link, "echo", {"text": "two"}) == "two"
        assert [execution.arguments["text"] for execution in server.executions] == ["one", "two"]
        assert rpcs(server)[3:] == ["tools/call", "initialize", "notifications/initialized", "tools/call"]
        assert "mcp-session-id" not in server.requests[4].headers
        assert server.violations == []


@pytest.mark.covers("B-11")
async def test_many_calls_that_notice_a_forgotten_session_share_the_new_one():
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        await link.open()
        server.forget_sessions()
        await asyncio.gather(*(ask(link, "echo", {"text": "hi"}) for _ in range(20)))
        assert server.count("initialize") == 2
        assert len(server.executions) == 20
        assert len(server.sessions) == 1


@pytest.mark.covers("B-11")
async def test_a_server_that_keeps_losing_its_sessions_is_not_asked_for_ever():
    async with FakeServer("legacy", script={"tools/call": "404_once"}) as server, legacy(server.url) as link:
        call = a_call()
        with pytest.raises(SessionLost) as caught:
            await ask(link, "echo", {"text": "hi"}, call=call)
        assert caught.value.execution is call.execution is Execution.NONE
        assert server.count("tools/call") == 2
        assert server.executions == []


async def test_404_without_a_session_is_no_lost_session():
    async with FakeServer("legacy", sessions=False) as server, legacy(server.url) as link:
        server.next_reply("404_once")
        answer = await link.exchange(tool(link, "echo", {"text": "hi"}), a_call(), Heard())
        assert answer.error is not None and json.loads(answer.error)["message"] == "Session not found"
        assert server.count("initialize") == 1


BROKEN = ("closes_before_reply", "reset", "truncated_body", "status_500", "status_503", "status_401", "status_307",
          "garbage", "closes_mid_sse", "huge_headers")  # fmt: skip
WRONG = ("html200", "truncated_json", "wrong_id", "not_jsonrpc")  # nobody reads the answer to a notification


@pytest.mark.covers("B-22")
@pytest.mark.parametrize(
    ("on", "rudeness"),
    [("initialize", name) for name in BROKEN + WRONG] + [("notifications/initialized", name) for name in BROKEN],
)
async def test_a_call_whose_handshake_failed_has_not_run(on: str, rudeness: str):
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        server.next_reply(rudeness, on=on)
        call = a_call()
        with pytest.raises(SidecarError) as caught:
            await ask(link, "echo", {"text": "hi"}, call=call)
        assert caught.value.execution is Execution.NONE
        assert server.executions == []
        assert await ask(link, "echo", {"text": "again"}) == "again"


@pytest.mark.covers("B-142")
async def test_a_link_that_is_closed_in_mid_handshake_leaves_no_session():
    async with FakeServer("legacy") as server, legacy(server.url) as link, asyncio.TaskGroup() as tasks:
        server.next_reply("never_answers", on="notifications/initialized")
        opening = tasks.create_task(fails(link))
        await server.until(lambda s: s.count("notifications/initialized"))
        assert len(server.sessions) == 1
        await link.close()
        assert await opening is Execution.NONE
        assert server.sessions == {}


@pytest.mark.covers("B-142")
async def test_a_handshake_that_came_to_nothing_leaves_no_session():
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        server.next_reply("status_500", on="notifications/initialized")
        with pytest.raises(SidecarError):
            await link.open()
        await link.open()
        assert len(server.sessions) == 1 and server.count("initialize") == 2
    async with FakeServer("legacy", versions=("2031-01-01",)) as server, legacy(server.url) as link:
        with pytest.raises(UpstreamProtocolError):
            await link.open()
        await link.close()
        assert server.sessions == {}


async def test_a_refused_handshake_tells_the_code_and_not_the_words():
    async with Canned(400, error(-32022)) as server, legacy(server.url) as link:
        with pytest.raises(UpstreamUnavailable, match=r"refused to initialize.*-32022") as caught:
            await link.open()
        assert "secret" not in str(caught.value)


async def test_only_the_answer_to_initialize_names_the_session():
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        server.next_reply("status_401", on="initialize")
        with pytest.raises(UpstreamUnavailable, match="credentials"):
            await link.open()
        await link.open()
        (session,) = server.sessions
        await ask(link, "echo", {"text": "hi"})
        assert server.requests[-1].headers["mcp-session-id"] == session


@pytest.mark.covers("B-20")
async def test_cancelling_sends_the_notification_at_once():
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        await link.open()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(ask(link, "hold", {"gate": "g"}))
            await server.until(lambda s: s.executions)
            running.cancel()
            await server.until(lambda s: s.cancelled, 0.1)
        assert [(one.how, one.tool) for one in server.cancelled] == [("notified", "hold")]
        (notification,) = [received for received in server.requests if received.rpc == "notifications/cancelled"]
        assert notification.params["requestId"] == server.executions[0].request_id
        assert "id" not in notification.message
        assert server.violations == []


async def test_a_call_that_was_answered_is_not_cancelled():
    async with FakeServer("legacy", answers="sse") as server:
        async with legacy(server.url) as link:
            await ask(link, "echo", {"text": "hi"})
        assert server.count("notifications/cancelled") == 0


async def test_a_sink_that_fails_cancels_the_request():
    def full() -> None:
        raise BufferError

    async with FakeServer("legacy") as server, legacy(server.url) as link:
        with pytest.raises(BufferError):
            await link.exchange(tool(link, "hold", {"gate": "g"}, progressToken=1), a_call(), Heard(full))
        await server.until(lambda s: s.cancelled)


@pytest.mark.parametrize("answers", ["json", "sse"])
async def test_a_ping_of_the_server_is_answered(answers: str):
    async with FakeServer("legacy", answers=answers) as server, legacy(server.url) as link:  # type: ignore[arg-type]
        sink = Heard()
        answer = await link.exchange(tool(link, "ask_ping"), a_call(), sink)
        assert text_of(answer) == "ping: {}"
        assert sink.asked == []
        assert server.violations == []


@pytest.mark.parametrize("name", ["ask_sampling", "ask_elicitation", "ask_roots"])
async def test_what_the_server_asks_goes_to_the_sink_and_its_refusal_back(name: str):
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        sink = Heard()
        answer = await link.exchange(tool(link, name), a_call(), sink)
        assert len(sink.asked) == 1
        assert answer.error is not None and json.loads(answer.error)["code"] == -32601
        assert [message["error"]["code"] for message in server.answers] == [-32601]
        assert server.violations == []


@pytest.mark.covers("B-16")
async def test_redirects_are_not_followed():
    async with FakeServer("legacy", script={"tools/call": "status_307"}) as server, legacy(server.url) as link:
        with pytest.raises(UpstreamProtocolError, match="redirects are not followed"):
            await ask(link, "echo", {"text": "hi"})
        assert server.count("tools/call") == 1


async def test_check_pings_the_session_there_is_and_begins_none():
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        with pytest.raises(SessionLost):
            await link.check()
        assert server.requests == []
        await link.open()
        await link.check()
        assert rpcs(server)[-1] == "ping"
        server.forget_sessions()
        for _ in range(2):
            with pytest.raises(SessionLost):
                await link.check()
        assert server.count("initialize") == 1


async def test_the_declared_capabilities_are_those_of_the_link():
    async with FakeServer("legacy") as server, legacy(server.url, capabilities=b'{"experimental":{"x":{}}}') as link:
        await link.open()
        assert server.requests[0].params["capabilities"] == {"experimental": {"x": {}}}


async def test_the_loudest_wish_for_logs_wins_and_is_asked_for_once():
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        for level in ("warning", "error", "info", "warning"):
            await link.want_logs(level, a_call())
        levels = [received.params["level"] for received in server.requests if received.rpc == "logging/setLevel"]
        assert levels == ["warning", "info"]


async def test_a_wish_for_logs_that_failed_is_asked_for_again():
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        server.next_reply("status_500", on="logging/setLevel")
        with pytest.raises(SidecarError):
            await link.want_logs("info", a_call())
        await link.want_logs("info", a_call())
        assert [session.log_level for session in server.sessions.values()] == ["info"]


async def test_closing_ends_what_runs_and_waits_for_a_silent_server_only_so_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_legacy, "_COURTESY_SECONDS", 0.05)
    async with FakeServer("legacy", script={"DELETE": "never_answers"}) as server, asyncio.TaskGroup() as tasks:
        async with legacy(server.url) as link:
            await link.open()
            running = tasks.create_task(fails(link))
            await server.until(lambda s: s.executions)
            async with asyncio.timeout(2.0):
                await link.close()
            assert await running is Execution.UNKNOWN
            assert await fails(link) is Execution.NONE
            assert server.count("initialize") == 1


async def fails(link: Link) -> Execution:
    with pytest.raises(Unavailable) as caught:
        await link.exchange(tool(link, "hold", {"gate": "g"}), a_call(), Heard())
    return caught.value.execution


async def test_any_method_passes_with_its_params():
    async with FakeServer("legacy") as server, legacy(server.url) as link:
        answer = await link.exchange(listing(link), a_call(), Heard())
        assert answer.result is not None and len(json.loads(answer.result)["tools"]) > 5
        odd = await link.exchange(Request("no/such", b"1", {"a": b"1.0"}), a_call(), Heard())
        assert odd.error is not None and json.loads(odd.error)["code"] == -32601
        assert b'"params":{"a":1.0}' in server.requests[-1].body
