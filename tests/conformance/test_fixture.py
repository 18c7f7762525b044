"""The fixture where the suite does not look: a server of one era knows nothing of the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance import ways
from tests.support import raw_http
from tests.support.raw_http import JSON_AND_EVENTS, Reply
from tests.support.raw_mcp import Modern

INITIALIZE = (
    b'{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}'
)
LIST = b'{"jsonrpc":"2.0","id":8,"method":"tools/list"}'


def refusal(reply: Reply) -> tuple[int, int]:
    """The HTTP status, and the code of the JSON-RPC error."""
    return reply.status, reply.messages[-1]["error"]["code"]


@pytest.fixture(scope="module")
def modern_only() -> Iterator[str]:
    with ways.fixture("modern-only") as server:
        yield server.url


@pytest.fixture(scope="module")
def legacy_only() -> Iterator[str]:
    with ways.fixture("legacy-only") as server:
        yield server.url


async def test_a_modern_only_server_refuses_a_handshake_and_says_what_it_speaks(modern_only: str):
    reply = await raw_http.request("POST", modern_only, INITIALIZE, JSON_AND_EVENTS)
    assert refusal(reply) == (404, -32601)
    assert reply.messages[-1]["id"] == 7
    assert reply.messages[-1]["error"]["data"] == {"supported": ["2026-07-28"]}


@pytest.mark.parametrize(("version", "code"), [("", -32020), ("2025-11-25", -32022)])
async def test_a_modern_only_server_takes_no_request_of_the_other_era(modern_only: str, version: str, code: int):
    headers = {**JSON_AND_EVENTS, "MCP-Protocol-Version": version} if version else JSON_AND_EVENTS
    reply = await raw_http.request("POST", modern_only, LIST, headers)
    assert refusal(reply) == (400, code)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_modern_only_server_has_neither_sessions_nor_streams_of_its_own(modern_only: str, method: str):
    reply = await raw_http.request(method, modern_only, b"", {**JSON_AND_EVENTS, "Mcp-Session-Id": "x"})
    assert reply.status == 405


async def test_a_legacy_only_server_does_not_know_what_discovering_is(legacy_only: str):
    reply = await Modern(legacy_only).request("server/discover")
    assert refusal(reply) == (400, -32600)
