"""One trace from the caller to the server, whatever the two speak and whatever lies between them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.outbound.sse_server import SseServer
from tests.support.fake_server import Era, FakeServer
from tests.support.otlp import Collector, attributes
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import sidecar_process
from tests.telemetry.driving import CALLERS, PARENT, TRACE, ended, telling

SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
ROOT = Path(__file__).parents[2]


def parents(server: FakeServer) -> set[str]:
    """The traceparents that a server was sent with its tool calls, in header and message alike."""
    found = set()
    for received in server.requests:
        if received.rpc == "tools/call":
            own = received.message["params"]["_meta"]["traceparent"]
            assert received.headers["traceparent"] == own
            found.add(own)
    return found


def one_trace(collector: Collector, server: FakeServer) -> None:
    """The caller's trace goes on through our two spans to the server."""
    (ours,) = (span for span in collector.spans if span.kind == SERVER and span.trace_id.hex() == TRACE)
    (sent,) = (span for span in collector.spans if span.kind == CLIENT and span.trace_id.hex() == TRACE)
    assert ours.parent_span_id.hex() == PARENT[36:52]
    assert sent.parent_span_id == ours.span_id
    assert parents(server) == {f"00-{TRACE}-{sent.span_id.hex()}-01"}


@pytest.mark.covers("B-301")
@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("asking", ["modern", "legacy", "grpc"])
async def test_one_trace_goes_from_the_client_to_the_server_whatever_the_two_speak(asking: str, era: Era):
    async with Collector() as collector, FakeServer(era) as server:
        # A caller that wants its own calls traced has its way, whatever the share of the others.
        with telling(collector, {"up": server.url}, OTEL_TRACES_SAMPLER="parentbased_always_off") as sidecar:
            await CALLERS[asking](sidecar)
            await ended(sidecar)
            assert {line["trace_id"] for line in sidecar.calls(method="tools/call")} == {TRACE}
    one_trace(collector, server)


@pytest.mark.covers("B-301")
async def test_one_trace_goes_through_two_sidecars():
    async with Collector() as collector, FakeServer() as server:
        with telling(collector, {"up": server.url}, OTEL_SERVICE_NAME="far") as far:
            with telling(collector, {"up": f"grpc://{far.bound['grpc']}/up"}, OTEL_SERVICE_NAME="near") as near:
                await CALLERS["modern"](near)
                await ended(near)
            await ended(far)
    spans = {span.span_id: span for span in collector.spans if span.trace_id.hex() == TRACE}
    (told,) = parents(server)
    kinds, at = [], spans[bytes.fromhex(told[36:52])]
    while True:
        kinds.append(at.kind)
        if at.parent_span_id not in spans:
            break
        at = spans[at.parent_span_id]
    assert kinds == [CLIENT, SERVER, CLIENT, SERVER]
    assert at.parent_span_id.hex() == PARENT[36:52]


@pytest.mark.covers("B-301", "B-379")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_what_goes_to_a_program_is_a_span_with_a_pipe(era: str):
    async with Collector() as collector:
        program = f"stdio:{sys.executable} -IS {ROOT}/tests/support/servers/stdio_server.py {era}"
        with telling(collector, {"up": program}) as sidecar:
            reply = await Modern(sidecar.url("up")).call("meta", {}, traceparent=PARENT)
            await ended(sidecar)
    (sent,) = (span for span in collector.spans if span.kind == CLIENT and span.trace_id.hex() == TRACE)
    got = json.loads(reply.messages[-1]["result"]["content"][0]["text"])
    assert got["traceparent"] == f"00-{TRACE}-{sent.span_id.hex()}-01"
    assert attributes(sent)["network.transport"] == "pipe"
    assert "server.port" not in attributes(sent)


@pytest.mark.covers("B-379")
async def test_a_server_of_2024_gets_the_trace_in_the_message_and_around_it():
    async with Collector() as collector, SseServer() as server:
        with telling(collector, {"up": "sse+" + server.url}) as sidecar:
            await Modern(sidecar.url("up")).call("echo", {"text": "hi"}, traceparent=PARENT)
            await ended(sidecar)
    (sent,) = (span for span in collector.spans if span.kind == CLIENT and span.trace_id.hex() == TRACE)
    (asked,) = (message for message in server.messages if message.get("method") == "tools/call")
    (request,) = (one for one in server.requests if b"tools/call" in one.body)
    expected = f"00-{TRACE}-{sent.span_id.hex()}-01"
    assert asked["params"]["_meta"]["traceparent"] == expected
    assert dict(request.headers)["traceparent"] == expected


@pytest.mark.covers("B-379")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_each_attempt_is_a_client_span_and_the_server_heard_of_each(era: Era):
    async with Collector() as collector, FakeServer(era) as server:
        with telling(collector, {"up": server.url}) as sidecar:
            client = Modern(sidecar.url("up"))
            await client.call("echo", {"text": "known"})
            server.next_reply("closes_before_reply", on="prompts/list")
            assert (await client.request("prompts/list", traceparent=PARENT)).status == 200
            await ended(sidecar)
    (ours,) = (span for span in collector.spans if span.kind == SERVER and span.trace_id.hex() == TRACE)
    sent = [span for span in collector.spans if span.kind == CLIENT and span.trace_id.hex() == TRACE]
    assert {span.parent_span_id for span in sent} == {ours.span_id}
    assert sorted(attributes(span).get("error.type", "") for span in sent) == ["", "UPSTREAM_LOST"]
    asked = [one for one in server.requests if one.rpc == "prompts/list"]
    assert {one.headers["traceparent"] for one in asked} == {f"00-{TRACE}-{span.span_id.hex()}-01" for span in sent}


@pytest.mark.covers("B-430")
async def test_a_call_that_is_not_traced_here_is_not_traced_by_the_next_sidecar_either():
    async with Collector() as collector, FakeServer() as server:
        with telling(collector, {"up": server.url}) as far:
            upstreams = {"up": f"grpc://{far.bound['grpc']}/up"}
            with telling(collector, upstreams, OTEL_TRACES_SAMPLER="parentbased_always_off") as near:
                for _ in range(3):
                    await Modern(near.url("up")).call("echo", {"text": "hi"})
                await ended(near)
                here = [line["trace_id"] for line in near.calls(method="tools/call")]
            await ended(far)
            assert [line["trace_id"] for line in far.calls(method="tools/call")] == here
    assert not any(span.name.startswith("tools/call") for span in collector.spans)
    told = [one.headers["traceparent"] for one in server.requests if one.tool]
    assert len(set(here)) == 3
    assert [(parent[3:35], parent[52:]) for parent in told] == [(trace_id, "-00") for trace_id in here]
    assert parents(server) == set(told)


@pytest.mark.covers("B-430")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_without_telemetry_a_call_that_has_no_trace_gets_none(era: Era):
    async with FakeServer(era) as server:
        with sidecar_process({"up": server.url}) as sidecar:
            await Modern(sidecar.url("up")).call("echo", {"text": "hi"})
            await ended(sidecar)
            assert [line["trace_id"] for line in sidecar.calls(method="tools/call")] == [""]
    (received,) = (one for one in server.requests if one.tool)
    assert "traceparent" not in received.headers and "traceparent" not in received.meta
