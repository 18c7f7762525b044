"""Baggage of callers on every face, at servers of either era, and through another sidecar."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_sidecar.settings import Settings, TelemetrySettings
from mcp_sidecar.v1 import engine_pb2 as pb
from tests.inbound.http.conversing import ERAS
from tests.inbound.http.posts import META, message, post
from tests.outbound.calling import SECONDS
from tests.outbound.calling import message as rpc_message
from tests.support.fake_ledger import Received
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Legacy, Modern
from tests.support.sidecar import Sidecar

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
GIVEN = "user=ann,tenant=7;ttl=1"
KEPT = "tenant=7;ttl=1"
NAMED = TelemetrySettings(baggage=("tenant", "stage"))
ECHO = {"name": "echo", "arguments": {"text": "hi"}}


def carried(up: FakeServer) -> tuple[str | None, str | None]:
    """What the last tool call had of baggage, around the message and in it."""
    (received,) = [one for one in up.requests if one.tool][-1:]
    return received.headers.get("baggage"), received.meta.get("baggage")


def anywhere(received: Received) -> bool:
    return "ann" in str(received.headers) + str(received.body)


async def in_header(sidecar: Sidecar, baggage: str, *trace: str) -> None:
    parent = trace[0] if trace else None
    assert (await post(sidecar.url("up"), message(), baggage=baggage, traceparent=parent)).status == 200


async def in_message(sidecar: Sidecar, baggage: str, *trace: str) -> None:
    parent = {"traceparent": trace[0]} if trace else {}
    assert (await Modern(sidecar.url("up")).call("echo", {"text": "hi"}, baggage=baggage, **parent)).status == 200


async def of_a_session(sidecar: Sidecar, baggage: str, *trace: str) -> None:
    parent = {"traceparent": trace[0]} if trace else {}
    client = Legacy(sidecar.url("up"))
    await client.initialize()
    assert (await client.call("echo", {"text": "hi"}, baggage=baggage, **parent)).status == 200
    await client.close()


async def in_metadata(sidecar: Sidecar, baggage: str, *trace: str) -> None:
    metadata = (("baggage", baggage), *(("traceparent", one) for one in trace))
    request = pb.CallRequest(server="up", message_json=rpc_message("tools/call", ECHO))
    await sidecar.engine.Call(request, timeout=SECONDS, metadata=metadata)


WAYS = pytest.mark.parametrize("way", [in_header, in_message, of_a_session, in_metadata])
TRACED = pytest.mark.parametrize("trace", [(), (PARENT,)], ids=["alone", "traced"])


@pytest.mark.covers("B-377")
@ERAS
@WAYS
@TRACED
async def test_baggage_goes_no_further_unless_it_is_named(way: Any, era: Any, trace: tuple[str, ...]):
    assert Settings().telemetry.baggage == ()
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        await way(sidecar, GIVEN, *trace)
        assert carried(up) == (None, None)
        assert not any(map(anywhere, up.requests))
        assert up.violations == []


@pytest.mark.covers("B-377")
@ERAS
@WAYS
@TRACED
async def test_named_members_go_on_around_the_message_and_in_it(way: Any, era: Any, trace: tuple[str, ...]):
    async with FakeServer(era) as up, Sidecar({"up": up.url}, telemetry=NAMED) as sidecar:
        await way(sidecar, GIVEN, *trace)
        assert carried(up) == (KEPT, KEPT)
        assert not any(map(anywhere, up.requests))
        (received,) = [one for one in up.requests if one.tool]
        assert received.body.count(b'"baggage"') == 1
        assert received.headers.get("traceparent") == (trace[0] if trace else None)


@pytest.mark.covers("B-378")
@ERAS
@WAYS
@pytest.mark.parametrize("baggage", ["tenant", "tenant=7,", 'tenant="7"', "tenant=" + "7" * 8192])
async def test_malformed_baggage_is_dropped_and_the_trace_goes_on(way: Any, era: Any, baggage: str):
    async with FakeServer(era) as up, Sidecar({"up": up.url}, telemetry=NAMED) as sidecar:
        await way(sidecar, baggage, PARENT)
        assert carried(up) == (None, None)
        assert [one for one in up.requests if one.tool][-1].meta["traceparent"] == PARENT


@pytest.mark.covers("B-378")
@ERAS
@pytest.mark.parametrize("given", [7, None, {"tenant": "7"}, ["tenant=7"]])
async def test_baggage_that_is_no_string_is_dropped(era: Any, given: Any):
    async with FakeServer(era) as up, Sidecar({"up": up.url}, telemetry=NAMED) as sidecar:
        assert (await Modern(sidecar.url("up")).call("echo", {"text": "hi"}, baggage=given)).status == 200
        assert carried(up) == (None, None)


@pytest.mark.covers("B-377")
async def test_what_a_client_tells_by_itself_has_the_named_members_only():
    async with FakeServer("legacy") as up, Sidecar({"up": up.url}, telemetry=NAMED) as sidecar:
        client = Legacy(sidecar.url("up"), {"roots": {"listChanged": True}})
        await client.initialize()
        await client.call("echo", {"text": "hi"})
        await client.notify("notifications/roots/list_changed", {"_meta": {"baggage": GIVEN}})
        await up.until(lambda s: s.count("notifications/roots/list_changed"))
        (told,) = [one for one in up.requests if one.rpc == "notifications/roots/list_changed"]
        assert json.loads(told.body)["params"]["_meta"] == {"baggage": KEPT}
        await client.close()


@pytest.mark.covers("B-377")
@pytest.mark.parametrize("far", [(), ("stage", "tenant")])
async def test_each_sidecar_on_the_way_has_a_list_of_its_own(far: tuple[str, ...]):
    async with FakeServer() as up, Sidecar({"far": up.url}, telemetry=TelemetrySettings(baggage=far)) as there:
        url = f"grpc://{there.address('grpc')}/far"
        async with Sidecar({"up": url}, telemetry=TelemetrySettings(baggage=("tenant",))) as here:
            await in_header(here, "stage=b,tenant=7", PARENT)
        assert carried(up) == (("tenant=7", "tenant=7") if far else (None, None))


@pytest.mark.covers("B-378")
@ERAS
@pytest.mark.parametrize("parent", ["", "00-0-0-00", 7, PARENT.upper()])
async def test_a_malformed_trace_in_a_message_leaves_that_of_the_header(era: Any, parent: Any):
    body = message(params={**ECHO, "_meta": {**META, "traceparent": parent, "tracestate": "a=1"}})
    async with FakeServer(era) as up, Sidecar({"up": up.url}) as sidecar:
        assert (await post(sidecar.url("up"), body)).status == 200
        assert "traceparent" not in up.requests[-1].meta
        assert "tracestate" not in up.requests[-1].meta
        assert (await post(sidecar.url("up"), body, traceparent=PARENT)).status == 200
        assert up.requests[-1].meta["traceparent"] == up.requests[-1].headers["traceparent"] == PARENT
