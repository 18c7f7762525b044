"""Tests of what of a caller's metadata is taken, returned, logged and passed on; and of who is let in."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mcp_sidecar.settings import AuthSettings, GrpcSettings
from mcp_sidecar.v1 import connections_pb2 as connections
from mcp_sidecar.v1 import engine_pb2 as pb
from tests.inbound.grpc.asking import asked, details, failed, frame, tool, trailers
from tests.inbound.grpc.kinds import Outcome, ended
from tests.inbound.signing import AUDIENCE, ISSUER, Signer
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
HEX = re.compile(r"[0-9a-f]{32}\Z")


async def _asked_over(sidecar: Sidecar, rpc: str, metadata: Any, timeout: float | None = None) -> Outcome:
    """One call of the tool `echo` over any of the RPCs that can."""
    engine, message = sidecar.engine, tool("echo", text="hi")
    if rpc == "Call":
        return await ended(engine.Call(asked(message), metadata=metadata, timeout=timeout), "UnaryUnary")
    if rpc == "CallTool":
        request = pb.CallToolRequest(tool="echo", arguments_json=b'{"text": "hi"}')
        return await ended(engine.CallTool(request, metadata=metadata, timeout=timeout), "UnaryUnary")
    if rpc == "CallStream":
        return await ended(engine.CallStream(asked(message), metadata=metadata, timeout=timeout), "UnaryStream")
    return await ended(engine.BiDiStream(iter([frame(message)]), metadata=metadata, timeout=timeout), "StreamStream")


RPCS = ("Call", "CallTool", "CallStream", "BiDiStream")


@pytest.mark.covers("B-35")
@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("rpc", RPCS)
async def test_a_request_id_is_taken_returned_logged_and_sent_upstream(rpc: str, era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        outcome = await _asked_over(sidecar, rpc, (("x-request-id", "mine-7"),))
        assert outcome.code == "OK"
        assert outcome.trailers["x-request-id"] == "mine-7"
        # Requests inside a conversation are told apart by their JSON-RPC ids.
        expected = "mine-7/1" if rpc == "BiDiStream" else "mine-7"
        assert [line["request_id"] for line in sidecar.calls(method="tools/call")] == [expected]
        assert [one.headers["x-request-id"] for one in up.requests if one.tool] == [expected]
        assert up.violations == []


@pytest.mark.covers("B-35")
@pytest.mark.parametrize("rpc", RPCS)
async def test_a_request_id_is_made_when_none_is_given(rpc: str):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        first, second = [(await _asked_over(sidecar, rpc, ())).trailers["x-request-id"] for _ in range(2)]
        assert first != second
        assert HEX.match(first)
        assert up.requests[-1].headers["x-request-id"].startswith(second)


@pytest.mark.covers("B-35")
@pytest.mark.parametrize("odd", ["x" * 129, "two words", ""])
async def test_a_request_id_that_is_not_fit_for_a_log_is_replaced(odd: str):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        outcome = await _asked_over(sidecar, "Call", (("x-request-id", odd),))
        assert HEX.match(outcome.trailers["x-request-id"])


@pytest.mark.covers("B-35")
@pytest.mark.parametrize("rpc", RPCS)
async def test_streams_name_their_request_id_before_their_first_message(rpc: str):
    if rpc in ("Call", "CallTool"):
        return
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        outcome = await _asked_over(sidecar, rpc, (("x-request-id", "mine-8"),))
        initial: dict[str, Any] = dict(await outcome.call.initial_metadata())
        assert initial["x-request-id"] == "mine-8"


@pytest.mark.covers("B-35")
@pytest.mark.parametrize(
    ("message_id", "part"),
    [
        ("a b", "a_b"),
        ('"so" it is', "\\_so\\__it_is"),
        ("x" * 200, "x" * 40),
        ("tab\u007fé", "tab\\u007f\\u00e9"),
        (12, "12"),
    ],
)
async def test_a_message_id_enters_the_request_id_as_plain_ascii(message_id: Any, part: str):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        stream: Any = sidecar.engine.BiDiStream(metadata=(("x-request-id", "r"),))
        await stream.write(frame(tool("echo", id=message_id, text="hi")))
        answer = await stream.read()
        assert answer.info.request_id == up.requests[-1].headers["x-request-id"] == f"r/{part}"
        await stream.done_writing()


@pytest.mark.covers("B-35")
async def test_raw_unicode_in_a_message_id_breaks_no_header():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        stream: Any = sidecar.engine.BiDiStream(metadata=(("x-request-id", "r"),))
        message = tool("echo", id="ID", text="hi").replace(b"ID", "é\x7f\u2028漢".encode())
        await stream.write(frame(message))
        answer = await stream.read()
        assert answer.info.request_id == up.requests[-1].headers["x-request-id"] == "r/____"
        assert "é\x7f\u2028漢".encode() in answer.message_json
        await stream.done_writing()


@pytest.mark.covers("B-35")
@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("rpc", RPCS)
async def test_trace_context_travels_upstream_and_its_id_into_the_log(rpc: str, era: Any):
    context = (("traceparent", TRACEPARENT), ("tracestate", "vendor=1"))
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        assert (await _asked_over(sidecar, rpc, context)).code == "OK"
        received = next(one for one in up.requests if one.tool)
        for key, value in context:
            assert received.headers[key] == value
            assert received.meta[key] == value
        assert sidecar.calls(method="tools/call")[0]["trace_id"] == TRACE_ID


@pytest.mark.covers("B-35")
@pytest.mark.parametrize("rpc", RPCS)
async def test_nothing_else_of_the_metadata_goes_upstream(rpc: str):
    sent = (
        ("authorization", "Bearer secret-of-the-caller"),
        ("cookie", "secret-of-the-caller"),
        ("mcp-session-id", "secret-of-the-caller"),
        ("mcp-method", "tools/list"),
        ("mcp-name", "crash"),
        ("mcp-param-region", "secret-of-the-caller"),
        ("x-forwarded-for", "secret-of-the-caller"),
        ("x-anything-bin", b"secret-of-the-caller"),
        ("last-event-id", "secret-of-the-caller"),
    )
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        outcome = await _asked_over(sidecar, rpc, sent)
        assert outcome.code == "OK"
        assert up.violations == []
        received = next(one for one in up.requests if one.tool)
        assert "secret-of-the-caller" not in f"{received.headers} {received.body!r}"
        assert (received.headers["mcp-method"], received.headers["mcp-name"]) == ("tools/call", "echo")
        assert "secret-of-the-caller" not in repr(sidecar.lines)
        assert "secret-of-the-caller" not in repr(outcome.trailers)


async def _list(sidecar: Sidecar, *metadata: tuple[str, str]) -> str:
    call = sidecar.connections.ListServers(connections.ListServersRequest(), metadata=metadata, timeout=5)
    return (await ended(call, "UnaryUnary")).code


@pytest.mark.covers("B-33")
async def test_only_callers_with_a_token_of_the_file_are_let_in_and_health_asks_nobody(tmp_path: Path):
    tokens = tmp_path / "tokens"
    tokens.write_text("alpha-token\nbeta-token\n")
    auth = AuthSettings(mode="token", token_file=str(tokens))
    async with FakeServer() as up, Sidecar({"up": up.url}, auth=auth, grpc=GrpcSettings(reflection=True)) as sidecar:
        assert await _list(sidecar) == "UNAUTHENTICATED"
        assert await _list(sidecar, ("authorization", "Bearer gamma-token")) == "UNAUTHENTICATED"
        assert await _list(sidecar, ("authorization", "Basic alpha-token")) == "UNAUTHENTICATED"
        assert await _list(sidecar, ("authorization", "Bearer beta-token")) == "OK"
        refused = await failed(sidecar.engine.Call(asked(tool("echo", text="hi"))))
        assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
        assert trailers(refused)["mcp-sidecar-execution"] == "none"
        assert "UNAUTHENTICATED" in repr(details(refused))
        assert up.requests == []
        health = health_pb2_grpc.HealthStub(sidecar.channel)
        assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=5)).status == 1
        reflection: Any = sidecar.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        assert (await ended(reflection(iter([b""])), "StreamStream")).code == "UNAUTHENTICATED"
        unknown: Any = sidecar.channel.unary_unary("/grpc.health.v1.HealthX/Check")
        assert (await ended(unknown(b""), "UnaryUnary")).code == "UNAUTHENTICATED"
        assert "-token" not in repr(sidecar.lines)


@pytest.mark.covers("B-21", "B-31")
@pytest.mark.parametrize("rpc", RPCS)
async def test_a_deadline_holds_while_it_is_found_out_who_calls(rpc: str):
    listening = socket.create_server(("127.0.0.1", 0))  # takes connections and says nothing
    host, port = listening.getsockname()
    auth = AuthSettings(mode="jwt", jwks_url=f"http://{host}:{port}/keys", audience=AUDIENCE, issuer=ISSUER)
    token = Signer("a").token()
    with listening:
        async with FakeServer() as up, Sidecar({"up": up.url}, auth=auth) as sidecar, asyncio.timeout(20):
            metadata = (("authorization", f"Bearer {token}"),)
            execution = None
            while execution is None:  # on a busy machine the client gives up before the answer has reached it
                outcome = await _asked_over(sidecar, rpc, metadata, timeout=0.5)
                assert outcome.code == "DEADLINE_EXCEEDED"
                execution = outcome.trailers.get("mcp-sidecar-execution")
            assert execution == "none"
            assert up.requests == []


@pytest.mark.covers("B-33")
@pytest.mark.parametrize("rpc", RPCS)
async def test_every_way_to_call_a_tool_asks_for_credentials(rpc: str, tmp_path: Path):
    tokens = tmp_path / "tokens"
    tokens.write_text("alpha-token\n")
    auth = AuthSettings(mode="token", token_file=str(tokens))
    async with FakeServer() as up, Sidecar({"up": up.url}, auth=auth) as sidecar, asyncio.timeout(5):
        assert (await _asked_over(sidecar, rpc, ())).code == "UNAUTHENTICATED"
        assert up.requests == []
        assert (await _asked_over(sidecar, rpc, (("authorization", "Bearer alpha-token"),))).code == "OK"
        assert "alpha-token" not in repr([one.headers for one in up.requests])
