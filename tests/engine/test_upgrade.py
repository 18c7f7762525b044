"""Shapes of the 2025 era out of modern ones, and the other way round, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_sidecar.engine import upgrade
from mcp_sidecar.errors import UpstreamProtocolError
from mcp_sidecar.protocol.jsonrpc import Request, Response


def shown(method: str, result: Any) -> Any:
    text = result if isinstance(result, bytes) else json.dumps(result).encode()
    return json.loads(upgrade.response(Request(method, b"1"), Response(b"1", text)).result or b"")


def test_values_keep_every_byte():
    raw = b'{"big":9007199254740993,"one":1.0,"z":{"b":1,"a":[1e3]},"resultType":"complete"}'
    answer = upgrade.response(Request("tools/call", b"1"), Response(b"1", raw))
    assert answer.result == b'{"big":9007199254740993,"one":1.0,"z":{"b":1,"a":[1e3]}}'


def test_metadata_of_the_modern_era_goes_and_the_servers_own_stays():
    server = {"io.modelcontextprotocol/serverInfo": {"name": "x"}}
    assert shown("tools/call", {"_meta": server}) == {}
    assert shown("tools/call", {"_meta": {**server, "com.example/a": 1}}) == {"_meta": {"com.example/a": 1}}


@pytest.mark.parametrize("value", [[1], "x", 1, None])
def test_structured_content_that_is_no_object_goes(value: Any):
    assert shown("tools/call", {"content": [], "structuredContent": value}) == {"content": []}
    assert shown("tools/call", {"structuredContent": {"a": 1}}) == {"structuredContent": {"a": 1}}


def test_output_schemas_of_no_object_go_and_nothing_else_of_a_tool():
    tools = [
        {"name": "a", "outputSchema": {"type": "array"}, "x": 1},
        {"name": "b", "outputSchema": {"type": "object", "properties": {}}},
        {"name": "c"},
        {"name": "d", "outputSchema": {"anyOf": []}},
    ]
    assert shown("tools/list", {"tools": tools})["tools"] == [
        {"name": "a", "x": 1},
        tools[1],
        {"name": "c"},
        {"name": "d"},
    ]


@pytest.mark.parametrize("odd", [b'{"tools":3}', b'{"tools":["outputSchema"]}', b'{"tools":[{"outputSchema":3}]}'])
def test_odd_lists_pass_as_they_are(odd: bytes):
    assert shown("tools/list", odd) == json.loads(odd)


@pytest.mark.parametrize("result", [b"[]", b"3", b'{"_meta":[]}'])
def test_a_result_that_is_no_object_is_the_servers_fault(result: bytes):
    with pytest.raises(UpstreamProtocolError):
        upgrade.response(Request("tools/call", b"1"), Response(b"1", result))


@pytest.mark.parametrize(("code", "told"), [(-32020, -32603), (-32022, -32603), (-32602, -32602), (7, 7)])
def test_what_is_between_sidecar_and_server_stays_there(code: int, told: int):
    error = json.dumps({"code": code, "message": "m"}).encode()
    answer = upgrade.response(Request("tools/call", b"1"), Response(b"1", error=error))
    assert json.loads(answer.error or b"")["code"] == told


@pytest.mark.parametrize(
    ("declared", "shown"),
    [
        (b"{}", {}),
        (b'{"tasks":{},"roots":{"listChanged":true}}', {"roots": {}}),
        (b'{"elicitation":{}}', {"elicitation": {"form": {}}}),
        (
            b'{"elicitation":{"url":{}},"sampling":{"tools":{}}}',
            {"elicitation": {"url": {}}, "sampling": {"tools": {}}},
        ),
    ],
)
def test_capabilities_are_those_that_both_eras_know(declared: bytes, shown: Any):
    assert json.loads(upgrade.capabilities(declared)) == shown
