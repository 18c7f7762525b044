"""How words of the command line become arguments of a tool."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.cli.failures import USAGE, CommandFailed
from mcp_sidecar.cli.values import from_json, from_pairs

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "factor": {"type": "number"},
        "deep": {"type": "boolean"},
        "where": {"$ref": "#/$defs/Place"},
        "tags": {"type": "array"},
        "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "name": {"type": ["string", "null"]},
        "unit": {"enum": ["celsius", "kelvin"]},
        "open": {},
        "loop": {"$ref": "#/$defs/Loop"},
    },
    "$defs": {"Place": {"type": "object"}, "Loop": {"$ref": "#/$defs/Loop"}},
}


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("city=12", "12"),
        ("city=", ""),
        ("city=a=b", "a=b"),
        ("days=3", 3),
        ("days=-3", -3),
        ("days=12345678901234567890", 12345678901234567890),
        ("factor=2.5", 2.5),
        ("factor=2", 2),
        ("deep=true", True),
        ('where={"x": 1}', {"x": 1}),
        ('tags=["a"]', ["a"]),
        ("limit=null", None),
        ("limit=4", 4),
        ("name=null", "null"),
        ("unit=kelvin", "kelvin"),
        ("open=4", 4),
        ("open=four", "four"),
        ("loop=4", 4),
        ("stranger=true", True),
    ],
)
def test_the_schema_decides_what_a_word_means(pair, value):
    arguments = from_pairs([pair], SCHEMA)
    assert arguments == {pair.partition("=")[0]: value}
    assert type(next(iter(arguments.values()))) is type(value)


@pytest.mark.parametrize(
    ("pair", "complaint"),
    [
        ("days=three", 'days: expected an integer, such as 3, got "three"'),
        ("days=1.5", "days: expected an integer"),
        ("days=true", "days: expected an integer"),
        ("deep=1", 'deep: expected true or false, got "1"'),
        ("deep=yes", "deep: expected true or false"),
        ("factor=NaN", "factor: expected a number"),
        ("where=[1]", "where: expected a JSON object"),
        ("tags=a,b", 'tags: expected a JSON array, such as ["a", "b"], got "a,b"'),
        ("factor=1e400", "factor: 1e400 is too large for a number"),
        ('where={"x": [{"y": 1, "y": 2}]}', "where: y: given twice"),
        ('open={"x": 1e400}', "open: 1e400 is too large"),
        ('open="\\ud800"', "open: holds half a character"),
        ("city=\udcff", "city: holds bytes that are no UTF-8"),
        ("limit=x", 'limit: expected an integer, such as 3, got "x"'),
        ("city", '"city": expected key=value'),
        ("=1", '"=1": expected key=value'),
    ],
)
def test_a_word_that_does_not_fit_is_named_with_what_is_expected(pair, complaint):
    with pytest.raises(CommandFailed) as caught:
        from_pairs([pair], SCHEMA)
    assert complaint in caught.value.message
    assert caught.value.code == USAGE


def test_an_argument_given_twice_is_refused():
    with pytest.raises(CommandFailed, match="days: given twice"):
        from_pairs(["days=1", "days=2"], SCHEMA)


def test_a_closed_schema_refuses_strangers_and_names_the_nearest_argument():
    with pytest.raises(CommandFailed, match=r'citty: the tool has no such argument; did you mean "city"\?'):
        from_pairs(["citty=Oslo"], {**SCHEMA, "additionalProperties": False})


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{", '{"a": NaN}', "3", "[" * 100_000, '{"a": 1, "a": 2}', '{"a": 1e400}', '{"a": "\\udc00"}'],
)
def test_what_is_not_a_json_object_is_refused(text):
    with pytest.raises(CommandFailed, match=r"^stdin: "):
        from_json(text, "stdin")


def test_a_json_object_is_taken_as_it_is():
    assert from_json('{"a": [1, {"b": null}]}', "arguments") == {"a": [1, {"b": None}]}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(st.text(max_size=20), st.dictionaries(st.sampled_from(["properties", "type", "$defs"]), json_values))
def test_any_word_and_any_schema_give_arguments_or_a_complaint(word, schema):
    with contextlib.suppress(CommandFailed):
        assert set(from_pairs([word], schema)) == {word.partition("=")[0]}


@given(json_values)
def test_any_schema_of_one_argument_gives_arguments_or_a_complaint(schema):
    with contextlib.suppress(CommandFailed):
        assert set(from_pairs(["a=1"], {"properties": {"a": schema}})) == {"a"}
