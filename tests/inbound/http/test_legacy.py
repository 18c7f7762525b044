"""Clients of the 2025 revisions at the HTTP face: how a session begins, goes on and ends, message by message."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_sidecar.settings import TimeoutSettings, UpstreamSettings
from tests.inbound.http.conversing import ERAS, initialize
from tests.inbound.http.posts import message, post
from tests.inbound.waiting import eventually
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_http import JSON_AND_EVENTS
from tests.support.raw_mcp import Legacy
from tests.support.sidecar import Sidecar

VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
ALL: dict[str, Any] = {"elicitation": {}, "sampling": {}, "roots": {}}
ASKING = {"id": 1, "method": "tools/call", "params": {"name": "ask_elicitation", "arguments": {}}}


def text(reply: raw_http.Reply) -> str:
    found: str = reply.messages[-1]["result"]["content"][0]["text"]
    return found


@pytest.mark.covers("B-80")
@ERAS
async def test_initialize_is_answered_with_what_the_server_says_of_itself(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        reply = await raw_http.post(sidecar.url("up"), initialize())
        result = reply.messages[0]["result"]
        assert (reply.status, reply.messages[0]["id"]) == (200, 1)
        assert result["serverInfo"] == {"name": "fake", "version": "1.0.0"}
        assert result["instructions"] == "A fake."
        assert result["capabilities"]["resources"] == {"subscribe": True, "listChanged": True}
        assert not {"tasks", "extensions"} & set(result["capabilities"])
        assert not {"resultType", "ttlMs", "cacheScope", "supportedVersions", "_meta"} & set(result)
        assert len(reply.headers["mcp-session-id"]) >= 22  # 128 bits, six a character
        assert reply.headers["mcp-sidecar-execution"] == "done"
        assert up.violations == []


@pytest.mark.covers("B-80")
@pytest.mark.parametrize(
    ("asked", "offered"),
    [
        *zip(VERSIONS, VERSIONS, strict=True),
        ("2026-07-28", VERSIONS[0]),
        ("1999-01-01", VERSIONS[0]),
        ("", VERSIONS[0]),
    ],
)
async def test_the_version_is_the_clients_or_the_latest_of_its_era(asked, offered):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        reply = await raw_http.post(sidecar.url("up"), initialize(protocolVersion=asked))
        assert reply.messages[0]["result"]["protocolVersion"] == offered


@pytest.mark.covers("B-80")
@pytest.mark.parametrize(
    "wrong",
    [
        {"protocolVersion": 1},
        {"capabilities": []},
        {"clientInfo": "me"},
        {"clientInfo": {"name": "x" * 20_000, "version": "1"}},
    ],
)
async def test_an_initialize_that_cannot_be_read_begins_nothing(wrong):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        reply = await raw_http.post(sidecar.url("up"), initialize(**wrong))
        assert (reply.status, reply.messages[0]["error"]["code"]) == (400, -32602)
        assert "mcp-session-id" not in reply.headers
        assert up.connections == 0


@pytest.mark.covers("B-80")
async def test_a_server_that_is_not_there_begins_nothing_either():
    async with FakeServer() as up:
        url = up.url
    async with Sidecar({"up": url, "other": url}) as sidecar:
        reply = await raw_http.post(sidecar.url("up"), initialize())
        assert (reply.status, reply.headers["mcp-sidecar-execution"]) == (502, "none")
        assert (await raw_http.post(sidecar.url("nobody"), initialize())).status == 404
        reply = await raw_http.post(sidecar.url(), initialize())
        assert reply.status == 502  # none of all


@pytest.mark.covers("B-81")
@ERAS
async def test_requests_are_answered_with_json_until_there_is_more_to_say(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        reply = await client.call("echo", {"text": "hi"})
        assert (reply.status, reply.headers["content-type"], text(reply)) == (200, "application/json", "hi")
        assert not {"resultType", "_meta"} & set(reply.messages[0]["result"])
        reply = await client.call("progress", {"steps": 3}, progressToken="p")
        assert reply.streamed
        *told, last = reply.messages
        assert [one["params"]["progress"] for one in told] == [1, 2, 3]
        assert {one["params"]["progressToken"] for one in told} == {"p"}
        assert last["result"]["content"][0]["text"] == "3 steps"
        assert up.violations == []


@pytest.mark.covers("B-82")
@ERAS
@pytest.mark.parametrize("version", VERSIONS)
async def test_what_the_server_asks_is_asked_on_the_stream_of_the_call(era, version):
    questions = {
        "ask_elicitation": ({"action": "accept", "content": {"name": "Bo"}}, "elicitation/create", "accept: Bo"),
        "ask_sampling": (
            {"role": "assistant", "model": "m", "content": {"type": "text", "text": "yes"}},
            "sampling/createMessage",
            "sampled: yes",
        ),
        "ask_roots": ({"roots": [{"uri": "file:///x"}]}, "roots/list", "roots: ['file:///x']"),
    }
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"), ALL, version)
        await client.initialize()
        for tool, (answer, method, said) in questions.items():
            async with asyncio.timeout(5), client.opened("tools/call", {"name": tool, "arguments": {}}) as stream:
                messages = stream.messages()
                question = await anext(messages)
                assert question["method"] == method
                assert (await client.answer(question["id"], answer)).status == 202
                last = await anext(messages)
                assert last["result"]["content"][0]["text"] == said
                assert [one async for one in messages] == []
        assert up.violations == []


@pytest.mark.covers("B-443")
async def test_the_other_questions_of_a_call_that_its_client_declines_are_taken_back():
    async with asyncio.timeout(10), FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"), ALL)
        await client.initialize()
        async with client.opened("tools/call", {"name": "ask_several", "arguments": {}}) as stream:
            messages = stream.messages()
            one, other = await anext(messages), await anext(messages)
            no = {"code": -1, "message": "the user said no"}
            await raw_http.post(client.url, {"jsonrpc": "2.0", "id": one["id"], "error": no}, client.headers)
            taken_back, last = [message async for message in messages]
            assert taken_back["method"] == "notifications/cancelled"
            assert taken_back["params"]["requestId"] == other["id"]
            assert last["error"] == no
        assert (await client.answer(other["id"], {})).status == 202
        assert (await client.call("echo", {"text": "hi"})).status == 200
        assert up.violations == []


@pytest.mark.covers("B-443")
@ERAS
async def test_a_question_of_a_call_that_takes_too_long_is_taken_back(era):
    async with asyncio.timeout(10), FakeServer(era) as up:
        upstream = UpstreamSettings(name="up", url=up.url, timeout=TimeoutSettings(call=0.5))
        async with Sidecar({"up": upstream}) as sidecar:
            client = Legacy(sidecar.url("up"), ALL)
            await client.initialize()
            async with client.opened("tools/call", {"name": "ask_elicitation", "arguments": {}}) as stream:
                question, taken_back, last = [message async for message in stream.messages()]
            assert taken_back["method"] == "notifications/cancelled"
            assert taken_back["params"]["requestId"] == question["id"]
            assert "the client did not answer in time" in last["error"]["message"]


@pytest.mark.covers("B-82")
@ERAS
async def test_two_sessions_with_equal_ids_get_their_own_questions_and_answers(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:

        async def one(name: str) -> None:
            client = Legacy(sidecar.url("up"), ALL)
            await client.initialize()
            async with client.opened("tools/call", {"name": "ask_elicitation", "arguments": {}}) as stream:
                messages = stream.messages()
                question = await anext(messages)
                await client.answer(question["id"], {"action": "accept", "content": {"name": name}})
                assert (await anext(messages))["result"]["content"][0]["text"] == f"accept: {name}"

        async with asyncio.timeout(20), asyncio.TaskGroup() as clients:
            for number in range(20):
                clients.create_task(one(f"n{number}"))
        assert up.violations == []


@pytest.mark.covers("B-82")
async def test_answers_nobody_waits_for_are_taken_and_dropped():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        for stray in (1, "x"):
            assert (await client.answer(stray, {})).status == 202


@pytest.mark.covers("B-82")
@ERAS
async def test_a_client_that_declared_nothing_is_asked_nothing(era):
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        if era == "modern":
            reply = await client.call("ask_elicitation")
            assert reply.status == 200
            assert "elicitation/create" in reply.messages[-1]["error"]["message"]
        else:
            await client.call("echo", {"text": "hi"})
            assert [one.capabilities for one in up.sessions.values()] == [{}]


@pytest.mark.covers("B-81")
async def test_a_ping_is_answered_here_and_notifications_are_taken():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        before = len(up.requests)
        reply = await client.request("ping")
        assert (reply.status, reply.messages[0]["result"]) == (200, {})
        for method in ("initialized", "roots/list_changed", "progress", "cancelled", "anything"):
            reply = await client.notify(f"notifications/{method}")
            assert (reply.status, reply.body) == (202, b"")
        assert len(up.requests) == before


@pytest.mark.covers("B-81")
@pytest.mark.parametrize("method", ["server/discover", "subscriptions/listen", "initialize"])
async def test_what_has_no_place_in_a_session_is_refused(method):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        before = len(up.requests)
        reply = await client.request(method, initialize()["params"])
        code = reply.messages[0]["error"]["code"]
        assert (reply.status, code) == ((400, -32600) if method == "initialize" else (200, -32601))
        assert len(up.requests) == before


@pytest.mark.covers("B-89")
async def test_the_version_of_a_session_is_repeated_or_left_out():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"), version="2025-06-18")
        await client.initialize()
        body = client.compose("ping")
        session = {**JSON_AND_EVENTS, "Mcp-Session-Id": client.session}
        assert (await raw_http.post(client.url, body, session)).status == 200
        for version, facts in (("2025-11-25", (400, -32600)), ("2026-07-28", (400, -32602))):
            reply = await raw_http.post(client.url, body, {**session, "MCP-Protocol-Version": version})
            assert (reply.status, reply.messages[0]["error"]["code"]) == facts


@pytest.mark.covers("B-89")
async def test_a_message_of_one_era_under_the_header_of_the_other_is_refused():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        for changes in ({"mcp_protocol_version": None}, {"mcp_protocol_version": "2025-11-25"}):
            answer = await post(sidecar.url("up"), message(), **changes)
            assert answer.facts == (400, -32020)
        assert up.connections == 0
        body = json.dumps(initialize()).encode()
        assert (await post(sidecar.url("up"), body)).facts == (400, -32602)  # no metadata of its era
        assert (await post(sidecar.url("up"), message("initialize", initialize()["params"]))).facts == (404, -32601)


@pytest.mark.covers("B-89")
@pytest.mark.parametrize("verb", ["HEAD", "PUT", "PATCH", "OPTIONS"])
async def test_other_verbs_are_405_and_told_what_is_allowed(verb):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        async with raw_http.opened(verb, sidecar.url("up")) as exchange:
            assert exchange.status == 405
            assert exchange.headers["allow"] == "GET, POST, DELETE"


@pytest.mark.covers("B-42", "B-43", "B-89")
async def test_what_is_around_a_message_is_judged_as_for_everybody():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        body = client.compose("ping")
        for changes, status in (
            ({"Accept": "application/json"}, 406),
            ({"Content-Type": "text/plain"}, 415),
            ({"Origin": "http://evil.example"}, 403),
            ({"Host": "evil.example"}, 403),
        ):
            assert (await raw_http.post(client.url, body, {**client.headers, **changes})).status == status
        reply = await raw_http.request("GET", client.url, b"", {**client.headers, "Accept": "application/json"})
        assert reply.status == 406
        assert (await raw_http.post(f"{client.url}/x", body, client.headers)).status == 404


@pytest.mark.covers("B-03", "B-89")
@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", -32700), (b"[]", -32600), (b"[{}]", -32600), (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600)],
)
async def test_a_message_of_doubtful_form_is_refused(body, code):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        reply = await raw_http.post(client.url, body, client.headers)
        assert (reply.status, reply.messages[0]["error"]["code"]) == (400, code)


@pytest.mark.covers("B-30", "B-35", "B-80")
async def test_every_request_has_one_line_with_its_method_and_id():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        client = Legacy(sidecar.url("up"))
        await client.initialize()
        body = client.compose("tools/call", {"name": "echo", "arguments": {"text": "hi"}})
        reply = await raw_http.post(client.url, body, {**client.headers, "X-Request-Id": "mine"})
        assert reply.headers["x-request-id"] == "mine"
        (line,) = sidecar.calls(request_id="mine")
        assert (line["method"], line["name"], line["server"], line["code"]) == ("tools/call", "echo", "up", "OK")
        await client.close()
        await eventually(lambda: len(sidecar.calls()) == 4)
        assert [line["method"] for line in sidecar.calls()] == [
            "initialize",
            "notifications/initialized",
            "tools/call",
            "session/end",
        ]
        assert client.session not in json.dumps(sidecar.lines)
