"""Which era a server is found to speak, from every kind of answer, and how long that is believed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_sidecar.directory import configured
from mcp_sidecar.errors import Execution, SidecarError, UpstreamUnavailable
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound import http_probe, probe
from mcp_sidecar.outbound.credentials import Credential
from mcp_sidecar.outbound.probe import Ask, Prober, Verdict
from mcp_sidecar.outbound.ways import Ways
from mcp_sidecar.protocol.eras import Era
from mcp_sidecar.settings import UpstreamSettings
from tests.outbound.canned import Canned, answer, error
from tests.outbound.links import NOBODY, SECONDS, Clients, endpoint_of, family, showing
from tests.support.fake_server import FakeServer
from tests.support.fake_wire import event

DISCOVERED = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "instructions": "x"}


def unsupported(*versions: str) -> dict[str, Any]:
    return answer(error={"code": -32022, "message": "no", "data": {"supported": versions, "requested": "2026-07-28"}})


@asynccontextmanager
async def prober() -> AsyncIterator[Prober]:
    async with family() as tasks:
        yield Prober(tasks)


def asked(url: str, credential: Credential = NOBODY, clients: Clients | None = None) -> Ask:
    """What a prober asks a server with."""
    return lambda: http_probe.ask((clients or Clients(url))(), endpoint_of(url), credential)


async def verdict_on(url: str) -> Verdict:
    async with prober() as asking:
        return await asking.verdict(endpoint_of(url), NOBODY, asked(url))


@pytest.mark.covers("B-10")
async def test_a_modern_server_is_found_with_one_discover_and_nothing_else():
    async with FakeServer("modern") as server:
        verdict = await verdict_on(server.url)
        assert [received.rpc for received in server.requests] == ["server/discover"]
        assert server.violations == []
    assert verdict.era is Era.MODERN
    assert verdict.profile.version == "2026-07-28"
    assert verdict.profile.title == ("fake", "1.0.0")
    assert verdict.profile.instructions == b'"A fake."'
    assert verdict.until == float("inf")


@pytest.mark.covers("B-10")
@pytest.mark.parametrize("sessions", [True, False])
async def test_a_legacy_server_is_found_without_running_a_tool_or_opening_a_session(sessions: bool):
    async with FakeServer("legacy", sessions=sessions) as server:
        verdict = await verdict_on(server.url)
        assert [received.rpc for received in server.requests] == ["server/discover"]
        assert server.executions == []
        assert "mcp-session-id" not in server.requests[0].headers
    assert verdict.era is Era.LEGACY


async def test_a_server_of_both_eras_is_spoken_to_in_the_modern_one():
    async with FakeServer("dual") as server:
        assert (await verdict_on(server.url)).era is Era.MODERN


async def test_an_answer_on_a_stream_counts_like_one_in_json():
    async with FakeServer("modern", answers="sse") as server:
        assert (await verdict_on(server.url)).era is Era.MODERN


@pytest.mark.covers("B-10")
@pytest.mark.parametrize(
    ("status", "body", "era"),
    [
        pytest.param(200, answer(result=DISCOVERED), Era.MODERN, id="discovered"),
        pytest.param(
            200, answer(result={**DISCOVERED, "supportedVersions": ["2025-11-25"]}), Era.LEGACY, id="old only"
        ),
        pytest.param(200, answer(result={**DISCOVERED, "supportedVersions": ["2031-01-01"]}), Era.LEGACY, id="future"),
        pytest.param(200, error(-32601), Era.LEGACY, id="unknown method"),
        pytest.param(200, error(-32602), Era.LEGACY, id="invalid params"),
        pytest.param(200, error(-32020), Era.MODERN, id="200 header mismatch"),
        pytest.param(200, b"{", Era.LEGACY, id="no JSON"),
        pytest.param(400, error(-32600, id="server-error"), Era.LEGACY, id="no session"),
        pytest.param(400, error(-32602), Era.LEGACY, id="validation error"),
        pytest.param(400, error(-32000, id=None), Era.LEGACY, id="bad request"),
        pytest.param(400, error(-32020), Era.MODERN, id="header mismatch"),
        pytest.param(400, error(-32021), Era.MODERN, id="missing capability"),
        pytest.param(400, error(-32022), Era.LEGACY, id="no version named"),
        pytest.param(400, unsupported("2031-01-01"), Era.LEGACY, id="no shared version"),
        pytest.param(400, unsupported("2031-01-01", "2026-07-28"), Era.MODERN, id="a shared version"),
        pytest.param(400, b"nonsense", Era.LEGACY, id="400 without JSON"),
        pytest.param(404, error(-32601), Era.MODERN, id="404 unknown method"),
        pytest.param(404, error(-32600), Era.LEGACY, id="404 session"),
        pytest.param(404, b"<html>", Era.LEGACY, id="404 without JSON"),
        pytest.param(405, b"", Era.LEGACY, id="405"),
        pytest.param(406, b"", Era.LEGACY, id="406"),
        pytest.param(415, b"", Era.LEGACY, id="415"),
        pytest.param(307, b"", Era.LEGACY, id="redirect"),
        pytest.param(202, b"", Era.LEGACY, id="accepted"),
    ],
)
async def test_the_answer_tells_the_era(status: int, body: Any, era: Era):
    async with Canned(status, body) as server:
        verdict = await verdict_on(server.url)
        assert verdict.era is era
        assert [request.method for request in server.requests].count("POST") == 1


@pytest.mark.parametrize("kind", ["text/html", "", "text/plain"])
async def test_what_is_neither_json_nor_a_stream_is_not_modern(kind: str):
    async with Canned(200, b"<html>welcome</html>", kind) as server:
        assert (await verdict_on(server.url)).era is Era.LEGACY


async def test_a_stream_that_ends_without_an_answer_is_not_modern():
    async with Canned(200, b": nothing\n\n", "text/event-stream") as server:
        assert (await verdict_on(server.url)).era is Era.LEGACY


async def test_an_answer_after_a_priming_event_is_found():
    body = event(event_id="s-1") + event(answer(result=DISCOVERED))
    async with Canned(200, body, "text/event-stream") as server:
        assert (await verdict_on(server.url)).era is Era.MODERN


@pytest.mark.covers("B-10")
@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("body", [b"secret-words", error(-32600)])
async def test_a_refusal_to_answer_is_no_evidence_and_is_not_remembered(status: int, body: Any):
    async with Canned(status, body) as server, prober() as asking:
        endpoint = endpoint_of(server.url)
        for turn in (1, 2):
            with pytest.raises(SidecarError) as caught:
                await asking.verdict(endpoint, NOBODY, asked(server.url))
            assert caught.value.execution is Execution.NONE
            assert "secret" not in str(caught.value)
            assert asking.known(endpoint, NOBODY) is None
            assert len(server.requests) == turn


@pytest.mark.parametrize("result", [{}, {"capabilities": {}}, {"supportedVersions": "2026-07-28"}])
async def test_a_result_that_names_no_versions_is_not_modern(result: dict[str, Any]):
    async with Canned(200, answer(result=result)) as server:
        assert (await verdict_on(server.url)).era is Era.LEGACY


@pytest.mark.parametrize("rudeness", ["closes_before_reply", "reset", "garbage", "1xx_storm", "huge_headers"])
async def test_a_broken_connection_is_no_evidence(rudeness: str):
    async with FakeServer("modern", script={"server/discover": rudeness}) as server, prober() as asking:
        with pytest.raises(SidecarError) as caught:
            await asking.verdict(endpoint_of(server.url), NOBODY, asked(server.url))
        assert caught.value.execution is Execution.NONE
        assert asking.known(endpoint_of(server.url), NOBODY) is None


async def test_a_server_that_is_not_there_is_unavailable():
    async with FakeServer() as server:
        await server.stop()
        with pytest.raises(UpstreamUnavailable):
            await verdict_on(server.url)


async def test_silence_is_no_evidence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_probe, "PROBE_SECONDS", 0.02)
    async with FakeServer("modern", script={"server/discover": "never_answers"}) as server, prober() as asking:
        with pytest.raises(UpstreamUnavailable, match="did not say"):
            await asking.verdict(endpoint_of(server.url), NOBODY, asked(server.url))
        assert asking.known(endpoint_of(server.url), NOBODY) is None


@pytest.mark.covers("B-10")
async def test_many_callers_at_once_share_one_probe_and_its_client_is_closed():
    async with FakeServer("modern") as server, prober() as asking:
        clients = Clients(server.url)
        verdicts = await asyncio.gather(
            *(asking.verdict(endpoint_of(server.url), NOBODY, asked(server.url, clients=clients)) for _ in range(50))
        )
        assert len({id(verdict) for verdict in verdicts}) == 1
        assert server.count("server/discover") == 1
        assert [client.open_sockets for client in clients.made] == [0]


async def test_a_caller_that_gives_up_does_not_spoil_the_probe_for_the_others():
    release = asyncio.Event()
    async with Canned(200, answer(result=DISCOVERED), wait=release) as server, asyncio.TaskGroup() as tasks:
        asking = Prober(tasks)
        endpoint = endpoint_of(server.url)
        waiting = [tasks.create_task(asking.verdict(endpoint, NOBODY, asked(server.url))) for _ in range(3)]
        async with asyncio.timeout(SECONDS):
            while not server.requests:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            waiting[0].cancel()
            await asyncio.sleep(0.005)
            release.set()
            verdicts = await asyncio.gather(*waiting[1:])
        assert [verdict.era for verdict in verdicts] == [Era.MODERN] * 2
        assert len(server.requests) == 1


@pytest.mark.covers("B-10")
async def test_verdicts_are_kept_by_endpoint_and_credential():
    async with FakeServer("modern", authorization=True) as server, prober() as asking:
        endpoint, other = endpoint_of(server.url), endpoint_of(server.url, "other")
        one, two = showing("a"), showing("b")
        for where, who in ((endpoint, one), (endpoint, two), (other, one), (endpoint, one), (other, one)):
            await asking.verdict(where, who, asked(server.url, who))
        assert [received.headers["authorization"] for received in server.requests] == [
            "Bearer a",
            "Bearer b",
            "Bearer a",
        ]
        asking.forget(endpoint)
        assert asking.known(endpoint, one) is asking.known(endpoint, two) is None
        assert asking.known(other, one) is not None


async def test_a_verdict_is_dated():
    async with FakeServer("legacy") as server:
        before = time.time()
        verdict = await verdict_on(server.url)
        assert before <= verdict.at <= time.time()
        assert 0 < verdict.until - time.monotonic() <= probe.LEGACY_VERDICT_SECONDS


@pytest.mark.covers("B-10")
async def test_an_old_legacy_verdict_is_asked_anew(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probe, "LEGACY_VERDICT_SECONDS", 0.0)
    async with FakeServer("legacy") as server, prober() as asking:
        endpoint = endpoint_of(server.url)
        assert (await asking.verdict(endpoint, NOBODY, asked(server.url))).era is Era.LEGACY
        assert asking.known(endpoint, NOBODY) is None
        server.era = "modern"
        assert (await asking.verdict(endpoint, NOBODY, asked(server.url))).era is Era.MODERN
        assert server.count("server/discover") == 2


@pytest.mark.parametrize(
    ("protocol", "era"),
    [("2026-07-28", Era.MODERN), ("2025-11-25", Era.LEGACY), ("2025-03-26", Era.LEGACY)],
)
async def test_a_configured_revision_is_believed_without_asking(protocol: str, era: Era):
    async with FakeServer("modern") as server, family() as tasks:
        upstream = configured(UpstreamSettings(name="up", url=server.url, protocol=protocol))
        way = Ways(tasks, Log(lambda _: None)).to(upstream, upstream.endpoints[0], NOBODY)
        verdict = await way.ask()
        assert (verdict.era, verdict.profile.version) == (era, protocol)
        assert server.connections == 0
