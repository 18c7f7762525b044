"""`CallResponse` on the wire, put together from the bytes that are there. Knows no engine and no gRPC.

Building the message as objects and then as bytes costs as much as all else that is done to an answer. What is the same
for many calls is left to protobuf and kept.
"""

from __future__ import annotations

from mcp_sidecar.call import Call
from mcp_sidecar.errors import Execution
from mcp_sidecar.inbound.grpc.messages import info
from mcp_sidecar.v1 import engine_pb2 as pb

_MESSAGE = b"\x0a"  # CallResponse.message_json: field 1, a length and bytes
_INFO = b"\x7a"  # CallResponse.info: field 15
_REQUEST_ID = b"\x0a"  # CallInfo.request_id: field 1
_MOST_KEPT = 1024
_DONE = Execution.DONE  # looking a member up in its class costs as much as a call
Facts = tuple[str, str, str, bool]


class Replies:
    """Writes responses; keeps what `CallInfo` says besides the request's id."""

    def __init__(self) -> None:
        self._known: dict[Facts, bytes] = {}

    def write(self, message: bytes, call: Call) -> bytes:
        """A serialised `CallResponse` with `message` and what became of the call."""
        if call.execution is not _DONE:
            return pb.CallResponse(message_json=message, info=info(call)).SerializeToString()
        facts = (call.server, call.connection_id, call.protocol_version, call.from_cache)
        rest = self._known.get(facts) or self._learn(facts)
        request_id = call.request_id.encode()
        said = b"%b%b%b%b" % (_REQUEST_ID, length(request_id), request_id, rest)
        return b"%b%b%b%b%b%b" % (_MESSAGE, length(message), message, _INFO, length(said), said)

    def _learn(self, facts: Facts) -> bytes:
        server, connection_id, version, from_cache = facts
        known = pb.CallInfo(
            server=server,
            connection_id=connection_id,
            protocol_version=version,
            from_cache=from_cache,
            execution=pb.EXECUTION_DONE,
        ).SerializeToString()
        if len(self._known) >= _MOST_KEPT:
            self._known.clear()
        self._known[facts] = known
        return known


def length(data: bytes) -> bytes:
    """How long `data` is, as a varint."""
    number = len(data)
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
