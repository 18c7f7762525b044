"""Tests of `mcp_sidecar.inbound.grpc.messages`, which needs no server."""

from __future__ import annotations

import pytest

from mcp_sidecar.call import Call
from mcp_sidecar.errors import Execution, InvalidCall, InvalidParams, TooLarge, UnsupportedVersion
from mcp_sidecar.inbound.grpc.messages import check_size, complete, execution_number, info, read_request, tool_request
from mcp_sidecar.inbound.grpc.metadata import RpcCall
from mcp_sidecar.protocol import eras
from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.v1 import engine_pb2 as pb
from tests.inbound.grpc.asking import request, tool

LIMIT = 10_000
LEFT_TO_US = RpcCall(rpc="Call", request_id="r")
REQUIRED = {eras.META_VERSION, eras.META_CAPABILITIES}


@pytest.mark.covers("B-04")
@pytest.mark.parametrize("events", [False, True])
def test_a_request_without_meta_is_completed_and_one_with_meta_keeps_its_own(events: bool):
    bare = read_request(pb.CallRequest(message_json=tool("echo", text="hi")), LEFT_TO_US, LIMIT, events=events)
    assert set(bare.meta) >= REQUIRED
    assert ("progressToken" in bare.meta) is (eras.META_LOG_LEVEL in bare.meta) is events
    message = request("tools/list", _meta={"progressToken": "mine", eras.META_CAPABILITIES: {"sampling": {}}})
    own = read_request(pb.CallRequest(message_json=message), LEFT_TO_US, LIMIT, events=events)
    assert own.meta["progressToken"] == b'"mine"'
    assert own.meta[eras.META_CAPABILITIES] == b'{"sampling": {}}'
    assert eras.META_LOG_LEVEL not in own.meta


@pytest.mark.parametrize(
    ("meta", "wrong"),
    [
        ({eras.META_VERSION: b'"2025-11-25"'}, UnsupportedVersion),
        ({eras.META_VERSION: b"7"}, UnsupportedVersion),
        ({eras.META_CAPABILITIES: b"[]"}, InvalidParams),
        ({eras.META_CAPABILITIES: b"null"}, InvalidParams),
    ],
)
def test_meta_that_contradicts_the_revision_is_refused(meta: dict[str, bytes], wrong: type[InvalidCall]):
    with pytest.raises(wrong):
        complete(Request("tools/list", b"1", meta=meta))


def test_a_notification_is_no_call():
    with pytest.raises(InvalidCall, match="is a notification"):
        complete(Request("notifications/progress"))


@pytest.mark.covers("B-08")
def test_mirrors_are_compared_with_what_the_method_names():
    read = request("resources/read", uri="fake://greeting")
    right = pb.CallRequest(message_json=read, method="resources/read", name="fake://greeting")
    assert read_request(right, LEFT_TO_US, LIMIT, events=False).method == "resources/read"
    listing = pb.CallRequest(message_json=request("tools/list"), name="echo")
    with pytest.raises(InvalidCall) as caught:
        read_request(listing, LEFT_TO_US, LIMIT, events=False)
    assert caught.value.violations[0][0] == "name"


def test_a_mirror_is_cut_before_it_is_repeated():
    wrong = pb.CallRequest(message_json=tool("echo"), name="x" * 5000)
    with pytest.raises(InvalidCall) as caught:
        read_request(wrong, LEFT_TO_US, LIMIT, events=False)
    assert len(caught.value.message) < 500


def test_every_part_of_a_tool_call_has_to_fit():
    assert check_size(b"x" * LIMIT, LIMIT) == b"x" * LIMIT
    large = b'{"a": "' + b"x" * LIMIT + b'"}'
    for called in (
        pb.CallToolRequest(tool="echo", arguments_json=large),
        pb.CallToolRequest(tool="echo", meta_json=large),
    ):
        with pytest.raises(TooLarge):
            tool_request(called, LIMIT)


@pytest.mark.covers("B-02")
def test_arguments_of_a_tool_call_keep_their_bytes():
    arguments = b'{"z": 1.0, "a": 9007199254740993, "m": "\\u00e9", "n": [ 1 , 2 ]}'
    called = tool_request(pb.CallToolRequest(tool='odd "name"', arguments_json=arguments), LIMIT)
    assert called.params == {"name": b'"odd \\"name\\""', "arguments": arguments}
    assert set(called.meta) >= REQUIRED


def test_what_became_of_a_call_is_told_in_full():
    call = Call("/x", "r-1", server="up", execution=Execution.UNKNOWN, connection_id="c1", protocol_version="v")
    told = info(call)
    assert told == pb.CallInfo(
        request_id="r-1", server="up", connection_id="c1", protocol_version="v", execution=pb.EXECUTION_UNKNOWN
    )
    assert {execution_number(one) for one in Execution} == {1, 2, 3}
