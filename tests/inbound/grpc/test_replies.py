"""Responses written by hand are, byte by byte, what any protobuf reads as the response that was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.call import Call
from mcp_sidecar.errors import Execution
from mcp_sidecar.inbound.grpc.messages import info
from mcp_sidecar.inbound.grpc.replies import Replies, length
from mcp_sidecar.v1 import engine_pb2 as pb

REPLIES = Replies()
TEXT = st.text(st.characters(codec="utf-8"), max_size=200)


@given(st.binary(max_size=300), TEXT.filter(bool), TEXT, TEXT, TEXT, st.booleans(), st.sampled_from(list(Execution)))
def test_a_response_says_what_protobuf_would_have_said(
    message: bytes,
    request_id: str,
    server: str,
    connection: str,
    version: str,
    kept: bool,
    execution: Execution,
):
    call = Call("/a.B/C", request_id, server=server, connection_id=connection, protocol_version=version)
    call.from_cache, call.execution = kept, execution
    wanted = pb.CallResponse(message_json=message, info=info(call))
    for _ in range(2):  # as a call of a new kind, and as one of a known kind
        assert pb.CallResponse.FromString(REPLIES.write(message, call)) == wanted


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 2**21 - 1, 2**21, 2**24])
def test_long_messages_have_long_lengths(size: int):
    data = bytes(size)
    written = b"\x0a" + length(data) + data
    assert pb.CallResponse.FromString(written).message_json == data


def test_what_is_kept_is_bounded():
    replies = Replies()
    for number in range(3000):
        call = Call("/a.B/C", "rid", server="up", connection_id=f"c{number}")
        assert pb.CallResponse.FromString(replies.write(b"{}", call)).info.connection_id == f"c{number}"
    assert len(replies._known) <= 1024
