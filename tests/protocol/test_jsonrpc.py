"""What a JSON-RPC message means and how it is written again: `protocol.jsonrpc`."""

from __future__ import annotations

import json
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.errors import InvalidCall, InvalidParams
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request, Response, parse, parse_request
from tests.protocol.spellings import FRAGILE, objects, respelt, texts

METHODS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)


def request(params: bytes = b"{}", request_id: bytes = b"1", method: bytes = b"tools/call") -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":%b}' % (request_id, method, params)


@pytest.mark.covers("B-02")
@pytest.mark.parametrize("value", FRAGILE.values(), ids=FRAGILE)
@pytest.mark.parametrize("blank", [b"", b" ", b"\r\n\t"])
def test_a_value_leaves_as_the_bytes_it_came_in(value: bytes, blank: bytes):
    meta = b'{"progressToken":%b,%b"com.example/x":%b}' % (b"7", blank, value)
    data = request(b'{%b"name":"echo",%b"arguments":%b,"x-odd":%b,"_meta":%b}' % (blank, blank, value, value, meta))
    found = parse_request(data)
    assert found.params["arguments"] == found.params["x-odd"] == found.meta["com.example/x"] == value
    again = found.encode(b"42")
    assert again == (
        b'{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{"name":"echo","arguments":%b,"x-odd":%b,'
        b'"_meta":{"progressToken":7,"com.example/x":%b}}}' % (value, value, value)
    )
    assert parse_request(again).params == found.params


@pytest.mark.covers("B-02")
@pytest.mark.parametrize("value", FRAGILE.values(), ids=FRAGILE)
def test_a_result_and_an_error_leave_as_the_bytes_they_came_in(value: bytes):
    result = parse(b'{"jsonrpc":"2.0","id":"a","result":{"x":%b}}' % value)
    assert result.encode(b"9") == b'{"jsonrpc":"2.0","id":9,"result":{"x":%b}}' % value
    error = parse(b'{"error":{"code":-1,"data":%b,"message":""},"id":3 ,"jsonrpc":"2.0"}' % value)
    assert error.encode(b"9") == b'{"jsonrpc":"2.0","id":9,"error":{"code":-1,"data":%b,"message":""}}' % value


@pytest.mark.covers("B-02")
@given(METHODS, objects, objects, st.integers(-(10**80), 10**80) | texts, st.randoms(use_true_random=False))
def test_any_request_in_any_spelling_keeps_its_meaning(method, params, meta, request_id, chance):
    params.pop("_meta", None)
    whole = {"id": request_id, "params": params | {"_meta": meta}, "method": method}
    data = (respelt(whole, chance)[:-1] + ',"jsonrpc":"2.0"}').encode()
    found = parse_request(data)
    assert (found.method, json.loads(found.id)) == (method, request_id)
    assert {key: json.loads(value) for key, value in found.params.items()} == params
    assert list(found.params) == list(params)
    assert {key: json.loads(value) for key, value in found.meta.items()} == meta
    again = json.loads(found.encode(found.id))
    expected = {
        "jsonrpc": "2.0",
        "id": request_id,
        "method": method,
        "params": params | ({"_meta": meta} if meta else {}),
    }
    if not expected["params"]:
        del expected["params"]
    assert again == expected


@pytest.mark.covers("B-02")
@pytest.mark.parametrize("order", [*permutations(("jsonrpc", "id", "method", "params"))], ids="-".join)
@pytest.mark.parametrize(
    "value", [b"1", b'{"params":{"a":1}}', b'"\\"params\\":{}"', b'[{"method":"x","params":{}},2]']
)
def test_the_order_of_members_changes_nothing(order: tuple[str, ...], value: bytes):
    """In compact messages too, which leave as they came, whatever in them looks like another part of them."""
    parts = {
        "jsonrpc": b'"2.0"',
        "id": b"7",
        "method": b'"tools/call"',
        "params": b'{"name":"echo","params":%b}' % value,
    }
    data = b"{%b}" % b",".join([b'"%b":%b' % (name.encode(), parts[name]) for name in order])
    assert parse_request(data).encode(b"8") == request(parts["params"], b"8")


_ROWS = b'[{"a":[1,{}]}' + b',{"a":[]}' * 1000 + b"]"


@pytest.mark.covers("B-02")
@pytest.mark.parametrize(
    "params",
    [
        b'{"_meta":{"a":1},"name":"echo","arguments":{"rows":%b}}' % _ROWS,
        b'{"_meta":{"a":%b},"name":"echo"}' % _ROWS,
        b'{"_meta":{"a":1},"%b":"%b"}' % (b"[{" * 100, b"[{" * 100),
    ],
    ids=["rows", "rows in _meta", "words"],
)
def test_a_compact_request_leaves_as_it_came_however_many_brackets_it_has(params: bytes):
    """Brackets side by side, or in words, are no depth: it need not be taken apart and put together."""
    assert parse_request(request(params, b"7")).encode(b"8") == request(params, b"8")


def test_names_of_methods_that_clients_invent_are_not_kept_for_ever():
    for number in range(1000):
        data = b'{"jsonrpc":"2.0","id":1,"method":"x/%d\\"","params":{"a":1}}' % number
        assert parse_request(data).encode(b"1") == data
    assert len(jsonrpc._methods) <= 256


@given(objects, st.randoms(use_true_random=False))
def test_any_response_in_any_spelling_keeps_its_meaning(result, chance):
    found = parse(b'{ "jsonrpc":"2.0","id":5,"result":%b}' % respelt(result, chance).encode())
    assert isinstance(found, Response)
    assert json.loads(found.result or b"") == result
    assert json.loads(found.encode(b"6")) == {"jsonrpc": "2.0", "id": 6, "result": result}


@pytest.mark.parametrize(
    "request_id",
    [b"0", b"-1", b"9007199254740993", b"18446744073709551616", b"1" * 256, b'""', rb'"\u0061"', '"é"'.encode()],
)
def test_an_id_is_kept_exactly(request_id: bytes):
    assert parse_request(request(request_id=request_id)).id == request_id
    assert parse(b'{"jsonrpc":"2.0","id":%b,"result":{}}' % request_id).id == request_id


def test_a_request_without_an_id_is_a_notification_and_one_without_params_has_none():
    assert parse(b'{"jsonrpc":"2.0","method":"notifications/x"}') == Request("notifications/x")
    assert Request("x").encode(b"") == b'{"jsonrpc":"2.0","method":"x"}'
    assert Request("x").encode(b"1") == b'{"jsonrpc":"2.0","id":1,"method":"x"}'
    assert parse(b'{"jsonrpc":"2.0","id":1,"method":"x","params":{}}').encode(b"1") == Request("x").encode(b"1")


@pytest.mark.covers("B-456")
@pytest.mark.parametrize("blank", [b"", b" "])
@pytest.mark.parametrize(
    "outcome",
    [
        *(b'"result":%b' % value for value in (b"null", b"[]", b'"x"', b"7", b"true")),
        *(b'"error":%b' % value for value in (b"null", b'"boo"', b"[]", b"{}", b'{"code":"x","message":"boo"}')),
    ],
)
def test_a_response_that_clients_could_not_read_is_none(outcome: bytes, blank: bytes):
    data = b'{"jsonrpc":"2.0","id":1,%b%b}' % (blank, outcome)
    assert jsonrpc.usual_response(data, b"1") is None
    with pytest.raises(InvalidCall, match="must be an object"):
        parse(data)


@pytest.mark.parametrize("request_id", [b"", b',"id":null'])
def test_only_an_error_may_come_without_an_id(request_id: bytes):
    error = parse(b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"x"}%b}' % request_id)
    assert isinstance(error, Response)
    assert error.id == b""
    assert json.loads(error.encode(b"")) == {"jsonrpc": "2.0", "error": {"code": -32700, "message": "x"}}


def test_a_result_without_an_id_belongs_to_no_request():
    found = parse(b'{"jsonrpc":"2.0","result":{}}')
    assert isinstance(found, Response)
    assert found.id == b""  # which is no id that was ever given out
    with pytest.raises(InvalidCall):
        parse(b'{"jsonrpc":"2.0","id":null,"result":{}}')


def test_escapes_in_keys_and_in_the_method_are_undone_when_they_are_written_again():
    data = rb'{"jsonrpc":"2.0","\u0069d":1,"m\u0065thod":"tools\/c\u0061ll","params":{"n\u0061me":"x"}}'
    assert parse_request(data).encode(b"1") == request(b'{"name":"x"}')


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'"a"', "a"),
        (rb'"\u00e9\ud83d\ude00"', "é😀"),
        (b"1", None),
        (b"null", None),
        (rb'"\ud800"', None),
        (None, None),
    ],
)
def test_a_string_is_read_and_anything_else_is_none(raw: bytes | None, value: str | None):
    assert jsonrpc.as_string(raw) == value


@pytest.mark.parametrize(
    ("error", "read"),
    [
        (b'{"code":-32601,"message":"no"}', (-32601, "no")),
        (b'{"code":1}', (1, "")),
        (b'{"message":"no"}', None),
        (b'{"code":"1","message":"no"}', None),
        (b'{"code":1.5,"message":"no"}', None),
        (b'{"code":1e999,"message":"no"}', None),
        (b'{"code":1,"message":7}', None),
        (b"null", None),
        (b"[]", None),
    ],
)
def test_an_error_is_read_only_if_it_is_one(error: bytes, read: tuple[int, str] | None):
    assert jsonrpc.read_error(Response(b"1", error=error)) == read


@given(st.integers(-(2**31), 2**31), texts, st.none() | objects)
def test_an_error_we_write_is_an_error_we_read(code, message, data):
    error = jsonrpc.encode_error(code, message, data)
    assert jsonrpc.read_error(Response(b"1", error=error)) == (code, message)
    assert json.loads(error).get("data", {}) == (data or {})


@pytest.mark.covers("B-03")
@pytest.mark.parametrize("number", ["1e400", "-1e309", "1E+999", "9" * 400 + ".0"])
@pytest.mark.parametrize("padding", ["", "x" * 5000])
@pytest.mark.parametrize("spelling", ["%s", '{"a": [%s]}', '[1, {"b": %s}]'])
def test_numbers_that_no_double_holds_are_refused(number: str, padding: str, spelling: str):
    value = spelling % number
    for params in (
        f'{{"n":{value},"p":["{padding}"]}}',
        f'{{"n": {value}, "p": "{padding}"}}',
        f'{{"_meta":{{"n":{value},"p":["{padding}"]}}}}',
        f'{{"_meta": {{"n": {value}, "p": "{padding}"}}}}',
    ):
        with pytest.raises(InvalidParams, match="too large for a double") as refused:
            parse_request(f'{{"jsonrpc":"2.0","id":4,"method":"x","params":{params}}}'.encode())
        assert refused.value.message_id == b"4"


@pytest.mark.parametrize("value", ['"1e400"', '["a1e400b"]', "1e308", "1e-400", "9" * 5000])
@pytest.mark.parametrize("padding", ["", "x" * 5000])
def test_what_only_looks_like_such_a_number_passes(value: str, padding: str):
    params = f'{{"n":{value},"p":["{padding}"]}}'
    request = parse_request(f'{{"jsonrpc":"2.0","id":4,"method":"x","params":{params}}}'.encode())
    assert request.params["n"] == value.encode()
