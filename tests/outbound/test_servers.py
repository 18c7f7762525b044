"""What a whole sidecar promises of its servers (docs/behaviour.md, "Servers")."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mcp_sidecar import watched
from mcp_sidecar.outbound import probe
from mcp_sidecar.settings import UpstreamAuthSettings, UpstreamSettings
from mcp_sidecar.v1 import engine_pb2
from tests.outbound.calling import SECONDS, call, events, failure, message, tool
from tests.outbound.canned import Canned, error
from tests.support.fake_rude import RUDE
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

both_eras = pytest.mark.parametrize("era", ["modern", "legacy"])
META = "io.modelcontextprotocol/"


@pytest.mark.covers("B-10")
@both_eras
async def test_the_era_is_asked_once_for_many_calls_at_once_and_never_with_a_tool(era: Any):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        await asyncio.gather(*(tool(sidecar, "echo", {"text": "hi"}) for _ in range(30)))
        assert up.requests[0].rpc == "server/discover"
        assert up.count("server/discover") == 1
        assert up.count("initialize") == (0 if era == "modern" else 1)
        assert len(up.executions) == 30
        assert up.violations == []


@pytest.mark.covers("B-10")
@pytest.mark.parametrize("rudeness", ["status_401", "status_500", "status_503", "reset"])
async def test_a_server_that_does_not_answer_the_probe_is_asked_again_by_the_next_call(rudeness: str):
    async with FakeServer(script={"server/discover": [rudeness] * 2}) as up, Sidecar({"up": up.url}) as sidecar:
        refused = await failure(tool(sidecar, "echo", {"text": "hi"}))
        assert refused.code in ("UNAVAILABLE", "INTERNAL") and refused.execution == "none"
        if up.count("server/discover") == 1:  # not worth a second attempt of the same call
            await failure(tool(sidecar, "echo", {"text": "hi"}))
        assert await tool(sidecar, "echo", {"text": "hi"}) == "hi"
        assert up.count("server/discover") == 3
        assert len(up.executions) == 1


@pytest.mark.covers("B-10")
async def test_a_server_that_became_a_modern_one_is_found_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probe, "LEGACY_VERDICT_SECONDS", 0.0)
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "old"})
        up.era = "modern"
        assert await tool(sidecar, "echo", {"text": "new"}) == "new"
        assert up.requests[-1].headers["mcp-protocol-version"] == "2026-07-28"


@pytest.mark.covers("B-10")
async def test_a_server_that_fell_back_to_the_old_era_is_found_out_by_the_call_that_notices():
    async with FakeServer("modern") as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "new"})
        up.era = "legacy"
        assert await tool(sidecar, "echo", {"text": "old"}) == "old"
        assert [execution.arguments["text"] for execution in up.executions] == ["new", "old"]
        assert up.count("initialize") == 1


async def test_a_listener_too_finds_out_that_the_era_changed():
    async with FakeServer("modern") as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "new"})
        up.era = "legacy"
        stream: Any = sidecar.engine.Stream(engine_pb2.StreamRequest(), timeout=SECONDS)
        assert b"acknowledged" in (await stream.read()).notification_json
        await up.until(lambda s: s.streams == 1)
        stream.cancel()
        await up.until(lambda s: s.streams == 0)


async def test_a_refusal_that_only_looks_like_another_era_is_passed_on():
    async with FakeServer("modern") as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        crashed = await call(sidecar, "tools/call", {"name": "crash", "arguments": {"code": -32600}})
        assert crashed["error"]["code"] == -32600 and crashed["error"]["data"] == {"tool": "crash"}
        assert up.count("server/discover") == 2
        assert [one.tool for one in up.executions] == ["echo", "crash"]


async def test_a_modern_server_that_answered_the_probe_in_its_start_with_rubbish_is_found_soon():
    async with FakeServer("modern") as up, Sidecar({"up": up.url}) as sidecar:
        up.next_reply("html200", on="server/discover")
        assert await tool(sidecar, "echo", {"text": "hi"}) == "hi"
        assert up.count("server/discover") == 2
        assert up.count("initialize") == 1


@pytest.mark.covers("B-11")
async def test_a_restarted_server_costs_no_call():
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "1"})
        up.forget_sessions()
        texts = await asyncio.gather(*(tool(sidecar, "echo", {"text": str(number)}) for number in range(10)))
        assert texts == [str(number) for number in range(10)]
        assert len(up.executions) == 11
        assert up.violations == []


@pytest.mark.covers("B-12")
async def test_a_stream_that_breaks_off_is_resumed_for_the_caller():
    async with FakeServer("legacy", priming=True, retry_ms=20) as up, Sidecar({"up": up.url}) as sidecar:
        got = [event async for event in events(sidecar, "reconnect", {}, progressToken="p")]
        assert [event["params"]["message"] for event in got[:-1]] == ["before", "after"]
        assert got[-1]["result"]["content"][0]["text"] == "reconnected"
        assert [received.headers.get("last-event-id") for received in up.requests if received.method == "GET"] == [
            "s2-2"
        ]
        assert len(up.executions) == 1
        assert up.violations == []


@pytest.mark.covers("B-12", "B-23")
async def test_a_call_whose_stream_broke_and_whose_server_died_is_not_sent_again():
    async with FakeServer("legacy", priming=True, retry_ms=1) as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        held = asyncio.ensure_future(failure(tool(sidecar, "hold", {"gate": "g"})))
        await up.until(lambda s: len(s.executions) == 2)
        await up.stop()
        await up.start()
        lost = await held
        assert (lost.code, lost.execution) == ("UNAVAILABLE", "unknown")
        assert len(up.executions) == 2


@pytest.mark.covers("B-13")
@both_eras
async def test_requests_carry_the_headers_of_their_era_and_nothing_of_the_callers(era: Any):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        request = engine_pb2.CallRequest(
            message_json=message("tools/call", {"name": "echo", "arguments": {"text": "x"}})
        )
        metadata = (("authorization", "Bearer callers"), ("x-mine", "1"), ("cookie", "a=b"), ("x-request-id", "req-7"))
        await sidecar.engine.Call(request, timeout=SECONDS, metadata=metadata)
        received = up.requests[-1]
        modern = {"mcp-method", "mcp-name"} if era == "modern" else {"mcp-session-id"}
        assert set(received.headers) == modern | {
            "host", "content-type", "content-length", "accept", "mcp-protocol-version", "x-request-id",
        }  # fmt: skip
        assert received.headers["x-request-id"] == "req-7"
        assert up.violations == []


@pytest.mark.covers("B-14")
@both_eras
async def test_callers_with_equal_ids_and_tokens_never_hear_of_each_other(era: Any):
    async with FakeServer(era, answers="sse") as up, Sidecar({"up": up.url}) as sidecar:

        async def ask(steps: int) -> tuple[int, str]:
            got = [event async for event in events(sidecar, "progress", {"steps": steps}, progressToken="same")]
            assert {event["params"]["progressToken"] for event in got[:-1]} == {"same"}
            return len(got) - 1, got[-1]["result"]["content"][0]["text"]

        answers = await asyncio.gather(*(ask(steps) for steps in range(1, 13)))
        assert answers == [(steps, f"{steps} steps") for steps in range(1, 13)]
        calls = [received for received in up.requests if received.tool]
        assert len({call.id for call in calls}) == len({call.meta["progressToken"] for call in calls}) == 12
        assert "mine" not in {call.id for call in calls} and "same" not in {
            call.meta["progressToken"] for call in calls
        }
        assert up.violations == []


INTERNAL = ("html200", "truncated_json", "endless_body", "oversized", "oversized_event", "endless_sse_line", "wrong_id",
            "missing_id", "result_and_error", "not_jsonrpc", "batch_array", "batch_event", "bad_sse", "garbage",
            "huge_headers", "1xx_storm", "status_500", "status_307")  # fmt: skip
UNAVAILABLE = ("truncated_body", "closes_before_reply", "closes_mid_sse", "ends_without_final", "reset",
               "reset_mid_sse", "status_503", "status_401")  # fmt: skip
PATIENCE = ("endless_sse_comments", "endless_progress", "never_answers", "slow_drip")
LEAKS = (
    "Welcome",
    "secret",
    "Traceback",
    "rude",
    "somebody",
    "xxxx",
    "elsewhere",
    "resource_metadata",
    "filler",
    "127.",
)


@pytest.mark.covers("B-15", "B-22", "B-23")
@both_eras
async def test_every_rude_answer_fails_its_call_once_and_says_no_word_of_the_servers(era: Any):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        assert await tool(sidecar, "echo", {"text": "before"}) == "before"
        for rudeness in (*INTERNAL, *UNAVAILABLE, *PATIENCE):
            up.next_reply(rudeness, times=2 if rudeness == "status_401" else 1)
            before = len(up.executions)
            timeout = 0.12 if rudeness in PATIENCE else SECONDS
            refused = await failure(tool(sidecar, "echo", {"text": "hi"}, timeout=timeout))
            code = (
                "DEADLINE_EXCEEDED" if rudeness in PATIENCE else "INTERNAL" if rudeness in INTERNAL else "UNAVAILABLE"
            )
            assert (rudeness, refused.code) == (rudeness, code)
            assert not [leak for leak in LEAKS if leak in refused.message], rudeness
            never_ran = rudeness in ("status_307", "status_401")
            if rudeness not in PATIENCE:  # there the client's own deadline may win
                assert (rudeness, refused.execution) == (rudeness, "none" if never_ran else "unknown")
            assert len(up.executions) - before == (0 if rudeness.startswith("status_") else 1), rudeness
        assert await tool(sidecar, "echo", {"text": "after"}) == "after"
    assert {*INTERNAL, *UNAVAILABLE, *PATIENCE} <= set(RUDE)


@pytest.mark.covers("B-16")
@both_eras
async def test_redirects_are_not_followed(era: Any):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        await tool(sidecar, "echo", {"text": "hi"})
        up.next_reply("status_307")
        refused = await failure(tool(sidecar, "echo", {"text": "hi"}))
        assert (refused.code, refused.execution) == ("INTERNAL", "none")
        assert {received.http.target for received in up.requests} == {"/mcp"}
        assert up.count("tools/call") == 2


@pytest.mark.covers("B-17")
async def test_an_old_server_looks_like_a_new_one():
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}) as sidecar:
        listed = (await call(sidecar, "tools/list"))["result"]
        assert (listed["resultType"], listed["ttlMs"], listed["cacheScope"]) == ("complete", 0, "private")
        assert listed["_meta"][META + "serverInfo"] == {"name": "fake", "version": "1.0.0"}
        called = (await call(sidecar, "tools/call", {"name": "echo", "arguments": {"text": "hi"}}))["result"]
        assert called["resultType"] == "complete" and "ttlMs" not in called
        found = (await call(sidecar, "server/discover"))["result"]
        assert found["supportedVersions"] == ["2026-07-28"] and found["instructions"] == "A fake."
        assert found["capabilities"]["tools"] == {"listChanged": True}
        missing = await call(sidecar, "resources/read", {"uri": "fake://nowhere"})
        assert missing["error"]["code"] == -32602
        assert up.count("server/discover") == 1  # the probe; the client's is answered from `initialize`
        assert (await call(sidecar, "ping"))["error"]["code"] == -32601
        assert up.violations == []


async def test_a_bearer_token_is_sent_and_a_new_one_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watched, "_LOOK_EVERY", 0.0)
    (file := tmp_path / "token").write_text("one")
    async with FakeServer("legacy", authorization=True) as up:
        settings = UpstreamSettings(name="up", url=up.url, auth=UpstreamAuthSettings(bearer_file=str(file)))
        async with Sidecar({"up": settings}) as sidecar:
            await tool(sidecar, "echo", {"text": "hi"})
            first = up.requests[-1]
            file.write_text("number two")
            await tool(sidecar, "echo", {"text": "hi"})
            second = up.requests[-1]
        assert (first.headers["authorization"], second.headers["authorization"]) == ("Bearer one", "Bearer number two")
        assert first.headers["mcp-session-id"] == second.headers["mcp-session-id"]
        assert up.count("server/discover") == up.count("initialize") == 1
        assert up.sessions == {}
        (deleted,) = [received for received in up.requests if received.method == "DELETE"]
        assert deleted.headers["authorization"] == "Bearer number two"


async def test_an_answer_of_another_kind_of_server_is_no_crash():
    async with Canned(200, error(-32601)) as up, Sidecar({"up": up.url}) as sidecar:
        refused = await failure(tool(sidecar, "echo", {"text": "hi"}))
        assert (refused.code, refused.execution) in {("UNAVAILABLE", "none"), ("INTERNAL", "none")}
        assert "secret" not in refused.message
