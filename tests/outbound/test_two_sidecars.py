"""Two sidecars that speak gRPC with each other: everything that a caller of one is promised holds through both."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_sidecar.settings import AdmissionSettings, AuthSettings, UpstreamAuthSettings, UpstreamSettings
from mcp_sidecar.v1 import engine_pb2 as pb
from tests.inbound.waiting import eventually
from tests.outbound.calling import SECONDS, call, connections, events, failure, message, tool
from tests.outbound.canned import Canned
from tests.outbound.sidecars import PARENT, two_sidecars
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.sidecar import Sidecar

both_eras = pytest.mark.parametrize("era", ["modern", "legacy"])


@pytest.mark.covers("B-130")
@both_eras
async def test_calls_go_through_both_sidecars_to_servers_of_either_era(era: str):
    async with two_sidecars(era) as (up, _, here):
        texts = await asyncio.gather(*(tool(here, "echo", {"text": str(number)}) for number in range(30)))
        assert texts == [str(number) for number in range(30)]
        (one,) = await connections(here)
        assert (one.transport, one.era, one.protocol_version) == ("grpc", "modern", "2026-07-28")
        came = [event async for event in events(here, "progress", {"steps": 3}, progressToken="p")]
        assert [event["params"]["progress"] for event in came[:-1]] == [1, 2, 3]
        assert {event["params"]["progressToken"] for event in came[:-1]} == {"p"}
        assert up.violations == []


@pytest.mark.covers("B-02", "B-130")
async def test_values_come_through_two_sidecars_byte_for_byte():
    result = b'{"resultType":"complete","content":[],"structuredContent":{"z":1.0,"a":1e400},"more":[1,  "\\u00e9"]}'
    async with Canned(200, b'{"jsonrpc":"2.0","id":1,"result":%b}' % result) as up:
        there_knows = UpstreamSettings(name="far", url=up.url, protocol="2026-07-28")
        async with Sidecar({"far": there_knows}) as there:
            async with Sidecar({"near": f"grpc://{there.address('grpc')}"}) as here:
                body = message("tools/call", {"name": "echo"})
                reply = await here.engine.Call(pb.CallRequest(message_json=body), timeout=SECONDS)
                assert result in reply.message_json


@pytest.mark.covers("B-131")
@both_eras
async def test_a_call_that_is_cancelled_here_is_cancelled_at_the_server(era: str):
    async with two_sidecars(era) as (up, there, here):
        body = message("tools/call", {"name": "hold", "arguments": {"gate": "g"}})
        running: Any = here.engine.CallStream(pb.CallRequest(message_json=body), timeout=SECONDS)
        await up.until(lambda s: s.executions)
        running.cancel()
        await up.until(lambda s: s.cancelled)
        await eventually(lambda: there.calls(code="CANCELLED"))


@pytest.mark.covers("B-131")
async def test_ids_trace_and_deadline_travel_on():
    async with two_sidecars("modern") as (up, there, here):
        metadata = (("x-request-id", "r-7"), ("traceparent", PARENT), ("tracestate", "k=v"), ("baggage", "x=y"))
        body = message("tools/call", {"name": "echo", "arguments": {"text": "hi"}})
        await here.engine.Call(pb.CallRequest(message_json=body), timeout=SECONDS, metadata=metadata)
        (line,) = there.calls(method="tools/call")
        assert (line["request_id"], line["trace_id"]) == ("r-7", "a" * 32)
        assert up.requests[-1].headers["x-request-id"] == "r-7"
        assert up.requests[-1].headers["traceparent"] == PARENT
        body = message("tools/call", {"name": "hold", "arguments": {"gate": "g"}})
        late = await failure(here.engine.Call(pb.CallRequest(message_json=body), timeout=0.5))
        assert late.code == "DEADLINE_EXCEEDED"
        await up.until(lambda s: s.cancelled)


@pytest.mark.covers("B-130")
@both_eras
async def test_a_stream_reaches_through_both(era: str):
    async with two_sidecars(era) as (up, _, here):
        stream: Any = here.engine.Stream(pb.StreamRequest(), timeout=SECONDS)
        first = json.loads((await stream.read()).notification_json)
        assert first["method"] == "notifications/subscriptions/acknowledged"
        await up.until(lambda s: s.streams == 1)
        up.push("notifications/tools/list_changed")
        assert b"tools/list_changed" in (await stream.read()).notification_json
        stream.cancel()
        await up.until(lambda s: not s.streams)


@pytest.mark.covers("B-130")
async def test_a_call_that_the_other_sidecar_holds_for_an_answer_goes_on_with_it():
    async with two_sidecars("legacy") as (up, _, here):
        able: Any = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
        await tool(here, "echo", {"text": "known"})
        asked = await call(here, "tools/call", {"name": "ask_elicitation", "arguments": {}}, **able)
        (key,) = asked["result"]["inputRequests"]
        answers = {key: {"action": "accept", "content": {"name": "Bo"}}}
        more = {"inputResponses": answers, "requestState": asked["result"]["requestState"]}
        answer = await call(here, "tools/call", {"name": "ask_elicitation", "arguments": {}, **more}, **able)
        assert answer["result"]["content"][0]["text"] == "accept: Bo"
        assert len(up.executions) == 2


@pytest.mark.covers("B-450")
@pytest.mark.parametrize("wire", ["grpc", "http"])
async def test_a_sidecar_that_is_started_between_the_rounds_passes_the_state_on(wire: str):
    async with two_sidecars("legacy") as (up, there, here):
        able: Any = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
        asked = await call(here, "tools/call", {"name": "ask_elicitation", "arguments": {}}, **able)
        (key,) = asked["result"]["inputRequests"]
        answers = {key: {"action": "accept", "content": {"name": "Bo"}}}
        more = {"inputResponses": answers, "requestState": asked["result"]["requestState"]}
        url = there.url("far") if wire == "http" else f"grpc://{there.address('grpc')}/far"
        async with Sidecar({"near": url}) as fresh:
            answer = await call(fresh, "tools/call", {"name": "ask_elicitation", "arguments": {}, **more}, **able)
        assert answer["result"]["content"][0]["text"] == "accept: Bo"
        assert len(up.executions) == 1


async def test_a_client_of_http_is_served_through_both():
    async with two_sidecars("legacy") as (_, _, here):
        reply = await Modern(here.url("near")).request("tools/call", {"name": "echo", "arguments": {"text": "hi"}})
        assert reply.messages[-1]["result"]["content"][0]["text"] == "hi"


@pytest.mark.covers("B-132")
async def test_a_server_lost_behind_the_other_sidecar_is_told_with_its_certainty():
    async with two_sidecars("modern") as (up, _, here):
        running = asyncio.ensure_future(failure(tool(here, "hold", {"gate": "g"})))
        await up.until(lambda s: s.executions)
        await up.stop()
        lost = await running
        assert (lost.code, lost.execution) == ("UNAVAILABLE", "unknown")
        lost = await failure(tool(here, "echo", {"text": "hi"}))
        assert (lost.code, lost.execution) == ("UNAVAILABLE", "none")
        await up.start()
        assert await tool(here, "echo", {"text": "back"}) == "back"


@pytest.mark.covers("B-132")
async def test_a_sidecar_that_goes_away_is_noticed_and_found_again_under_its_address():
    async with FakeServer() as up:
        async with Sidecar({"far": up.url}) as there:
            address = there.address("grpc")
            async with Sidecar({"near": f"grpc://{address}"}) as here:
                assert await tool(here, "echo", {"text": "hi"}) == "hi"
                there.stop()
                await there.stopped()
                gone = await failure(tool(here, "echo", {"text": "hi"}))
                assert (gone.code, gone.execution) == ("UNAVAILABLE", "none")
                assert address not in gone.message
                (one,) = await connections(here)
                assert one.last_error


async def test_an_upstream_that_the_other_sidecar_does_not_know_is_not_found():
    async with FakeServer() as up, Sidecar({"far": up.url}) as there:
        async with Sidecar({"near": f"grpc://{there.address('grpc')}/nowhere"}) as here:
            unknown = await failure(tool(here, "echo", {"text": "hi"}))
            assert (unknown.code, unknown.execution) == ("NOT_FOUND", "none")


async def test_an_overloaded_sidecar_says_so():
    async with two_sidecars("modern", admission=AdmissionSettings(in_flight=1)) as (up, _, here):
        running = asyncio.ensure_future(tool(here, "hold", {"gate": "g"}))
        await up.until(lambda s: s.executions)
        busy = await failure(tool(here, "echo", {"text": "hi"}))
        assert (busy.code, busy.execution) == ("RESOURCE_EXHAUSTED", "none")
        up.release("g")
        await running


@pytest.mark.covers("B-131")
async def test_the_credential_of_the_upstream_is_shown_to_the_other_sidecar(tmp_path: Any):
    (tmp_path / "tokens").write_text("good\n")
    (tmp_path / "mine").write_text("good")
    (tmp_path / "bad").write_text("bad")
    guarded = AuthSettings(mode="token", token_file=str(tmp_path / "tokens"))
    async with FakeServer() as up, Sidecar({"far": up.url}, auth=guarded) as there:
        url = f"grpc://{there.address('grpc')}"
        named = {
            name: UpstreamSettings(name=name, url=url, auth=UpstreamAuthSettings(bearer_file=str(tmp_path / name)))
            for name in ("mine", "bad")
        }
        async with Sidecar(named) as here:
            assert await tool(here, "echo", {"text": "hi"}, server="mine") == "hi"
            turned_away = await failure(tool(here, "echo", {"text": "hi"}, server="bad"))
            assert (turned_away.code, turned_away.execution) == ("UNAVAILABLE", "none")
            assert "credentials" in turned_away.message
        assert "authorization" not in up.requests[-1].headers
