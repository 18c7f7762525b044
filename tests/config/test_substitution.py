"""Variables in the values of a declarative file, as OpenTelemetry's data model has them."""

from __future__ import annotations

import pytest

from mcp_sidecar.config.problems import Place
from mcp_sidecar.config.substitution import Substitution
from mcp_sidecar.config.tree import Kind, Node, read_yaml

ENVIRON = {
    "TEXT": "value",
    "TRUE": "true",
    "ONE": "1",
    "FLOAT": "1.1",
    "MAP": "value\nkey: value",
    "SECRET": "never asked for",
    "REFERENCE": "${SECRET}",
    "ESCAPE": "value$$",
    "EMPTY": "",
}


def substituted(text: str) -> tuple[Node, list[str]]:
    root = read_yaml(f"key: {text}\n", "otel.yaml")
    assert root is not None
    problems: list[str] = []

    def report(message: str, place: Place) -> None:
        problems.append(f"{place.line}: {message}")

    tree = Substitution(ENVIRON, report).into(root)
    return tree.pairs[0][1], problems


@pytest.mark.covers("B-351")
@pytest.mark.parametrize(
    ("written", "kind", "expected"),
    [
        ("${TEXT}", "text", "value"),
        ("${TRUE}", "bool", "true"),
        ("${ONE}", "int", "1"),
        ("${FLOAT}", "float", "1.1"),
        ('"${ONE}"', "text", "1"),
        ("'${TRUE}'", "text", "true"),
        ("${env:TEXT}", "text", "value"),
        ("${env:ONE}", "int", "1"),
        ("${MAP}", "text", "value\nkey: value"),
        ("foo ${TEXT} ${FLOAT}", "text", "foo value 1.1"),
        ("${NOBODY}", "null", ""),
        ('"${NOBODY}"', "text", ""),
        ("${NOBODY:-fallback}", "text", "fallback"),
        ("${EMPTY:-fallback}", "text", "fallback"),
        ("${env:NOBODY:-12}", "int", "12"),
        ("${TEXT:-fallback}", "text", "value"),
        ("${NOBODY:-http://localhost:4318}/v1/traces", "text", "http://localhost:4318/v1/traces"),
        ("${REFERENCE}", "text", "${SECRET}"),
        ("${NOBODY:-${TEXT}}", "text", "${TEXT}"),
        ("$${TEXT}", "text", "${TEXT}"),
        ("$$${TEXT}", "text", "$value"),
        ("$$$${TEXT}", "text", "$${TEXT}"),
        ("$${TEXT:-fallback}", "text", "${TEXT:-fallback}"),
        ("$${TEXT:-${TEXT}}", "text", "${TEXT:-value}"),
        ("${NOBODY:-$${NOBODY}}", "text", "${NOBODY:-${NOBODY}}"),
        ("${ESCAPE}", "text", "value$$"),
        ("a $$ b", "text", "a $ b"),
        ("a $ b", "text", "a $ b"),
    ],
)
def test_a_value_is_what_the_data_model_says(written: str, kind: Kind, expected: str):
    node, problems = substituted(written)
    assert (node.kind, node.text, problems) == (kind, expected, [])


@pytest.mark.covers("B-351")
@pytest.mark.parametrize("written", ["${TEXT:?error}", "${1TEXT}", "${API_$KEY}", "${}", "${vault:TEXT}", "${TEXT-x}"])
def test_what_only_looks_like_a_reference_is_a_problem(written: str):
    _, (problem,) = substituted(written)
    assert problem.startswith("1: expected ${VARIABLE}")


@pytest.mark.covers("B-351")
def test_keys_are_left_alone_and_lists_are_not():
    root = read_yaml("${TEXT}:\n- a\n- '${ONE}'\n- b: ${ONE}\n", "otel.yaml")
    assert root is not None
    substitution = Substitution(ENVIRON, lambda *_: None)
    ((key, value),) = substitution.into(root).pairs
    assert key.text == "${TEXT}"
    assert [item.text for item in value.items[:2]] == ["a", "1"]
    assert value.items[2].pairs[0][1].kind == "int"
    assert substitution.used == {"ONE"}
