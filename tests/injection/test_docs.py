"""docs/kubernetes.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_sidecar.config import load
from mcp_sidecar.injection.manifest import inject
from mcp_sidecar.injection.template import GRPC_PORT, HTTP_PORT, Options
from mcp_sidecar.injection.vocabulary import ANNOTATIONS, NAMESPACE_LABEL, POD_LABEL, SYSTEM_NAMESPACES
from mcp_sidecar.injection.workloads import KINDS

PAGE = (Path(__file__).resolve().parents[2] / "docs/kubernetes.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def documents() -> list[dict[str, Any]]:
    return [document for block in BLOCKS for document in yaml.safe_load_all(block)]


def test_the_table_has_every_annotation_as_the_code_has_it() -> None:
    for annotation in ANNOTATIONS.values():
        assert f"| `{annotation.key}` | {annotation.text} | `{annotation.example}` |" in PAGE


@pytest.mark.covers("B-246")
@pytest.mark.parametrize("name", ANNOTATIONS)
def test_every_example_has_the_form_it_stands_for(name: str) -> None:
    assert ANNOTATIONS[name].accepts(ANNOTATIONS[name].example)
    assert not ANNOTATIONS[name].accepts("") and not ANNOTATIONS[name].accepts("a b")


@pytest.mark.covers("B-246")
def test_a_port_is_one_that_tcp_has() -> None:
    good = [port for port in range(70_000) if ANNOTATIONS["app-port"].accepts(str(port))]
    assert (good[0], good[-1], len(good)) == (1, 65535, 65535)


def test_labels_ports_kinds_and_namespaces_are_named() -> None:
    for word in (NAMESPACE_LABEL, POD_LABEL, *SYSTEM_NAMESPACES, str(GRPC_PORT), str(HTTP_PORT), *KINDS):
        assert word in PAGE


def test_the_workloads_on_the_page_can_be_injected() -> None:
    notes = [note for block in BLOCKS for note in inject(block, Options(), {}).notes]
    assert [(note.title, note.text) for note in notes] == [
        ("deployment/agent", "injected"),
        ("deployment/weather", "injected"),
        ("pod/agent", "injected"),
    ]


def test_the_configuration_on_the_page_is_good(tmp_path: Path) -> None:
    (text,) = [document["data"]["config.yaml"] for document in documents() if document["kind"] == "ConfigMap"]
    (file := tmp_path / "config.yaml").write_text(text)
    assert [one.name for one in load(file, {}, {}).settings.upstreams] == ["weather"]
