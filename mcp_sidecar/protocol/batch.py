"""Several messages in one JSON array, which 2025-03-26 has and no other revision. Knows no peer and no wire."""

from __future__ import annotations

import msgspec

from mcp_sidecar.errors import InvalidCall, MalformedMessage
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.json_text import check_text
from mcp_sidecar.protocol.jsonrpc import Message, Response

VERSION = "2025-03-26"
_MOST_OF_SERVER = 1000
_BLANKS = b" \t\r\n"
_batch = msgspec.json.Decoder(list[msgspec.Raw])


def is_batch(text: bytes) -> bool:
    """The text is a JSON array, if it is JSON."""
    return text.lstrip(_BLANKS)[:1] == b"["


def split(text: bytes, most: int) -> list[Message]:
    """The messages, `most` at most. Raises `InvalidCall`."""
    check_text(text)
    try:
        parts = _batch.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedMessage(f"the batch is not valid JSON: {error}") from error
    if not 0 < len(parts) <= most:
        raise InvalidCall(f"a batch holds 1 to {most} messages")
    return [jsonrpc.parse(bytes(part)) for part in parts]


def split_of_server(text: bytes) -> list[Message]:
    """As `split`, answers last: their order says nothing, and whoever waits for one leaves with it."""
    return sorted(split(text, _MOST_OF_SERVER), key=lambda message: isinstance(message, Response))
