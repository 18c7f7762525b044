"""YAML read with both of PyYAML's parsers, and what is kept out."""

import time

import pytest
import yaml

from mcp_sidecar.config.problems import BadConfiguration
from mcp_sidecar.config.tree import MOST_VALUES, Node, pairs_of, read_yaml


@pytest.fixture(params=["libyaml", "pure Python"], autouse=True)
def parser(request, monkeypatch):
    """Run each test with the fast parser and with the one that is always there."""
    if request.param == "pure Python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)


def plain(node: Node) -> object:
    """Return a tree as Python values, for comparison."""
    if node.kind == "map":
        return {key.text: plain(value) for key, value in pairs_of(node)}
    return [plain(item) for item in node.items] if node.kind == "list" else (node.kind, node.text)


def tree(text: str) -> object:
    root = read_yaml(text, "f")
    assert root is not None
    return plain(root)


def refusal(text: str) -> str:
    with pytest.raises(BadConfiguration) as raised:
        read_yaml(text, "f")
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("off", "text"), ("yes", "text"), ("2026-07-28", "text"), ("1:30", "text"), ("'5'", "text"), ("''", "text"),
        ("!!str 5", "text"), ("! 5", "text"), ("5s", "text"), (".inf", "text"), ("|\n 5", "text"), ("true", "bool"),
        ("FALSE", "bool"), ("5", "int"), ("-5", "int"), ("0.5", "float"), (".5", "float"), ("1e3", "float"),
        ("~", "null"), ("null", "null"),
    ],
)  # fmt: skip
def test_plain_words_mean_what_yaml_1_2_says(text, kind):
    root = read_yaml(text, "f")
    assert root is not None
    assert root.kind == kind


def test_every_value_knows_its_line():
    root = read_yaml("a:\n  b: 1\n  c:\n  - 2\n  - 3\n", "f")
    assert root is not None
    inner = root.pairs[0][1]
    assert [key.place.line for key, _ in inner.pairs] == [2, 3]
    assert [item.place.line for item in inner.pairs[1][1].items] == [4, 5]


def test_an_empty_document_has_no_root():
    assert read_yaml("", "f") is None
    assert read_yaml("# nothing\n", "f") is None


def test_anchors_aliases_and_merges_work():
    shared = {"x": ("int", "1"), "y": ("int", "2")}
    assert tree("a: &s {x: 1, y: 2}\nb: *s\nc: &v 5\nd: [*v, *v]") == {
        "a": shared, "b": shared, "c": ("int", "5"), "d": [("int", "5")] * 2,
    }  # fmt: skip
    merged = "base: &s {x: 1, y: 2}\nother: &o {y: 3, z: 4}\n"
    assert tree(f"{merged}m: {{<<: *s, x: 9}}")["m"] == {"x": ("int", "9"), "y": ("int", "2")}  # type: ignore[index]
    assert tree(f"{merged}m: {{<<: [*s, *o]}}")["m"] == {**shared, "z": ("int", "4")}  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: ]\n", "f:2: not valid YAML"),
        ("a: 1\n\tb: 2", "f:2: not valid YAML"),
        ("a: 1\nb: *nobody", 'f:2: alias "*nobody" has no anchor before it'),
        ("a: &a [*a]", 'f:1: alias "*a" contains itself'),
        ("a: 1\n---\nb: 2", "f:2: more than one YAML document in the file"),
        ("a: !!python/object/apply:os.system [x]", 'f:1: tag "tag:yaml.org,2002:python/object/apply:os.system" is not'),
        ("a: !secret x", 'f:1: tag "!secret" is not supported'),
        ("a: !!binary aGk=", 'f:1: tag "tag:yaml.org,2002:binary" is not supported'),
        ("a: \x00", "f: not valid YAML"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(text, message):
    assert refusal(text).startswith(message)


def test_deep_nesting_is_refused_before_it_costs_anything():
    assert "nested more than" in refusal("[" * 100_000)


def test_a_small_file_cannot_stand_for_an_enormous_one():
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 64))
    started = time.monotonic()
    assert f"more than {MOST_VALUES} values" in refusal(bomb)
    assert time.monotonic() - started < 5, "the aliases were written out"
