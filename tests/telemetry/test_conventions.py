"""What traces and metrics say of calls that are no plain ones: of several servers, refused, too slow, of sessions."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mcp_sidecar.v1 import engine_pb2, engine_pb2_grpc
from mcp_sidecar.v1 import engine_pb2 as pb
from tests.outbound.sse_server import SseServer
from tests.support import raw_http
from tests.support.fake_server import Era, FakeServer
from tests.support.otlp import Collector, attributes
from tests.support.raw_http import Reply
from tests.support.raw_mcp import CLIENT as CLIENT_INFO
from tests.support.raw_mcp import LEGACY, Legacy, Modern
from tests.support.sidecar_process import SidecarProcess
from tests.telemetry.driving import PARENT, TRACE, ended, telling

SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
WIRE = ("transport", "protocol.name", "protocol.version")
PROGRAM = f"stdio:{sys.executable} -IS {Path(__file__).parents[2]}/tests/support/servers/stdio_server.py modern"


def of_kind(collector: Collector, kind: Span.SpanKind.ValueType) -> list[Span]:
    """The spans of this kind in the trace of the tests."""
    return [span for span in collector.spans if span.kind == kind and span.trace_id.hex() == TRACE]


async def greeted(sidecar: SidecarProcess, server: str, version: Any) -> Reply:
    params = {
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": CLIENT_INFO,
        "_meta": {"traceparent": PARENT},
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    return await raw_http.post(sidecar.url(server), message)


@pytest.mark.covers("B-403")
@pytest.mark.parametrize(
    ("server", "asked", "said"),
    [
        ("up", "2025-03-26", "2025-03-26"),
        ("up", "1999-01-01", "2025-11-25"),
        ("nobody", "2025-06-18", "2025-06-18"),
        ("nobody", "1999-01-01", "1999-01-01"),
        ("up", 7, None),
    ],
)
async def test_the_span_of_initialize_has_the_revision_that_was_agreed_on_or_asked_for(
    server: str, asked: Any, said: str | None
):
    async with Collector() as collector, FakeServer() as up:
        with telling(collector, {"up": up.url}) as sidecar:
            await greeted(sidecar, server, asked)
            await ended(sidecar)
    (span,) = of_kind(collector, SERVER)
    assert (span.name, attributes(span).get("mcp.protocol.version")) == ("initialize", said)


@pytest.mark.covers("B-431")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_spans_of_sessions_have_a_digest_of_the_sessions_id_and_never_the_id(era: Era):
    async with Collector() as collector, FakeServer(era) as server:
        with telling(collector, {"up": server.url}) as sidecar:
            reply = await greeted(sidecar, "up", LEGACY)
            client = Legacy(sidecar.url("up"))
            client.session = reply.headers["mcp-session-id"]
            await client.call("echo", {"text": "hi"}, traceparent=PARENT)
            await client.close()
            await Modern(sidecar.url("up")).request("prompts/list", traceparent=PARENT)
            await ended(sidecar)
    served = {span.name: attributes(span).get("mcp.session.id") for span in of_kind(collector, SERVER)}
    own = digest(client.session)
    assert served == {"initialize": own, "tools/call echo": own, "prompts/list": None}
    theirs = {one.headers["mcp-session-id"] for one in server.requests if "mcp-session-id" in one.headers}
    (called,) = (span for span in of_kind(collector, CLIENT) if span.name == "tools/call echo")
    (asked,) = (one.headers.get("mcp-session-id") for one in server.requests if one.tool)
    assert attributes(called).get("mcp.session.id") == (digest(asked) if asked else None)
    assert bool(asked) == (era == "legacy")
    assert not any(secret in str(collector.requests) for secret in {client.session, *theirs})


def digest(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()[:16]


@pytest.mark.covers("B-431")
async def test_a_conversation_over_grpc_is_one_session_too():
    async with Collector() as collector, FakeServer() as server:
        with telling(collector, {"up": server.url}) as sidecar:
            async with grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
                stream: Any = engine_pb2_grpc.MCPEngineStub(channel).BiDiStream(timeout=10)
                await stream.write(pb.ClientFrame(open=pb.Open(server="up", protocol_version=LEGACY)))
                await stream.read()
                params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT_INFO}
                for method, said in (("initialize", params), ("ping", {})):
                    whole = said | {"_meta": {"traceparent": PARENT}}
                    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": whole}
                    await stream.write(pb.ClientFrame(message_json=json.dumps(message).encode()))
                    await stream.read()
                await stream.done_writing()
            await ended(sidecar)
    first, second = (attributes(span)["mcp.session.id"] for span in of_kind(collector, SERVER))
    assert first == second and len(str(first)) == 16


@pytest.mark.covers("B-431")
async def test_client_spans_name_what_carries_the_message():
    async with Collector() as collector, FakeServer() as modern, FakeServer("legacy") as legacy, SseServer() as sse:
        with telling(collector, {"up": modern.url}) as far:
            ways = {"modern": modern.url, "legacy": legacy.url, "sse": "sse+" + sse.url, "io": PROGRAM}
            with telling(collector, ways | {"far": f"grpc://{far.bound['grpc']}/up"}) as sidecar:
                for server in (*ways, "far"):
                    await Modern(sidecar.url(server)).request("prompts/list", traceparent=PARENT)
                await ended(sidecar)
            await ended(far)
    said = {span["mcp_sidecar.server"]: span for span in map(attributes, of_kind(collector, CLIENT))}
    found = {server: tuple(span.get(f"network.{name}") for name in WIRE) for server, span in said.items()}
    http = ("tcp", "http", "1.1")
    assert found == dict.fromkeys(("modern", "legacy", "sse", "up"), http) | {
        "io": ("pipe", None, None),
        "far": ("tcp", "http", "2"),
    }


@pytest.mark.covers("B-404")
async def test_a_call_to_a_server_that_nobody_knows_is_in_the_trace_that_its_message_names():
    async with Collector() as collector, FakeServer() as server:
        with telling(collector, {"up": server.url}) as sidecar:
            await Modern(sidecar.url("nobody")).call("echo", {"text": "hi"}, traceparent=PARENT)
            await ended(sidecar)
            assert {line["trace_id"] for line in sidecar.calls()} == {TRACE}
    (span,) = of_kind(collector, SERVER)
    assert attributes(span)["error.type"] == "UNKNOWN_SERVER"
    assert span.status.code == span.status.STATUS_CODE_UNSET


@pytest.mark.covers("B-405")
async def test_what_goes_to_one_of_several_servers_is_named_as_that_server_names_it():
    async with Collector() as collector, FakeServer() as one, FakeServer("legacy") as other:
        with telling(collector, {"one": one.url, "other": other.url}) as sidecar:
            client = Modern(sidecar.url())
            await client.request("prompts/list", traceparent=PARENT)
            await client.call("other__echo", {"text": "hi"}, traceparent=PARENT)
            await ended(sidecar)
    assert {span.name for span in of_kind(collector, SERVER)} == {"prompts/list", "tools/call other__echo"}
    sent = of_kind(collector, CLIENT)
    listed = [attributes(span)["mcp_sidecar.server"] for span in sent if span.name == "prompts/list"]
    assert sorted(listed) == ["one", "other"]
    (called,) = (span for span in sent if span.name != "prompts/list")
    said = attributes(called)
    assert (called.name, said["gen_ai.tool.name"], said["mcp_sidecar.server"]) == ("tools/call echo", "echo", "other")


@pytest.mark.covers("B-406")
async def test_what_the_sidecar_answers_itself_in_a_session_has_a_span_too():
    async with Collector() as collector, FakeServer("legacy") as server:
        with telling(collector, {"up": server.url}) as sidecar:
            client = Legacy(sidecar.url("up"))
            await client.initialize()
            await client.request("ping", traceparent=PARENT)
            await client.request("resources/subscribe", {"uri": "mem://a"}, traceparent=PARENT)
            await client.close()
            await ended(sidecar)
    assert {span.name for span in of_kind(collector, SERVER)} == {"ping", "resources/subscribe"}
    served = {span.name for span in collector.spans if span.kind == SERVER}
    assert served >= {"initialize", "notifications/initialized"}
    assert not any(name.startswith("session/") for name in served)


@pytest.mark.covers("B-407")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_servers_hear_of_no_span_that_does_not_arrive(era: Era):
    async with Collector() as collector, FakeServer(era) as server:
        with telling(collector, {"up": server.url}) as sidecar:
            client = Legacy(sidecar.url("up"))
            await client.initialize()
            await client.request("resources/subscribe", {"uri": "mem://a"})
            await client.request("logging/setLevel", {"level": "info"})
            async with client.listening():
                await client.call("echo", {"text": "hi"})
            await client.close()
            await Modern(sidecar.url("up")).request("tools/list")
            await ended(sidecar)
    told = {one.headers["traceparent"][36:52] for one in server.requests if "traceparent" in one.headers}
    assert told and told <= {span.span_id.hex() for span in collector.spans}


async def given_up(sidecar: SidecarProcess, server: FakeServer) -> None:
    """One call that its deadline ends, and one that its caller does not want any more."""
    async with grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
        stub = engine_pb2_grpc.MCPEngineStub(channel)
        request = engine_pb2.CallToolRequest(server="up", tool="hold", arguments_json=b'{"gate": "never"}')
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.CallTool(request, timeout=0.3)
        call = stub.CallTool(request)
        await server.until(lambda server: len(server.executions) == 2)
        call.cancel()
        await server.until(lambda server: len(server.cancelled) == 2 or server.open_connections == 0)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call.code()


@pytest.mark.covers("B-401", "B-402", "B-432")
async def test_a_call_that_took_too_long_counts_as_an_error_and_one_that_was_given_up_does_not():
    async with Collector() as collector, FakeServer() as server:
        with telling(collector, {"up": server.url}) as sidecar:
            await given_up(sidecar, server)
            await ended(sidecar)
    served = collector.metrics["mcp.server.operation.duration"].histogram.data_points
    by_code = {said["mcp_sidecar.code"]: said.get("error.type", "") for said in map(attributes, served)}
    assert (by_code["DEADLINE_EXCEEDED"], by_code["CANCELLED"]) == ("DEADLINE_EXCEEDED", "")
    sent = map(attributes, collector.metrics["mcp.client.operation.duration"].histogram.data_points)
    errors = {said["error.type"] for said in sent if said["mcp.method.name"] == "tools/call"}
    assert errors == {"DEADLINE_EXCEEDED", "CANCELLED"}
    for point in collector.metrics["rpc.server.call.duration"].histogram.data_points:
        said = attributes(point)
        assert (said["rpc.system.name"], "rpc.status_code" in said) == ("grpc", True)


@pytest.mark.covers("B-400")
@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_spans_that_a_collector_refused_at_first_arrive_as_they_were(way: str):
    async with Collector("UNAVAILABLE") as collector, FakeServer() as server:
        with telling(collector, {"up": server.url}, way=way, OTEL_BSP_SCHEDULE_DELAY="200") as sidecar:
            await Modern(sidecar.url("up")).call("echo", {"text": "hi"}, traceparent=PARENT)
            await collector.until(lambda found: found.asked >= 4)
            collector.mode = "ok"
            await collector.until(lambda found: found.spans)
            await ended(sidecar)
    (span,) = of_kind(collector, CLIENT)
    assert (span.name, attributes(span)["mcp.method.name"]) == ("tools/call echo", "tools/call")
