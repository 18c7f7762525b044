"""What is refused as no JSON-RPC message (JS-1 to JS-10), in which words, and that nothing else ever comes out."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_sidecar.errors import InvalidCall, InvalidParams, MalformedMessage
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.json_text import MAX_DEPTH
from mcp_sidecar.protocol.jsonrpc import parse, parse_of_client, parse_request
from tests.protocol.spellings import FRAGILE, blanks, escaped, objects, respelt, texts

MIB = 1024 * 1024
GOOD = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":[1,2.5,"x"]},'
    b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":"p"}}}'
)
TWICE = rb'{"jsonrpc":"2.0","id":"1","result":{"content":[{"type":"text","text":"\u00e9"}]}}'


def params(value: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":%b}}' % value


MALFORMED = {
    "JS-3 NaN": params(b"NaN"),
    "JS-3 Infinity": params(b"Infinity"),
    "JS-3 minus Infinity": params(b"[-Infinity]"),
    "JS-6 half a surrogate pair": params(rb'"\ud800"'),
    "JS-6 a pair the wrong way round": params(rb'"\ude00\ud83d"'),
    "JS-6 half a pair in a key": params(rb'{"\udfff":1}'),
    "JS-6 half a pair as bytes": params(b'"\xed\xa0\x80"'),
    "JS-6 overlong": params(b'"\xc0\x80"'),
    "JS-6 no UTF-8": params(b'"\xff"'),
    "JS-6 cut character": params('"é"'.encode()).replace("é".encode(), b"\xc3"),
    "JS-6 byte order mark": b"\xef\xbb\xbf" + GOOD,
    "JS-6 UTF-16": GOOD.decode().encode("utf-16"),
    "JS-6 UTF-16 without a mark": GOOD.decode().encode("utf-16-le"),
    "JS-6 UTF-32": GOOD.decode().encode("utf-32"),
    "JS-7 too deep": params(b"[" * 63 + b"]" * 63),
    "JS-10 trailing bytes": GOOD + b"x",
    "JS-10 a trailing zero": GOOD + b"\0",
    "JS-10 a second message": GOOD + GOOD,
    "JS-10 a second message on a line": GOOD + b"\n" + GOOD,
    "JS-10 a comment": GOOD.replace(b"{", b"{/* */", 1),
    "JS-10 a comment at the end": GOOD + b"// x",
    "a trailing comma": params(b"[1,]"),
    "a leading zero": params(b"01"),
    "a bare point": params(b"1."),
    "a plus": params(b"+1"),
    "a hexadecimal number": params(b"0x10"),
    "single quotes": params(b"'a'"),
    "no quotes": params(b"a"),
    "a line end in a string": params(b'"a\nb"'),
    "a control character in a string": params(b'"\x01"'),
    "an unknown escape": params(rb'"\x41"'),
    "half an escape": params(rb'"\u12"'),
    "a vertical tab": GOOD + b"\x0b",
    "a no-break space": GOOD.replace(b",", ",\u00a0".encode(), 1),
    "nothing": b"",
    "blanks": b" \r\n",
    "a line end in the id": b'{"jsonrpc":"2.0","id":"a\r\nx: y","method":"x"}',
}

REFUSED = {
    "JS-1 jsonrpc twice": (b'{"jsonrpc":"2.0","id":1,"method":"x","jsonrpc":"2.0"}', "jsonrpc"),
    "JS-1 id twice": (b'{"jsonrpc":"2.0","id":1,"id":1,"method":"x"}', "id"),
    "JS-1 method twice": (b'{"jsonrpc":"2.0","id":1,"method":"x","method":"y"}', "method"),
    "JS-1 method twice, once escaped": (rb'{"jsonrpc":"2.0","id":1,"method":"x","\u006dethod":"y"}', "method"),
    "JS-1 params twice": (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{},"params":{}}', "params"),
    "JS-1 a shorter params first": (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{},"params":{"a":1}}', "params"),
    "JS-1 result twice": (b'{"jsonrpc":"2.0","id":1,"result":{},"result":{}}', "result"),
    "JS-1 a key of params twice": (params(b'1,"a":2'), '"a"'),
    "JS-1 a key of params twice, blanks": (params(b'1 , "a" : 2'), '"a"'),
    "JS-1 a key of params twice, escaped": (params(rb'1,"\u0061":2'), '"a"'),
    "JS-1 an empty key twice": (params(b'1,"":2,"":3'), '""'),
    "JS-1 a key of _meta twice": (params(b'1,"_meta":{"b":1,"b":1}'), '"b"'),
    "JS-1 _meta twice": (params(b'1,"_meta":{"b":1},"_meta":{"b":1}'), "_meta"),
    "JS-1 _meta twice, once escaped": (params(rb'1,"_meta":{},"_met\u0061":{}'), "_meta"),
    "JS-1 beside five thousand digits": (params(b"7" * 5000 + b', "a":2'), '"a"'),
    "JS-2 Method": (b'{"jsonrpc":"2.0","id":1,"Method":"x"}', 'did you mean "method"'),
    "JS-2 METHOD": (b'{"jsonrpc":"2.0","id":1,"METHOD":"x"}', 'did you mean "method"'),
    "JS-2 both spellings": (b'{"jsonrpc":"2.0","id":1,"method":"x","Method":"y"}', 'did you mean "method"'),
    "JS-2 a long s": ('{"jsonrpc":"2.0","id":1,"method":"x","param\u017f":{}}'.encode(), 'did you mean "params"'),
    "JS-2 a kelvin sign": ('{"jsonrpc":"2.0","id":1,"method":"x","to\u212aen":1}'.encode(), "no member"),
    "JS-2 a zero in a key": (rb'{"jsonrpc":"2.0","id":1,"method\u0000":"x"}', 'did you mean "method"'),
    "an unknown member": (b'{"jsonrpc":"2.0","id":1,"method":"x","extra":1}', '"extra" is no member'),
    "JS-4 an id of 257 digits": (b'{"jsonrpc":"2.0","id":%b,"method":"x"}' % (b"1" * 257), '"id" must'),
    "JS-4 an id of 5000 digits": (b'{"jsonrpc":"2.0","id":%b,"method":"x"}' % (b"1" * 5000), '"id" must'),
    "JS-5 id null": (b'{"jsonrpc":"2.0","id":null,"method":"x"}', '"id" must'),
    "JS-5 id float": (b'{"jsonrpc":"2.0","id":1.0,"method":"x"}', '"id" must'),
    "JS-5 id with exponent": (b'{"jsonrpc":"2.0","id":1e2,"method":"x"}', '"id" must'),
    "JS-5 id bool": (b'{"jsonrpc":"2.0","id":true,"method":"x"}', '"id" must'),
    "JS-5 id object": (b'{"jsonrpc":"2.0","id":{},"method":"x"}', '"id" must'),
    "JS-5 id list": (b'{"jsonrpc":"2.0","id":[1],"method":"x"}', '"id" must'),
    "JS-8 batch": (b"[" + GOOD + b"]", "batch"),
    "JS-8 an empty batch": (b" []", "batch"),
    "no object": (b"42", "must be an object"),
    "an empty object": (b"{}", '"jsonrpc" must be "2.0"'),
    "no version": (b'{"id":1,"method":"x"}', '"jsonrpc" must be "2.0"'),
    "version 1.0": (b'{"jsonrpc":"1.0","id":1,"method":"x"}', '"jsonrpc" must be "2.0"'),
    "version as a number": (b'{"jsonrpc":2.0,"id":1,"method":"x"}', '"jsonrpc" must be "2.0"'),
    "neither request nor response": (b'{"jsonrpc":"2.0","id":1}', "exactly one"),
    "result and error": (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', "exactly one"),
    "a request with a result": (b'{"jsonrpc":"2.0","id":1,"method":"x","result":{}}', 'has no "result"'),
    "a request with an error": (b'{"jsonrpc":"2.0","id":1,"method":"x","error":{}}', 'has no "error"'),
    "a response with params": (b'{"jsonrpc":"2.0","id":1,"result":{},"params":{}}', 'has no "params"'),
    "no method": (b'{"jsonrpc":"2.0","id":1,"method":""}', '"method" must'),
    "a method of 129 characters": (b'{"jsonrpc":"2.0","id":1,"method":"%b"}' % (b"x" * 129), '"method" must'),
    "a method with a blank": (b'{"jsonrpc":"2.0","id":1,"method":"a b"}', '"method" must'),
    "a method with a line end": (rb'{"jsonrpc":"2.0","id":1,"method":"a\r\nb: c"}', '"method" must'),
    "a method with an accent": ('{"jsonrpc":"2.0","id":1,"method":"é"}'.encode(), '"method" must'),
    "a method that is a number": (b'{"jsonrpc":"2.0","id":1,"method":7}', '"method" must'),
    "a method that is null": (b'{"jsonrpc":"2.0","id":1,"method":null}', '"method" must'),
    "params as a list": (b'{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}', '"params" must be an object'),
    "params null": (b'{"jsonrpc":"2.0","id":1,"method":"x","params":null}', '"params" must be an object'),
    "_meta null": (params(b'1,"_meta":null'), '"params._meta" must be an object'),
    "_meta a string": (params(b'1,"_meta":"x"'), '"params._meta" must be an object'),
}


# The second tries the usual spelling first.
read = pytest.mark.parametrize("read", [parse, parse_of_client])


@read
@pytest.mark.covers("B-03")
@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_json_is_malformed(data: bytes, read):
    with pytest.raises(MalformedMessage):
        read(data)


@read
@pytest.mark.covers("B-03")
@pytest.mark.parametrize(("data", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_message_is_refused_in_words_that_help(data: bytes, words: str, read):
    with pytest.raises(InvalidCall) as refusal:
        read(data)
    assert not isinstance(refusal.value, MalformedMessage)
    assert words in refusal.value.message
    assert len(refusal.value.message) < 200


def test_wrong_params_are_told_from_a_wrong_request():
    with pytest.raises(InvalidParams) as refusal:
        parse(params(b'1,"_meta":[]'))
    assert refusal.value.violations == (("params._meta", "must be an object"),)


@pytest.mark.parametrize("data", [TWICE, b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}'])
def test_a_response_is_no_request(data: bytes):
    parse(data)
    with pytest.raises(InvalidCall, match="a request is expected"):
        parse_request(data)


@read
@pytest.mark.covers("B-03")
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'["]{[",', b"]")])
def test_64_levels_are_taken_and_65_are_not(opening: bytes, closing: bytes, read):
    for depth in (2, MAX_DEPTH - 2):
        read(params(opening * depth + b"1" + closing * depth))
        read(params(b'1,"_meta":{"b":' + opening * (depth - 1) + b"1" + closing * (depth - 1) + b"}"))
    with pytest.raises(MalformedMessage, match="64 levels"):
        read(params(opening * (MAX_DEPTH - 1) + b"1" + closing * (MAX_DEPTH - 1)))
    with pytest.raises(MalformedMessage, match="64 levels"):
        read(params(b'1,"_meta":{"b":' + opening * (MAX_DEPTH - 2) + b"1" + closing * (MAX_DEPTH - 2) + b"}"))


@pytest.mark.parametrize("text", ['"[[["', r'"\"[[["', r'"\\"', r'"\\\"[["', r'"{\\\\"'])
def test_brackets_in_strings_nest_nothing(text: str):
    parse(params(b"[%b]" % b",".join([text.encode()] * 100)))


@pytest.mark.parametrize("tail", [b"", b'"', b"}", b"]}}}"])
def test_a_cut_message_with_many_brackets_is_called_cut_and_not_deep(tail: bytes):
    with pytest.raises(MalformedMessage) as refusal:
        parse(params(b"[" + b"[],{}," * 100 + b"[]]")[:-4] + tail)
    assert "levels" not in refusal.value.message


@given(st.integers(0, len(GOOD) - 1))
def test_a_request_cut_anywhere_is_malformed(cut: int):
    with pytest.raises(MalformedMessage):
        parse(GOOD[:cut])


@given(st.sampled_from([GOOD, TWICE]), st.data())
def test_a_message_with_other_bytes_in_it_is_read_or_refused_and_nothing_else_happens(message: bytes, data):
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message)))
        gone = data.draw(st.integers(0, 3))
        message = message[:at] + data.draw(st.binary(max_size=3) | st.sampled_from(_TOKENS)) + message[at + gone :]
    _read_or_refuse(message)


_TOKENS = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\\u",
    b"null",
    b'"id":1',
    b'"method":"x",',
    b" ",
    b"\n",
    b"1e9",
]


@given(st.binary(max_size=200) | st.lists(st.sampled_from(_TOKENS), max_size=40).map(b"".join))
@example(b'{"jsonrpc":"2.0","method":"x","id":1,"params":{"_meta":{"a":1}, "_meta":{}}}')
def test_any_bytes_are_read_or_refused_and_nothing_else_happens(data: bytes):
    _read_or_refuse(data)


def _read_or_refuse(data: bytes) -> None:
    """What is read says the same to a strict reader of JSON before and after."""
    try:
        message = parse(data)
    except InvalidCall:
        return
    theirs = json.loads(data, object_pairs_hook=list)
    assert len({key for key, _ in theirs}) == len(theirs)
    ours = json.loads(message.encode(message.id), object_pairs_hook=list)
    assert dict(ours).get("id") == dict(theirs).get("id")
    for key in ("result", "error", "method"):
        assert dict(ours).get(key) == dict(theirs).get(key)
    assert sorted(map(repr, dict(ours).get("params", []))) == sorted(
        repr(pair) for pair in dict(theirs).get("params", []) if pair != ("_meta", []) and list(pair) != ["_meta", []]
    )


@given(objects.filter(bool), blanks, st.booleans(), st.data())
def test_a_key_that_comes_twice_is_found_in_any_spelling(members, blank, as_escapes, data):
    key = data.draw(st.sampled_from(sorted(members)))
    again = escaped(key) if as_escapes else json.dumps(key)
    text = respelt(members, data.draw(st.randoms(use_true_random=False))).strip()
    raw = f"{text[:-1]},{blank}{again}{blank}:{blank}null}}".encode()
    with pytest.raises(InvalidCall, match="twice"):
        jsonrpc.members(raw, "it")
    assert list(jsonrpc.members(text.encode(), "it")) == list(members)


@given(st.lists(texts, unique=True, max_size=6), st.randoms(use_true_random=False))
def test_keys_that_differ_are_never_called_twice(keys, chance):
    raw = respelt(dict.fromkeys(keys, 1), chance).strip().encode()
    assert {key: value.strip() for key, value in jsonrpc.members(raw, "it").items()} == dict.fromkeys(keys, b"1")


# A server that answers one caller at a time has to be quick about nonsense, too: each of these took seconds or never
# ended in some parser. No clock is looked at here; the suite's own time limit is what they would break.
HUGE = {
    "JS-7 200 000 brackets": b"[" * 200_000,
    "JS-7 200 000 brackets, closed": b"[" * 100_000 + b"]" * 100_000,
    "4 MiB of brackets, closed": b"[" * (2 * MIB) + b"]" * (2 * MIB),
    "4 MiB of braces": b'{"a":' * (MIB // 2),
    "a key of 4 MiB": b'{"%b":1}' % (b"ab" * (2 * MIB)),
    "a key of 2 MiB twice": b'{"%b":1,"%b":1}' % (b"ab" * MIB, b"ab" * MIB),
    "many keys, one of them twice": b"{%b, %b}" % (b",".join(b'"k%d":1' % n for n in range(50_000)), b'"k7":1'),
    "a method of 4 MiB": b'{"jsonrpc":"2.0","id":1,"method":"%b"}' % (b"x" * 4 * MIB),
    "an id of 4 MiB": b'{"jsonrpc":"2.0","id":"%b","method":"x"}' % (b"x" * 4 * MIB),
    "an open string of 4 MiB": b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"%b' % (b"\\\\" * 2 * MIB),
}


@pytest.mark.covers("B-03")
@pytest.mark.timeout(10)
@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE)
def test_huge_nonsense_is_refused_in_few_words(data: bytes):
    with pytest.raises(InvalidCall) as refusal:
        parse(data)
    assert len(refusal.value.message) < 200


@pytest.mark.parametrize("value", FRAGILE.values(), ids=FRAGILE)
def test_what_is_refused_for_a_duplicate_would_be_taken_without_it(value: bytes):
    jsonrpc.members(b'{"a": %b,"b":1}' % value, "it")
    with pytest.raises(InvalidCall, match="twice"):
        jsonrpc.members(b'{"a": %b,"a":1}' % value, "it")
