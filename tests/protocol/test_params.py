"""Arguments that headers repeat: `protocol.params`, compared with the official SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import (
    find_invalid_x_mcp_header,
    mcp_param_headers,
    validate_mcp_param_headers,
    x_mcp_header_map,
)

from mcp_sidecar.errors import HeaderMismatch, InvalidCall
from mcp_sidecar.protocol import params

REGION = {"type": "string", "x-mcp-header": "Region"}


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


NESTED = schema(
    region=REGION,
    where=schema(zone={"type": "integer", "x-mcp-header": "Zone"}),
    dry={"type": "boolean", "x-mcp-header": "Dry-Run"},
)


def pairs(arguments: Any, of: Any = NESTED) -> dict[bytes, bytes]:
    return dict(params.values(params.mirrored(encoded(of)), encoded(arguments)))


@pytest.mark.covers("B-190")
@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({}, {}),
        ({"region": "eu", "where": {"zone": 7}, "dry": True}, {"region": b"eu", "zone": b"7", "dry-run": b"true"}),
        ({"region": None, "where": None, "dry": False}, {"dry-run": b"false"}),
        ({"region": "grüße"}, {"region": b"=?base64?Z3LDvMOfZQ==?="}),
        ({"region": " eu"}, {"region": b"=?base64?IGV1?="}),
        ({"region": ["eu"], "where": "x"}, {}),
        ({"where": {"zone": 42.0}}, {"zone": b"42"}),
    ],
)
def test_arguments_become_headers_as_the_specification_writes_them(arguments: Any, headers: dict[str, bytes]):
    assert pairs(arguments) == {f"mcp-param-{name}".encode(): value for name, value in headers.items()}


INVALID = [
    schema(a={"type": "string", "x-mcp-header": ""}),
    schema(a={"type": "string", "x-mcp-header": "two words"}),
    schema(a={"type": "string", "x-mcp-header": "a:b"}),
    schema(a={"type": "string", "x-mcp-header": "größe"}),
    schema(a={"type": "string", "x-mcp-header": 1}),
    schema(a=REGION, b={"type": "string", "x-mcp-header": "REGION"}),
    schema(a={"type": "number", "x-mcp-header": "A"}),
    schema(a={"type": "array", "x-mcp-header": "A"}),
    schema(a={"type": "object", "x-mcp-header": "A"}),
    schema(a={"type": ["string", "null"], "x-mcp-header": "A"}),
    schema(a={"x-mcp-header": "A"}),
    schema(a={"type": "array", "items": REGION}),
    schema(a={"anyOf": [schema(b=REGION)]}),
    {"type": "object", "additionalProperties": REGION},
    {"type": "object", "$defs": {"x": REGION}, "properties": {"a": {"$ref": "#/$defs/x"}}},
    {"type": "object", "x-mcp-header": "A"},
    {"type": "object", "if": schema(a=REGION)},
]
VALID = [
    NESTED,
    schema(),
    {},
    True,
    schema(**{"x-mcp-header": {"type": "string"}}),  # a property of that name
    schema(a={"type": "string", "default": {"x-mcp-header": "data"}}),
    schema(a={"type": "string", "enum": [{"x-mcp-header": 1}]}),
]


@pytest.mark.covers("B-192")
@pytest.mark.parametrize("of", INVALID)
def test_annotations_that_break_the_rules_are_refused_as_the_sdk_does(of: Any):
    assert find_invalid_x_mcp_header(of) is not None
    with pytest.raises(InvalidCall):
        params.mirrored(encoded(of))


@pytest.mark.parametrize("of", VALID)
def test_annotations_that_keep_the_rules_are_found_as_the_sdk_does(of: Any):
    assert find_invalid_x_mcp_header(of) is None
    found = {one.path: one.header for one in params.mirrored(encoded(of))}
    assert found == {path: f"mcp-param-{name.lower()}".encode() for path, name in x_mcp_header_map(of).items()}


VALUE = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.text(max_size=8), st.just([1]))


@pytest.mark.covers("B-190", "B-191")
@given(st.fixed_dictionaries({}, optional={"region": st.text(max_size=9), "dry": VALUE, "where": st.just({"zone": 3})}))
def test_the_headers_are_those_of_the_sdk_and_agree_with_their_arguments(arguments: dict[str, Any]):
    made = pairs(arguments)
    theirs = mcp_param_headers(x_mcp_header_map(NESTED), arguments)
    empty = b"=?base64??="  # an empty header is easily lost on the way
    assert made == {name.lower().encode(): value.encode() or empty for name, value in theirs.items()}
    params.check(params.mirrored(encoded(NESTED)), encoded(arguments), tuple(made.items()))


@pytest.mark.covers("B-191")
@pytest.mark.parametrize(
    ("arguments", "given_", "agrees"),
    [
        ({"region": "eu"}, {"Region": "eu"}, True),
        ({"region": "eu"}, {"Region": "=?base64?ZXU=?="}, True),
        ({"region": "eu"}, {"Region": "EU"}, False),
        ({"region": "eu"}, {}, False),
        ({}, {"Region": "eu"}, False),
        ({"region": None}, {"Region": "eu"}, False),
        ({"region": None}, {}, True),
        ({"where": {"zone": 42}}, {"Zone": "42.0"}, True),
        ({"where": {"zone": 42.0}}, {"Zone": "42"}, True),
        ({"where": {"zone": 42}}, {"Zone": "43"}, False),
        ({"dry": True}, {"Dry-Run": "True"}, False),
        ({"region": "eu"}, {"Region": "eu", "Unknown": "x"}, True),
        ({"region": "eu"}, {"Region": "=?base64?e?="}, False),
    ],
)
def test_headers_have_to_say_what_the_arguments_say(arguments: Any, given_: dict[str, str], agrees: bool):
    headers = tuple((f"mcp-param-{name.lower()}".encode(), value.encode()) for name, value in given_.items())
    theirs = validate_mcp_param_headers(
        NESTED, arguments, {f"Mcp-Param-{name}": value for name, value in given_.items()}
    )
    assert (theirs is None) is agrees
    if agrees:
        params.check(params.mirrored(encoded(NESTED)), encoded(arguments), headers)
    else:
        with pytest.raises(HeaderMismatch):
            params.check(params.mirrored(encoded(NESTED)), encoded(arguments), headers)


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 5000])
def test_a_schema_that_cannot_be_read_is_refused(raw: bytes):
    with pytest.raises(InvalidCall):
        params.mirrored(raw)
