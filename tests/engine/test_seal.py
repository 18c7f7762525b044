"""Tokens that nobody can forge, and results that ask: whatever clients and servers put into them."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.engine import inputs
from mcp_sidecar.engine.seal import Seal, looks_sealed
from mcp_sidecar.errors import InvalidParams, UpstreamProtocolError
from mcp_sidecar.protocol.jsonrpc import Request, Response

SEAL = Seal()


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_a_token_is_good_for_its_subject_only(subject: bytes, other: bytes):
    token = SEAL.make(subject)
    assert SEAL.holds(token, subject)
    assert looks_sealed(token) and token.isascii() and token.isprintable() and '"' not in token
    assert SEAL.holds(token, other) == (subject == other)
    assert not Seal().holds(token, subject)


@given(st.integers(0, 200), st.characters())
def test_a_token_with_any_character_changed_is_good_for_nothing(at: int, put: str):
    token = SEAL.make(b"me")
    at %= len(token)
    changed = token[:at] + put + token[at + 1 :]
    assert SEAL.holds(changed, b"me") == (changed == token)


def test_a_token_spelled_otherwise_is_good_for_nothing():
    """The last character holds two bits that decoders drop: three other characters there decode to the same bytes."""
    token = SEAL.make(b"me")
    alphabet = string.ascii_letters + string.digits + "-_"
    others = [token[:-2] + put + token[-1] for put in alphabet]
    assert token[-1] == "=" and [other for other in others if SEAL.holds(other, b"me")] == [token]
    assert not SEAL.holds(token.removeprefix("mcs1."), b"me")


@given(st.text())
def test_no_text_is_a_token_by_chance(text: str):
    assert not SEAL.holds(text, b"me")
    assert not SEAL.holds("mcs1." + text, b"me")


def test_no_two_tokens_are_equal():
    assert len({SEAL.make(b"me") for _ in range(1000)}) == 1000


PARAMS = st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text()), max_size=4)


@given(st.dictionaries(st.text(), PARAMS, max_size=4), st.none() | st.text(st.characters(codec="ascii")))
def test_what_is_asked_is_read_as_it_was_written(questions, state):
    asked = {
        key: Request("elicitation/create", b"", {name: json.dumps(value).encode() for name, value in params.items()})
        for key, params in questions.items()
    }
    result = inputs.input_required({key: one for key, one in asked.items() if "_meta" not in one.params})
    if state is not None:
        found = json.loads(result) | {"requestState": state}
        result = json.dumps(found).encode()
    wanted = inputs.read_input_required(Response(b"1", result))
    assert wanted is not None
    assert set(wanted.requests) == {key for key, one in asked.items() if "_meta" not in one.params}
    retry = wanted.retry(dict.fromkeys(wanted.requests, b"{}"))
    assert ("inputResponses" in retry) == bool(wanted.requests)
    assert (json.loads(retry["requestState"]) if "requestState" in retry else None) == state


@pytest.mark.parametrize(
    "asked", ['"x"', "[]", '{"a":3}', '{"a":{}}', '{"a":{"method":3}}', '{"a":{"method":"x","params":[]}}']
)
def test_a_result_that_asks_nonsense_is_the_servers_fault(asked: str):
    result = f'{{"resultType":"input_required","inputRequests":{asked}}}'.encode()
    with pytest.raises(UpstreamProtocolError):
        inputs.read_input_required(Response(b"1", result))


def test_more_than_sixty_four_questions_at_once_are_nonsense():
    many = {str(number): {"method": "roots/list"} for number in range(65)}
    result = json.dumps({"resultType": "input_required", "inputRequests": many}, separators=(",", ":")).encode()
    with pytest.raises(UpstreamProtocolError):
        inputs.read_input_required(Response(b"1", result))


@pytest.mark.parametrize(
    "result",
    [
        None,
        b"{}",
        b'{"resultType":"complete"}',
        b'{"text":"\\"input_required\\"","resultType":"complete"}',
        b'["input_required"]',
    ],
)
def test_other_results_ask_nothing(result):
    if result == b'["input_required"]':
        with pytest.raises(UpstreamProtocolError):
            inputs.read_input_required(Response(b"1", result))
    else:
        assert inputs.read_input_required(Response(b"1", result)) is None


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"3", b'{"a":1}', b'{"a":[]}'])
def test_answers_are_an_object_of_objects(raw: bytes):
    with pytest.raises(InvalidParams):
        inputs.answers_in(Request("tools/call", b"1", {"inputResponses": raw}))


def test_a_request_without_answers_is_what_it_was():
    plain = Request("tools/call", b"1", {"name": b'"x"'}, {"a": b"1"})
    assert inputs.without_answers(plain) is plain
    more = plain.with_params({"inputResponses": b"{}", "requestState": b'"s"'})
    assert inputs.without_answers(more) == plain
