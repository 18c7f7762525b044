"""Tests of `Stream`: what a server says by itself, in both eras, through a whole sidecar."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc.aio
import pytest
from google.rpc.error_details_pb2 import BadRequest

from mcp_sidecar.v1 import engine_pb2 as pb
from tests.inbound.grpc.asking import asked, details, failed, tool
from tests.inbound.waiting import eventually
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
RPC = "/mcp_sidecar.v1.MCPEngine/Stream"


async def told(stream: Any) -> dict[str, Any]:
    """The next notification, parsed."""
    message: dict[str, Any] = json.loads((await stream.read()).notification_json)
    return message


async def _heard(up: FakeServer) -> None:
    """The sidecar listens. In the legacy era its acknowledgement may come before that."""
    await eventually(lambda: up.streams)


@pytest.mark.covers("B-05")
@ERAS
async def test_a_stream_begins_with_its_acknowledgement_and_goes_on_with_list_changes(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        stream: Any = sidecar.engine.Stream(pb.StreamRequest())
        first = await told(stream)
        assert first["method"] == "notifications/subscriptions/acknowledged"
        kinds = ("tools", "prompts", "resources")
        assert first["params"]["notifications"] == {f"{kind}ListChanged": True for kind in kinds}
        await _heard(up)
        for kind in kinds:
            assert up.push(f"notifications/{kind}/list_changed") == 1
            message = await told(stream)
            assert message["method"] == f"notifications/{kind}/list_changed"
            assert message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] is not None
        stream.cancel()
        await eventually(lambda: not up.streams)
        assert up.violations == []


@pytest.mark.covers("B-05")
@ERAS
async def test_a_stream_delivers_only_what_was_asked_for(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        wanted = pb.StreamRequest(tools_list_changed=True, resource_subscriptions=["fake://greeting"])
        stream: Any = sidecar.engine.Stream(wanted)
        acknowledged = (await told(stream))["params"]["notifications"]
        assert acknowledged == {"toolsListChanged": True, "resourceSubscriptions": ["fake://greeting"]}
        await _heard(up)
        up.push("notifications/prompts/list_changed")
        up.push("notifications/resources/updated", {"uri": "fake://pixel"})
        up.push("notifications/resources/updated", {"uri": "fake://greeting"})
        up.push("notifications/tools/list_changed")
        assert (await told(stream))["params"]["uri"] == "fake://greeting"
        assert (await told(stream))["method"] == "notifications/tools/list_changed"
        stream.cancel()


@pytest.mark.covers("B-05")
async def test_logs_of_a_legacy_server_are_delivered_from_the_level_asked_for():
    async with FakeServer(era="legacy") as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        stream: Any = sidecar.engine.Stream(pb.StreamRequest(log_level="warning"))
        await told(stream)
        await _heard(up)
        up.push("notifications/message", {"level": "info", "data": "too quiet"})
        up.push("notifications/message", {"level": "error", "data": "loud"})
        assert (await told(stream))["params"]["data"] == "loud"
        stream.cancel()


async def test_an_unknown_log_level_is_refused():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(5):
        error = await failed(sidecar.engine.Stream(pb.StreamRequest(log_level="loud")).read())
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert details(error)[BadRequest].field_violations[0].field == "log_level"
        assert up.requests == []


@ERAS
async def test_many_streams_of_one_server_all_hear_it(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        streams: list[Any] = [sidecar.engine.Stream(pb.StreamRequest(tools_list_changed=True)) for _ in range(8)]
        for stream in streams:
            await told(stream)
        await eventually(lambda: up.streams == (8 if era == "modern" else 1))
        up.push("notifications/tools/list_changed")
        for stream in streams:
            assert (await told(stream))["method"] == "notifications/tools/list_changed"
            stream.cancel()
        await eventually(lambda: not up.streams)


@pytest.mark.covers("B-20", "B-30")
@ERAS
async def test_a_stream_that_its_client_ends_is_ended_upstream_and_logged_once(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        stream: Any = sidecar.engine.Stream(pb.StreamRequest())
        await told(stream)
        await _heard(up)
        stream.cancel()
        await eventually(lambda: not up.streams)
        await eventually(sidecar.calls)
        assert [line["code"] for line in sidecar.calls(rpc=RPC)] == ["CANCELLED"]


async def test_a_stream_ends_well_when_the_server_ends_it_or_the_sidecar_drains():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        for end in (up.end_subscriptions, sidecar.stop):
            stream: Any = sidecar.engine.Stream(pb.StreamRequest())
            await told(stream)
            await _heard(up)
            end()
            assert await stream.read() is grpc.aio.EOF
            assert await stream.code() is grpc.StatusCode.OK
            await eventually(lambda: not up.streams)


@ERAS
async def test_a_stream_whose_server_dies_says_so(era: Any):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}) as sidecar, asyncio.timeout(10):
        stream: Any = sidecar.engine.Stream(pb.StreamRequest())
        await told(stream)
        await _heard(up)
        await up.stop()
        error = await failed(stream.read())
        assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_of_a_connection_goes_to_its_server_and_to_no_other():
    async with FakeServer() as one, FakeServer() as two, Sidecar({"one": one.url, "two": two.url}) as sidecar:
        async with asyncio.timeout(10):
            answer = await sidecar.engine.Call(asked(tool("echo", text="hi"), server="two"))
            stream: Any = sidecar.engine.Stream(pb.StreamRequest(connection_id=answer.info.connection_id))
            assert (await stream.read()).info.server == "two"
            await _heard(two)
            stream.cancel()
            wrong = pb.StreamRequest(server="one", connection_id=answer.info.connection_id)
            error = await failed(sidecar.engine.Stream(wrong).read())
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert details(error)[BadRequest].field_violations[0].field == "connection_id"
            gone = await failed(sidecar.engine.Stream(pb.StreamRequest(connection_id="c99")).read())
            assert gone.code() is grpc.StatusCode.NOT_FOUND
