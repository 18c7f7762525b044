"""A 2025-era server looks like a modern one: `engine.downgrade` by itself, and played through `engine.bridge`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_sidecar.call import Call
from mcp_sidecar.engine import downgrade
from mcp_sidecar.errors import Execution, UpstreamProtocolError
from mcp_sidecar.protocol.handshake import ServerProfile
from mcp_sidecar.protocol.jsonrpc import Request, Response
from tests.engine.engines import Heard, bench, request, text_of, tool
from tests.support.fake_server import FakeServer

SERVER = "io.modelcontextprotocol/serverInfo"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
LEVEL = "io.modelcontextprotocol/logLevel"
PROFILE = ServerProfile(
    "2025-11-25", b'{"tools":{"listChanged":true},"logging":{},"tasks":{}}', b'{"name":"old"}', b'"Hi."'
)


def shown(method: str, result: bytes, profile: ServerProfile = PROFILE) -> bytes:
    found = downgrade.response(Request(method, b"1"), Response(b"1", result), profile)
    assert found.result is not None
    return found.result


def test_a_request_loses_what_only_the_modern_era_knows_and_keeps_the_rest():
    sent = request("tools/call", {"progressToken": 1.0, LEVEL: "info", "com.example/x": 1}, name="echo", odd=1.50)
    legacy = downgrade.request(sent)
    assert set(legacy.meta) == {"progressToken", "com.example/x"}
    assert (legacy.method, legacy.id, legacy.params) == (sent.method, sent.id, sent.params)
    assert LEVEL in sent.meta


@pytest.mark.covers("B-51")
def test_only_capabilities_that_can_be_kept_are_declared_and_they_tell_sessions_apart():
    assert downgrade.capabilities(Request("x")) == b"{}"
    kept = downgrade.capabilities(
        request("x", {CAPABILITIES: {"roots": {}, "sampling": {"tools": {}}, "extensions": {}}})
    )
    assert json.loads(kept) == {"roots": {}, "sampling": {"tools": {}}}


@pytest.mark.covers("B-17")
@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/list", "resources/read"])
def test_a_cacheable_result_says_that_it_is_not_to_be_kept(method: str):
    result = json.loads(shown(method, b'{"x":1}'))
    assert result == {
        "x": 1,
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {SERVER: {"name": "old"}},
    } | ({"tools": []} if method == "tools/list" else {})


@pytest.mark.covers("B-02", "B-17")
def test_values_of_a_result_are_untouched_and_its_own_meta_stays():
    result = shown("tools/call", rb'{ "content" : [ {"n":1.0, "s":"\/"} ],"_meta":{"b":1e2},"zzz":[10e0] }')
    assert result == (
        rb'{"content":[ {"n":1.0, "s":"\/"} ],"_meta":{"b":1e2,"io.modelcontextprotocol/serverInfo":{"name":"old"}},'
        rb'"zzz":[10e0],"resultType":"complete"}'
    )


def test_a_server_cannot_claim_to_be_another():
    result = json.loads(
        shown("tools/call", b'{"resultType":"input_required","_meta":{"%b":{"name":"x"}}}' % SERVER.encode())
    )
    assert result["resultType"] == "complete"
    assert result["_meta"][SERVER] == {"name": "old"}


@pytest.mark.parametrize(
    ("tools", "kept"),
    [
        (b'[{"name":"a","execution":{"taskSupport":"required"},"n":1.0}]', b'[{"name":"a","n":1.0}]'),
        (b'[ {"name":"a"} ]', b'[ {"name":"a"} ]'),
        (
            b'[{"name":"a","description":"the \\"execution\\" of it"}]',
            b'[{"name":"a","description":"the \\"execution\\" of it"}]',
        ),
        (b'[{"name":"execution"}]', b'[{"name":"execution"}]'),
        (b'["execution"]', b'["execution"]'),
    ],
)
def test_task_support_of_tools_is_left_out(tools: bytes, kept: bytes):
    assert b'"tools":' + kept in shown("tools/list", b'{"tools":%b}' % tools)
    assert b'"tools":' + tools in shown("prompts/list", b'{"tools":%b}' % tools)


@pytest.mark.covers("B-15", "B-22")
@pytest.mark.parametrize("result", [b"null", b"[]", b"1", b'{"a":1,"a":2}', b'{"_meta":1}', b'{"_meta":{"a":1,"a":1}}'])
def test_a_result_that_is_none_is_the_servers_fault_and_has_run(result: bytes):
    with pytest.raises(UpstreamProtocolError) as failure:
        shown("tools/call", result)
    assert failure.value.execution is Execution.DONE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (b'{"code":-32002,"message":"gone","data":{"uri":"x","n":1.0}}', -32602),
        (b'{"code":-32601,"message":"no"}', -32601),
        (b'{"code":7,"message":"odd","data":1.50}', 7),
    ],
)
def test_only_the_code_for_missing_resources_is_translated(error: bytes, code: int):
    found = downgrade.response(Request("resources/read"), Response(b"1", error=error), PROFILE)
    assert found.error == error.replace(b"-32002", b"%d" % code)


def test_an_error_that_cannot_be_read_passes_and_an_ambiguous_one_does_not():
    odd = Response(b"1", error=b'"just text"')
    assert downgrade.response(Request("x"), odd, PROFILE).error == b'"just text"'
    twice = Response(b"1", error=b'{"code":-32002,"message":"a","message":"b"}')
    with pytest.raises(UpstreamProtocolError):
        downgrade.response(Request("x"), twice, PROFILE)


@pytest.mark.covers("B-17")
def test_a_discovery_is_told_from_what_the_server_said_to_initialize():
    said = json.loads(downgrade.discover_result(PROFILE))
    assert said == {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {"listChanged": True}, "logging": {}},
        "ttlMs": 0,
        "cacheScope": "private",
        "instructions": "Hi.",
        "_meta": {SERVER: {"name": "old"}},
    }
    bare = json.loads(downgrade.discover_result(ServerProfile("2025-11-25")))
    assert "instructions" not in bare and "_meta" not in bare and bare["capabilities"] == {}


@pytest.mark.parametrize(
    ("capability", "detail", "offered"),
    [
        ("tools", "", True),
        ("tools", "listChanged", True),
        ("tools", "subscribe", False),
        ("logging", "", True),
        ("logging", "x", False),
        ("prompts", "", False),
        ("odd", "x", False),
    ],
)
def test_what_a_server_offers_is_what_it_declared(capability: str, detail: str, offered: bool):
    profile = ServerProfile("2025-11-25", PROFILE.capabilities[:-1] + b',"odd":[]}')
    assert downgrade.offers(profile, capability, detail) is offered
    assert not downgrade.offers(ServerProfile("2025-11-25", b"[]"), capability, detail)


@pytest.mark.covers("B-04")
async def test_log_messages_reach_the_caller_from_the_level_it_asked_for():
    log = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1.0}}'
    for level, passes in (("debug", 1), ("info", 1), ("warning", 0), ("", 0)):
        heard = Heard()
        logs = downgrade.Audience(heard, tool("progress", {LEVEL: level}), Call("", ""))
        await logs.notify("notifications/message", log)
        await logs.notify("notifications/progress", b'{"jsonrpc":"2.0","method":"notifications/progress"}')
        assert [message["method"] for message in heard.messages].count("notifications/message") == passes
        assert heard.messages[-1]["method"] == "notifications/progress"


@pytest.mark.covers("B-17")
@pytest.mark.parametrize("sessions", [True, False])
async def test_every_method_of_a_modern_client_works_on_a_legacy_server(sessions: bool):
    async with FakeServer("legacy", sessions=sessions) as up, bench({"up": up.url}) as over:
        discovered = await over.result(request("server/discover"))
        assert discovered["capabilities"]["resources"] == {"subscribe": True, "listChanged": True}
        assert discovered["_meta"][SERVER]["name"] == "fake"
        for asked, key in (
            (request("tools/list"), "tools"),
            (request("prompts/list"), "prompts"),
            (request("prompts/get", name="greet", arguments={"who": "x"}), "messages"),
            (request("resources/list"), "resources"),
            (request("resources/templates/list"), "resourceTemplates"),
            (request("resources/read", uri="fake://greeting"), "contents"),
            (request("completion/complete", ref={}, argument={"name": "a", "value": "al"}), "completion"),
            (tool("add", a=1, b=2), "content"),
        ):
            result = await over.result(asked)
            assert key in result and result["resultType"] == "complete"
            assert result["_meta"][SERVER]["name"] == "fake"
        assert up.count("initialize") == 1
        assert up.violations == []


@pytest.mark.covers("B-17")
@pytest.mark.parametrize("method", ["ping", "initialize", "logging/setLevel", "resources/subscribe", "com.example/x"])
async def test_methods_the_modern_era_has_not_do_not_exist(method: str):
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        answer = await over.run(request(method, id="mine", level="debug", uri="x"))
        assert answer.id == b'"mine"'
        assert json.loads(answer.error or b"")["code"] == -32601
        assert up.count(method) == (1 if method == "initialize" else 0)


async def test_a_missing_resource_has_the_modern_code():
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        answer = await over.run(request("resources/read", uri="fake://nowhere"))
        assert json.loads(answer.error or b"") == {
            "code": -32602,
            "message": "Resource not found",
            "data": {"uri": "fake://nowhere"},
        }


@pytest.mark.parametrize("asking", ["ask_sampling", "ask_elicitation", "ask_roots"])
async def test_a_server_that_asks_the_client_is_refused_and_the_call_ends(asking: str):
    async with FakeServer("legacy") as up, bench({"up": up.url}) as over:
        await over.run(tool(asking), heard=Heard())
        assert up.answers[-1]["error"]["code"] == -32601
        assert text_of(await over.result(tool("ask_ping"))) == "ping: {}"
        assert up.violations == []


@pytest.mark.covers("B-04", "B-14")
@pytest.mark.parametrize("answers", ["json", "sse"])
async def test_logs_are_asked_for_once_per_session_and_only_for_those_who_want_them(answers: Any):
    async with FakeServer("legacy", answers) as up, bench({"up": up.url}) as over:
        loud, quiet, deaf = Heard(), Heard(), Heard()
        await over.run(tool("progress", steps=2), heard=deaf)
        await over.run(tool("progress", {LEVEL: "info"}, steps=2), heard=loud)
        await over.run(tool("progress", {LEVEL: "error"}, steps=2), heard=quiet)
        await over.run(tool("progress", {LEVEL: "no such level"}, steps=1))
        assert [message["method"] for message in loud.messages] == ["notifications/message"] * 2
        assert quiet.messages == deaf.messages == []
        assert up.count("logging/setLevel") == 1


@pytest.mark.covers("B-11")
async def test_a_session_the_server_forgot_is_begun_anew_and_the_call_runs_once():
    async with FakeServer("legacy") as up, bench({"up": up.url}, attempts=1) as over:
        for count in range(1, 4):
            assert text_of(await over.result(tool("add", a=1, b=count))) == str(1 + count)
            assert len(up.executions) == up.count("initialize") == count
            up.forget_sessions()
        assert up.violations == []


@pytest.mark.covers("B-73")
@pytest.mark.parametrize("data", [b"[]", b'{"elicitations":3}', b'{"elicitations":[3]}', b'{"elicitations":{}}'])
def test_pages_to_visit_that_cannot_be_read_are_the_servers_fault(data: bytes):
    error = b'{"code":-32042,"message":"m","data":%b}' % data
    with pytest.raises(UpstreamProtocolError):
        downgrade.response(Request("tools/call", b"1"), Response(b"1", error=error), PROFILE)
