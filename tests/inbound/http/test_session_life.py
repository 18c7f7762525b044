"""Whose a session is and when it ends."""

from __future__ import annotations

import pytest

from mcp_sidecar.settings import AuthSettings, HttpSettings
from tests.inbound.http.conversing import initialize
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_http import JSON_AND_EVENTS
from tests.support.raw_mcp import Legacy
from tests.support.sidecar import Sidecar


@pytest.mark.covers("B-83")
async def test_a_session_is_needed_known_and_ended_once():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"))
        reply = await client.request("tools/list")
        assert (reply.status, reply.messages[0]["error"]["code"]) == (400, -32600)
        await client.initialize()
        assert (await client.request("tools/list")).status == 200
        closed = await client.close()
        assert closed is not None
        assert (closed.status, closed.body) == (204, b"")
        for again in (await client.request("tools/list"), await client.notify("notifications/x"), await client.close()):
            assert again is not None
            assert (again.status, again.messages[0]["error"]["code"]) == (404, -32602)
        client.session = "invented"
        assert (await client.request("tools/list")).status == 404


@pytest.mark.covers("B-83")
async def test_a_session_belongs_to_the_path_it_began_on():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        client.url = sidecar.url()
        assert (await client.request("tools/list")).status == 404


@pytest.mark.covers("B-33", "B-83")
async def test_a_session_belongs_to_the_caller_it_began_with(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("ann token-of-ann\nbob token-of-bob\n")
    auth = AuthSettings(mode="token", token_file=str(tokens))
    async with FakeServer() as up, Sidecar({"up": up.url}, auth=auth) as sidecar:
        ann, bob = ({**JSON_AND_EVENTS, "Authorization": f"Bearer token-of-{name}"} for name in ("ann", "bob"))
        assert (await raw_http.post(sidecar.url("up"), initialize())).status == 401
        reply = await raw_http.post(sidecar.url("up"), initialize(), ann)
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        session = {"Mcp-Session-Id": reply.headers["mcp-session-id"]}
        for headers, status in ((ann, 200), (bob, 404), (JSON_AND_EVENTS, 401), (ann, 200)):
            assert (await raw_http.post(sidecar.url("up"), ping, {**headers, **session})).status == status
        for verb in ("GET", "DELETE"):
            reply = await raw_http.request(verb, sidecar.url("up"), b"", {**bob, **session})
            assert reply.status == 404
        assert [line["subject"] for line in sidecar.calls(method="initialize", code="OK")] == ["ann"]


@pytest.mark.covers("B-83", "B-144")
async def test_a_session_not_used_for_long_is_over():
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}, http=HttpSettings(session_idle=0.2)) as sidecar:
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        await client.call("echo", {"text": "hi"})
        assert up.count("initialize") == len(up.sessions) == 1  # the server was asked what it is in the client's own
        await up.until(lambda up: not up.sessions)
        assert (await client.request("tools/list")).status == 404


@pytest.mark.covers("B-83")
async def test_a_call_keeps_its_session_alive():
    async with FakeServer() as up, Sidecar({"up": up.url}, http=HttpSettings(session_idle=0.05)) as sidecar:
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        reply = await client.call("slow", {"seconds": 0.3, "text": "late"})
        assert reply.messages[-1]["result"]["content"][0]["text"] == "late"


@pytest.mark.covers("B-83")
async def test_when_there_are_too_many_the_one_unused_for_longest_goes_unless_it_is_in_use():
    async with FakeServer() as up, Sidecar({"up": up.url}, http=HttpSettings(max_sessions=2)) as sidecar:
        busy, idle, third = (Legacy(sidecar.url("up")) for _ in range(3))
        await busy.initialize()
        async with busy.opened(
            "tools/call", {"name": "hold", "arguments": {"gate": "g"}, "_meta": {"progressToken": 1}}
        ):
            await up.until(lambda up: up.executions)
            await idle.initialize()
            await third.initialize()
            assert (await idle.request("ping")).status == 404
            assert (await busy.request("ping")).status == 200
            async with third.listening():
                reply = await raw_http.post(sidecar.url("up"), initialize())
                assert reply.status == 503
                assert int(reply.headers["retry-after"]) >= 1
            up.release("g")


@pytest.mark.covers("B-83")
async def test_operators_see_how_many_sessions_there_are():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:

        async def shown() -> bytes:
            return (await raw_http.request("GET", f"http://{sidecar.address('metrics')}/metrics", b"", {})).body

        assert b"\nmcp_sidecar_sessions 0" in await shown()
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        assert b"\nmcp_sidecar_sessions 1" in await shown()
        await client.close()
        assert b"\nmcp_sidecar_sessions 0" in await shown()
