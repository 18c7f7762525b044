"""Whatever text comes in: the same comes out, or more of it, or an error with a place. Never anything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_sidecar.injection.manifest import Unreadable, inject, uninject
from mcp_sidecar.injection.template import Options
from tests.injection.test_manifest import EVERYTHING

PIECES = [
    *("apiVersion: v1\n", "kind: Pod\n", "kind: List\n", "kind: Deployment\n", "apiVersion: apps/v1\n", "metadata:\n"),
    *(
        "spec:\n",
        "  spec: ",
        "template:\n",
        "containers:\n",
        "  containers: [",
        "- name: mcp-sidecar\n",
        "- ",
        "  ",
        "\n",
    ),
    *("---\n", "...\n", "# c\n", "&a ", "*a", "<<: ", "{", "}", "[", "]", ",", ": ", "? ", "|\n", ">-\n", "\t", "\r\n"),
    *("!t ", "!!str ", "'", '"', "~", "initContainers:", "volumes: []\n", "annotations: ", "labels: ", "é", "\ufeff"),
]
# What JSON and YAML both take without an escape.
WORDS = st.text("ab9 :#-?[]{},&*!|>'\"%@`~_.\n\té😀", max_size=6)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
CONTAINER = st.fixed_dictionaries({"name": st.sampled_from(["app", "a"])}, optional={"args": JUNK, "image": JUNK})
SPEC = st.fixed_dictionaries(
    {"containers": st.lists(CONTAINER, min_size=1, max_size=2)},
    optional={
        "initContainers": st.lists(CONTAINER, max_size=2) | st.none(),
        "volumes": st.lists(st.fixed_dictionaries({"name": WORDS}), max_size=2) | st.none(),
        "x": JUNK,
    },
)
METADATA = st.fixed_dictionaries({}, optional={"annotations": st.dictionaries(WORDS, WORDS) | st.none(), "name": JUNK})
PODS = st.fixed_dictionaries(
    {"apiVersion": st.just("v1"), "kind": st.just("Pod"), "spec": SPEC}, optional={"metadata": METADATA, "zz": JUNK}
)


def read(text: str) -> Any:
    return yaml.load(text, Loader=yaml.CSafeLoader)


def as_block(pod: Any) -> str:
    return yaml.safe_dump(pod, sort_keys=False, allow_unicode=True)


STYLES = [
    as_block,
    lambda pod: as_block(pod).rstrip("\n"),
    lambda pod: yaml.safe_dump(pod, default_flow_style=True, allow_unicode=True, width=40),
    lambda pod: json.dumps(pod, ensure_ascii=False),
    lambda pod: json.dumps(pod, ensure_ascii=False, indent=2),
    lambda pod: yaml.safe_dump(pod, default_style='"', indent=6),
    lambda pod: as_block(pod).replace("\n", "\r\n"),
]


@pytest.mark.covers("B-241")
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text())
def test_any_text_passes_through_or_is_refused_with_a_place(text: str) -> None:
    for change in (lambda given: inject(given, Options(), {}), uninject):
        try:
            result = change(text)
        except Unreadable as bad:
            _assert_says_where(bad, text)
        else:
            assert result.notes or result.text == text


@pytest.mark.covers("B-241")
@settings(max_examples=60)
@given(st.integers(0, len(EVERYTHING)), st.integers(0, 12), st.sampled_from(PIECES))
def test_a_text_that_was_damaged_somewhere_is_no_trouble(place: int, cut: int, piece: str) -> None:
    text = EVERYTHING[:place] + piece + EVERYTHING[place + cut :]
    try:
        once = inject(text, Options(), {}).text
    except Unreadable as bad:
        _assert_says_where(bad, text)
    else:
        assert inject(once, Options(), {}).text == once


def _assert_says_where(bad: Unreadable, text: str) -> None:
    assert str(bad)
    assert bad.document >= 1
    assert 1 <= bad.line <= len(text.splitlines()) + 1


@pytest.mark.covers("B-241", "B-242")
@settings(max_examples=60)
@given(PODS, st.sampled_from(STYLES))
def test_pods_of_any_style_get_their_sidecar_once_and_lose_it_again(pod: dict[str, Any], style: Any) -> None:
    text = style(pod)
    once = inject(text, Options(), {}).text
    assert read(once)["spec"]["initContainers"][0]["name"] == "mcp-sidecar"
    assert inject(once, Options(), {}).text == once
    assert _without_empty(read(uninject(once).text)) == _without_empty(read(text))


def _without_empty(pod: dict[str, Any]) -> dict[str, Any]:
    """What nothing is in says nothing."""
    metadata = {key: value for key, value in pod.get("metadata", {}).items() if key != "annotations" or value}
    spec = {key: value for key, value in pod["spec"].items() if value or key not in {"initContainers", "volumes"}}
    rest = {key: value for key, value in pod.items() if key not in {"metadata", "spec"}}
    return {**rest, "spec": spec, **({"metadata": metadata} if metadata else {})}
