"""Tests of `mcp_sidecar.inbound.grpc.engine_service`: the unary and streaming RPCs, through a whole sidecar."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc.aio
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from mcp_sidecar.settings import TimeoutSettings, UpstreamSettings
from mcp_sidecar.v1 import engine_pb2 as pb
from mcp_sidecar.v1 import engine_pb2_grpc
from tests.inbound.grpc.asking import asked, details, failed, request, text_of, tool, trailers
from tests.inbound.grpc.kinds import SMALL_WINDOW, ended
from tests.inbound.waiting import eventually
from tests.support import fake_tools
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
META = "io.modelcontextprotocol/"
PREFIX = "/mcp_sidecar.v1.MCPEngine/"


@ERAS
async def test_a_call_is_answered_under_its_own_id_with_what_became_of_it(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar:
        answer = await sidecar.engine.Call(asked(tool("echo", id="q-1", text="hi"), server="up"), timeout=5)
        assert json.loads(answer.message_json)["id"] == "q-1"
        assert text_of(answer.message_json) == "hi"
        info = answer.info
        assert (info.server, info.execution, info.from_cache) == ("up", pb.EXECUTION_DONE, False)
        assert info.protocol_version == ("2026-07-28" if era == "modern" else "2025-11-25")
        assert info.connection_id
        assert up.violations == []
        line = sidecar.calls(rpc=PREFIX + "Call")[0]
        assert (line["method"], line["server"], line["name"], line["code"]) == ("tools/call", "up", "echo", "OK")


async def test_a_message_without_an_id_gets_one():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await sidecar.engine.Call(asked(tool("echo", id=None, text="hi")), timeout=5)
        assert text_of(answer.message_json) == "hi"
        assert "id" in json.loads(answer.message_json)


@pytest.mark.covers("B-04")
async def test_a_message_without_meta_gets_what_the_revision_requires_and_on_a_stream_asks_for_events():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        await sidecar.engine.Call(asked(tool("echo", text="hi")))
        meta = up.requests[-1].meta
        assert meta[META + "protocolVersion"] == "2026-07-28"
        assert meta[META + "clientCapabilities"] == {}
        assert meta[META + "clientInfo"]["name"]
        assert "progressToken" not in meta
        assert META + "logLevel" not in meta
        await ended(sidecar.engine.CallStream(asked(tool("echo", text="hi"))), "UnaryStream")
        assert up.requests[-1].meta["progressToken"] is not None
        assert up.requests[-1].meta[META + "logLevel"] == "info"


@pytest.mark.covers("B-04")
async def test_a_callers_own_meta_stays_and_asks_for_nothing_more():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        own = {"com.example/tenant": {"a": 1.50}, META + "clientInfo": {"name": "me", "version": "9"}}
        message = request("tools/call", name="progress", arguments={"steps": 2}, _meta=own)
        outcome = await ended(sidecar.engine.CallStream(asked(message)), "UnaryStream")
        meta = up.requests[-1].meta
        assert meta["com.example/tenant"] == {"a": 1.5}
        assert meta[META + "clientInfo"] == {"name": "me", "version": "9"}
        assert meta[META + "protocolVersion"] == "2026-07-28"
        assert "progressToken" not in meta
        assert len(outcome.messages) == 1
        assert up.violations == []


@pytest.mark.covers("B-04")
@ERAS
async def test_a_call_stream_delivers_notifications_in_order_and_then_one_response(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        outcome: Any = await ended(sidecar.engine.CallStream(asked(tool("progress", id=9, steps=3))), "UnaryStream")
        assert outcome.code == "OK"
        assert [event.WhichOneof("event") for event in outcome.messages] == ["notification_json"] * 6 + ["response"]
        told = [json.loads(event.notification_json) for event in outcome.messages[:-1]]
        progress = [one["params"]["progress"] for one in told if one["method"] == "notifications/progress"]
        assert progress == [1, 2, 3]
        assert {one["params"]["progressToken"] for one in told if "progress" in one["params"]} == {1}
        final = outcome.messages[-1].response
        assert json.loads(final.message_json)["id"] == 9
        assert final.info.execution == pb.EXECUTION_DONE


@pytest.mark.covers("B-04")
async def test_a_call_stream_delivers_a_notification_before_the_call_has_ended():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        stream: Any = sidecar.engine.CallStream(asked(tool("hold", gate="g", text="done")))
        assert json.loads((await stream.read()).notification_json)["params"]["message"] == "held"
        up.release("g")
        assert text_of((await stream.read()).response.message_json) == "done"
        assert await stream.read() is grpc.aio.EOF


@pytest.mark.covers("B-04")
async def test_a_unary_call_drops_notifications():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        own = {"progressToken": "mine"}
        message = request("tools/call", name="progress", arguments={"steps": 3}, _meta=own)
        answer = await sidecar.engine.Call(asked(message), timeout=5)
        assert text_of(answer.message_json) == "3 steps"


@pytest.mark.covers("B-01")
@ERAS
@pytest.mark.parametrize("code", [-32602, -32601, -32050, 7])
async def test_a_servers_error_is_a_message_on_calls_and_a_status_on_typed_ones(era: Any, code: int):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        message = tool("crash", id=3, code=code)
        answer = await sidecar.engine.Call(asked(message))
        error = json.loads(answer.message_json)
        assert (error["id"], error["error"]["code"]) == (3, code)
        assert error["error"]["data"] == {"tool": "crash"}
        stream: Any = await ended(sidecar.engine.CallStream(asked(message)), "UnaryStream")
        assert (stream.code, len(stream.messages)) == ("OK", 1)
        assert json.loads(stream.messages[0].response.message_json)["error"]["code"] == code
        arguments = json.dumps({"code": code}).encode()
        refused = await failed(sidecar.engine.CallTool(pb.CallToolRequest(tool="crash", arguments_json=arguments)))
        expected = {-32602: "INVALID_ARGUMENT", -32601: "NOT_FOUND"}.get(code, "INTERNAL")
        said = "the MCP server 'up' has no tool 'crash'" if code == -32601 else "the tool crashed"
        assert (refused.code().name, refused.details()) == (expected, said)
        assert trailers(refused)["mcp-sidecar-execution"] == "done"
        assert trailers(refused)["mcp-error-code"] == str(code)
        assert [line["code"] for line in sidecar.calls()] == ["OK", "OK", expected]
        assert "the tool crashed" not in repr(sidecar.calls())


@ERAS
async def test_a_tool_call_carries_arguments_and_meta_and_brings_the_whole_result(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        arguments = b'{"a": 1.50, "b": 2}'
        called = pb.CallToolRequest(server="up", tool="add", arguments_json=arguments, meta_json=b'{"x/y": [1]}')
        answer = await sidecar.engine.CallTool(called)
        result = json.loads(answer.result_json)
        assert (answer.is_error, result["structuredContent"]) == (False, {"sum": 3.5})
        assert arguments in up.requests[-1].body
        assert up.requests[-1].meta["x/y"] == [1]
        assert up.violations == []
        assert (await sidecar.engine.CallTool(pb.CallToolRequest(tool="fail"))).is_error


@pytest.mark.parametrize(
    ("called", "field"),
    [
        (pb.CallToolRequest(), "tool"),
        (pb.CallToolRequest(tool="echo", arguments_json=b"[1]"), ""),
        (pb.CallToolRequest(tool="echo", arguments_json=b"null"), ""),
        (pb.CallToolRequest(tool="echo", arguments_json=b'{"a": 1, "a": 2}'), "a"),
        (pb.CallToolRequest(tool="echo", arguments_json=b'{"a": '), ""),
        (pb.CallToolRequest(tool="echo", arguments_json=b'{"a": "\xff"}'), ""),
        (pb.CallToolRequest(tool="echo", arguments_json=b"[" * 100 + b"]" * 100), ""),
        (pb.CallToolRequest(tool="echo", meta_json=b"7"), ""),
        (pb.CallToolRequest(tool="echo", meta_json=b"{}{}"), ""),
    ],
)
async def test_arguments_and_meta_must_be_json_objects(called: pb.CallToolRequest, field: str):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        refused = await failed(sidecar.engine.CallTool(called, timeout=5))
        assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "batch" not in (refused.details() or "")
        if field:
            assert details(refused)[BadRequest].field_violations[0].field == field
        assert up.requests == []


@ERAS
async def test_tools_are_listed_over_all_pages_in_the_servers_order(era: Any):
    async with FakeServer(era=era, page=3) as up, Sidecar({"up": up.url}) as sidecar:
        listed = await sidecar.engine.ListTools(pb.ListToolsRequest(), timeout=5)
        names = [json.loads(one)["name"] for one in listed.tools_json]
        assert names == [one["name"] for one in up.catalogue.tools]
        assert listed.info.server == "up"
        assert len(sidecar.calls()) == 1
        assert up.violations == []


@pytest.mark.covers("B-08")
@pytest.mark.parametrize("rpc", ["Call", "CallStream"])
@pytest.mark.parametrize(("field", "wrong"), [("method", "tools/list"), ("name", "crash"), ("method", "TOOLS/CALL")])
async def test_a_mirror_that_differs_from_its_message_is_refused(rpc: str, field: str, wrong: str):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        right = asked(tool("echo", text="hi"), method="tools/call", name="echo")
        assert (await ended(sidecar.engine.Call(right), "UnaryUnary")).code == "OK"
        seen = len(up.requests)
        call: Any = getattr(sidecar.engine, rpc)(asked(tool("echo", text="hi"), **{field: wrong}))
        error = await failed(call if rpc == "Call" else call.read())
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert [one.field for one in details(error)[BadRequest].field_violations] == [field]
        assert len(up.requests) == seen


@pytest.mark.covers("B-09")
async def test_a_wrong_servers_name_is_refused_with_those_there_are():
    async with FakeServer() as one, FakeServer() as two, Sidecar({"one": one.url, "two": two.url}) as sidecar:
        unknown = await failed(sidecar.engine.ListTools(pb.ListToolsRequest(server="three"), timeout=5))
        assert (unknown.code().name, "one, two" in str(unknown.details())) == ("NOT_FOUND", True)
        assert details(unknown)[ErrorInfo].reason == "UNKNOWN_SERVER"
        assert details(unknown)[ErrorInfo].metadata["server"] == "three"
        await sidecar.engine.Call(asked(tool("echo", text="hi"), server="two"), timeout=5)
        assert (len(one.executions), len(two.executions)) == (0, 1)


@pytest.mark.covers("B-170", "B-172")
async def test_without_a_servers_name_all_of_them_are_meant():
    async with FakeServer() as one, FakeServer("legacy") as two, Sidecar({"one": one.url, "two": two.url}) as sidecar:
        answer = await sidecar.engine.ListTools(pb.ListToolsRequest(), timeout=5)
        names = [json.loads(listed)["name"] for listed in answer.tools_json]
        assert names[0] == "one__echo" and len(names) == 2 * len(fake_tools.ALL)
        called = await sidecar.engine.CallTool(
            pb.CallToolRequest(tool="two__echo", arguments_json=b'{"text":"hi"}'), timeout=5
        )
        assert (called.info.server, called.info.protocol_version) == ("two", "2025-11-25")
        refused = await failed(sidecar.engine.CallTool(pb.CallToolRequest(tool="two__ecko"), timeout=5))
        assert (refused.code().name, "'two__echo'" in str(refused.details())) == ("NOT_FOUND", True)
        await sidecar.engine.Call(asked(tool("one__echo", text="hi")), timeout=5)
        await eventually(lambda: sidecar.calls(name="one__echo"))
        assert sidecar.calls(name="one__echo")[0]["server"] == "one"
        assert one.violations == two.violations == []


@pytest.mark.covers("B-03")
@pytest.mark.parametrize(
    "message",
    [b"", b"null", b"[]", b"{", b'{"jsonrpc":"2.0"}', b'{"jsonrpc":"2.0","method":"notifications/progress"}', b"\xff"],
)
@pytest.mark.parametrize("rpc", ["Call", "CallStream"])
async def test_a_message_that_is_no_request_is_refused(rpc: str, message: bytes):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        call: Any = getattr(sidecar.engine, rpc)(asked(message))
        error = await failed(call if rpc == "Call" else call.read())
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert trailers(error)["mcp-sidecar-execution"] == "none"
        assert up.requests == []
        assert [line["code"] for line in sidecar.calls()] == ["INVALID_ARGUMENT"]


@pytest.mark.covers("B-20")
@ERAS
@pytest.mark.parametrize("rpc", ["Call", "CallStream", "CallTool", "ListTools"])
async def test_a_client_that_cancels_has_its_call_cancelled_upstream(rpc: str, era: Any):
    script = {"tools/list": "never_answers"}
    async with FakeServer(era=era, script=script) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        message: Any = {
            "CallTool": pb.CallToolRequest(tool="hold", arguments_json=b'{"gate": "g"}'),
            "ListTools": pb.ListToolsRequest(),
        }.get(rpc, asked(tool("hold", gate="g")))
        method = "tools/list" if rpc == "ListTools" else "tools/call"
        call: Any = getattr(sidecar.engine, rpc)(message)
        await up.until(lambda s: s.count(method))
        await up.until(lambda s: s.executions or rpc == "ListTools")
        call.cancel()
        await up.until(lambda s: s.cancelled)
        assert [one.method for one in up.cancelled] == [method]
        assert up.cancelled[0].how == ("closed" if era == "modern" else "notified")
        await eventually(sidecar.calls)
        line = sidecar.calls()[0]
        assert (line["code"], line["execution"]) == ("CANCELLED", "unknown")
        await sidecar.engine.Call(asked(tool("echo", text="still here")))


@pytest.mark.covers("B-20")
async def test_a_client_that_disconnects_has_its_calls_cancelled_upstream():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        calls: list[Any] = [sidecar.engine.Call(asked(tool("hold", gate="g"))) for _ in range(5)]
        await up.until(lambda s: len(s.executions) == 5)
        await sidecar.channel.close()
        await up.until(lambda s: len(s.cancelled) == 5)
        await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.covers("B-21", "B-22")
@ERAS
@pytest.mark.parametrize("whose", ["client", "upstream"])
async def test_a_call_ends_by_the_sooner_of_both_deadlines_and_says_that_it_may_have_run(whose: str, era: Any):
    async with FakeServer(era=era) as up:
        limit = TimeoutSettings(call=0.1 if whose == "upstream" else 60.0)
        async with Sidecar({"up": UpstreamSettings(name="up", url=up.url, timeout=limit)}) as sidecar:
            await sidecar.engine.Call(asked(request("tools/list")), timeout=5)  # the era is known from here on
            timeout = 10.0 if whose == "upstream" else 0.3
            late = await failed(sidecar.engine.Call(asked(tool("hold", gate="g")), timeout=timeout))
            assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            # The sidecar's own status, also at the client's deadline: it comes before the client gives up.
            assert trailers(late)["mcp-sidecar-execution"] == "unknown"
            assert details(late)[ErrorInfo].reason == "DEADLINE_EXCEEDED"
            await up.until(lambda s: s.cancelled)
            assert sidecar.calls()[-1]["code"] == "DEADLINE_EXCEEDED"


@pytest.mark.covers("B-22")
@pytest.mark.parametrize(
    ("rude", "code", "execution"),
    [
        ("closes_before_reply", "UNAVAILABLE", "unknown"),
        ("status_500", "INTERNAL", "unknown"),
        ("html200", "INTERNAL", "unknown"),
    ],
)
async def test_a_call_that_failed_after_it_was_sent_may_have_run(rude: str, code: str, execution: str):
    async with FakeServer(script={"tools/call": rude}) as up, Sidecar({"up": up.url}) as sidecar:
        error = await failed(sidecar.engine.Call(asked(tool("echo", text="hi")), timeout=5))
        assert (error.code().name, trailers(error)["mcp-sidecar-execution"]) == (code, execution)
        assert up.count("tools/call") == 1
        assert "secret" not in str(error.details())


@pytest.mark.covers("B-22")
async def test_a_call_to_a_server_that_is_not_there_has_not_run():
    async with Sidecar({"up": "http://127.0.0.1:9/mcp"}) as sidecar:
        error = await failed(sidecar.engine.Call(asked(tool("echo", text="hi")), timeout=5))
        assert (error.code().name, trailers(error)["mcp-sidecar-execution"]) == ("UNAVAILABLE", "none")
        assert "127.0.0.1" not in str(error.details())


@pytest.mark.covers("B-20", "B-30")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_streams_cancelled_at_any_moment_are_cancelled_and_no_bug(era: Any):
    async with FakeServer(era=era, script={"tools/call": "endless_progress"}) as up, Sidecar({"up": up.url}) as sidecar:
        async with asyncio.timeout(20):

            async def leave_after(reads: int) -> None:
                stream: Any = sidecar.engine.CallStream(asked(tool("echo", text="hi")))
                for _ in range(reads):
                    await stream.read()
                stream.cancel()

            await asyncio.gather(*(leave_after(number % 7) for number in range(50)))
            rpc = PREFIX + "CallStream"
            await eventually(lambda: len(sidecar.calls(rpc=rpc)) >= 42)  # the others may have left before they came
            assert {line["code"] for line in sidecar.calls(rpc=rpc)} == {"CANCELLED"}
            await eventually(lambda: len(up.cancelled) == up.count("tools/call"))


@pytest.mark.covers("B-21", "B-31")
async def test_a_client_that_does_not_read_its_events_cannot_hold_a_call_beyond_its_timeout():
    async with FakeServer(script={"tools/call": "endless_progress"}) as up:
        limit = UpstreamSettings(name="up", url=up.url, timeout=TimeoutSettings(call=0.3))
        async with Sidecar({"up": limit}) as sidecar, asyncio.timeout(10):
            await sidecar.engine.Call(asked(request("tools/list")))
            options = [("grpc.use_local_subchannel_pool", 1), *SMALL_WINDOW]
            async with grpc.aio.insecure_channel(sidecar.address("grpc"), options=options) as channel:
                stream: Any = engine_pb2_grpc.MCPEngineStub(channel).CallStream(asked(tool("echo", text="hi")))
                await up.until(lambda s: s.cancelled)
                await eventually(lambda: sidecar.calls(rpc=PREFIX + "CallStream"))
                assert (await ended(stream, "UnaryStream")).code == "DEADLINE_EXCEEDED"
                assert [line["code"] for line in sidecar.calls(rpc=PREFIX + "CallStream")] == ["DEADLINE_EXCEEDED"]
