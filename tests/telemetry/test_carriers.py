"""What of a trace context reaches a server: in its message and around it the same, and nothing that is malformed."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from mcp_sidecar.v1 import engine_pb2, engine_pb2_grpc
from tests.outbound.calling import message
from tests.support.fake_server import FakeServer
from tests.support.otlp import Collector
from tests.support.raw_mcp import Legacy, Modern
from tests.support.sidecar_process import SidecarProcess, sidecar_process
from tests.telemetry.driving import PARENT, TRACE, of_legacy

PROGRAM = f"stdio:{sys.executable} -IS {Path(__file__).parents[2]}/tests/support/servers/stdio_server.py modern"
SAMPLERS = {"off": "", "on": "parentbased_always_on", "unsampled": "parentbased_always_off"}
Meta = Mapping[str, Any]
Carrier = tuple[str | None, str | None]
"""A parent and a state."""


def cases(parent: str) -> list[tuple[Meta, bool, str | None]]:
    """What a caller says of its trace, whether that trace goes on, and with what state."""
    return [
        ({"traceparent": parent, "tracestate": "a=1,b=2"}, True, "a=1,b=2"),
        ({"traceparent": parent, "tracestate": " a=1 "}, True, "a=1"),
        ({"traceparent": parent, "tracestate": "a=" + "x" * 10_000}, True, None),
        ({"traceparent": parent, "tracestate": "a=\n1é"}, True, None),
        ({"traceparent": parent, "tracestate": "a=1,,=b;;"}, True, None),
        ({"traceparent": parent, "tracestate": 7}, True, None),
        ({"traceparent": parent, "tracestate": ""}, True, None),
        ({"traceparent": "cc" + parent[2:] + "-more"}, True, None),
        ({"traceparent": parent + "-extra", "tracestate": "a=1"}, False, None),
        ({"traceparent": "00-zz", "tracestate": "a=1"}, False, None),
        ({"tracestate": "a=1"}, False, None),
    ]


@contextlib.asynccontextmanager
async def servers(telemetry: str) -> AsyncIterator[tuple[SidecarProcess, FakeServer, FakeServer, FakeServer]]:
    """A sidecar in front of a server of each era and a program, and of another sidecar in front of a third server."""
    async with Collector() as collector, FakeServer() as modern, FakeServer("legacy") as legacy, FakeServer() as last:
        sampler = SAMPLERS[telemetry]
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc, "OTEL_TRACES_SAMPLER": sampler} if sampler else {}
        with sidecar_process({"last": last.url}, environ=environ) as far:
            ways = {"modern": modern.url, "legacy": legacy.url, "io": PROGRAM, "far": f"grpc://{far.bound['grpc']}"}
            with sidecar_process(ways, environ=environ) as sidecar:
                yield sidecar, modern, legacy, last


async def ask(sidecar: SidecarProcess, asking: str, server: str, tool: str, meta: Meta) -> Any:
    """The result of a call over this face."""
    arguments = {"text": "hi"} if tool == "echo" else {}
    if asking == "grpc":
        body = message("tools/call", {"name": tool, "arguments": arguments}, **meta)
        async with grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
            request = engine_pb2.CallRequest(server=server, message_json=body)
            answer = await engine_pb2_grpc.MCPEngineStub(channel).Call(request, timeout=10)
        return json.loads(answer.message_json)["result"]
    client = Legacy(sidecar.url(server)) if asking == "legacy" else Modern(sidecar.url(server))
    if isinstance(client, Legacy):
        await client.initialize()
    reply = await client.call(tool, arguments, **meta)
    await client.close()
    return reply.messages[-1]["result"]


def carried(server: FakeServer) -> Carrier:
    """What the last call of a tool had, in its message and around it alike."""
    (received,) = [one for one in server.requests if one.tool][-1:]
    around = received.headers.get("traceparent"), received.headers.get("tracestate")
    assert around == (received.meta.get("traceparent"), received.meta.get("tracestate"))
    return around


@pytest.mark.covers("B-378")
@pytest.mark.parametrize("asking", ["modern", "legacy", "grpc"])
@pytest.mark.parametrize("telemetry", SAMPLERS)
async def test_header_and_message_say_the_same_of_a_trace_and_nothing_malformed(telemetry: str, asking: str):
    parent = PARENT if telemetry == "on" else PARENT[:-1] + "0"
    async with servers(telemetry) as (sidecar, modern, legacy, last):
        for meta, goes_on, state in cases(parent):
            found = []
            for name, server in (("modern", modern), ("legacy", legacy), ("far", last)):
                await ask(sidecar, asking, name, "echo", meta)
                found.append(carried(server))
            answer = await ask(sidecar, asking, "io", "meta", meta)
            told = json.loads(answer["content"][0]["text"])
            found.append((told.get("traceparent"), told.get("tracestate")))
            for got_parent, got_state in found:
                assert (got_parent or "")[3:35] == TRACE if goes_on else TRACE not in (got_parent or ""), meta
                assert (got_parent is None) <= (telemetry == "off"), meta
                assert got_state == state, meta


@pytest.mark.covers("B-378")
async def test_what_a_client_tells_carries_its_trace_in_header_and_message_or_in_none():
    async with FakeServer("legacy") as up:
        with sidecar_process({"up": up.url}) as sidecar:
            await of_legacy(sidecar)
            client = Legacy(sidecar.url("up"))
            await client.initialize()
            await client.call("echo", {"text": "hi"})
            for parent in (PARENT, "00-zz"):
                meta = {"traceparent": parent, "tracestate": "a=1"}
                await client.notify("notifications/roots/list_changed", {"_meta": meta})
            await up.until(lambda s: s.count("notifications/roots/list_changed") == 2)
            told = [one for one in up.requests if one.rpc == "notifications/roots/list_changed"]
            await client.close()
    assert [(one.headers.get("traceparent"), one.headers.get("tracestate")) for one in told] == [
        (one.meta.get("traceparent"), one.meta.get("tracestate")) for one in told
    ]
    assert [one.meta.get("traceparent") for one in told] == [PARENT, None]
