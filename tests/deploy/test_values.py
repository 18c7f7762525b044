"""README and schema of the chart against its values.yaml; needs Python only."""

from __future__ import annotations

import pytest
import yaml

from hack import chart
from mcp_sidecar import __version__

SOURCE = """\
# A word about the file.

# -- How many.
# @schema {minimum: 1}
replicas: 2
image:
  # -- Where it is,
  # in a registry.
  name: ""
# -- Anything.
labels: {}
"""


@pytest.fixture
def written() -> list[chart.Value]:
    return list(chart.values(SOURCE))


@pytest.mark.covers("B-267")
def test_what_is_committed_is_what_values_yaml_says() -> None:
    stale = [path.name for path, content in chart.generated().items() if path.read_text() != content]
    assert stale == [], "run `make docs`"


def test_every_value_has_a_sentence() -> None:
    whole = chart.values((chart.CHART / "values.yaml").read_text())
    without = [".".join(value.path) for value in whole if not value.text and not value.has_children]
    assert without == []


def test_a_comment_describes_the_key_below_it(written: list[chart.Value]) -> None:
    texts = {".".join(value.path): value.text for value in written}
    assert texts == {
        "replicas": "How many.",
        "image": "",
        "image.name": "Where it is, in a registry.",
        "labels": "Anything.",
    }


def test_the_default_says_the_type_and_the_comment_says_more(written: list[chart.Value]) -> None:
    properties = chart.schema(written)["properties"]
    assert properties["replicas"] == {"description": "How many.", "type": "integer", "default": 2, "minimum": 1}


def test_a_mapping_with_keys_is_closed_and_an_empty_one_is_open(written: list[chart.Value]) -> None:
    whole = chart.schema(written)
    assert whole["additionalProperties"] is False
    assert whole["properties"]["image"]["additionalProperties"] is False
    assert "additionalProperties" not in whole["properties"]["labels"]


def test_the_configuration_of_the_sidecars_is_checked_as_the_sidecar_would() -> None:
    whole = chart.schema(list(chart.values((chart.CHART / "values.yaml").read_text())))
    config = whole["properties"]["config"]
    assert config["additionalProperties"] is False
    assert {"upstreams", "discovery", "drain"} <= set(config["properties"])


def test_every_value_is_in_the_table() -> None:
    readme = (chart.CHART / "README.md").read_text()
    for value in chart.values((chart.CHART / "values.yaml").read_text()):
        assert value.has_children or f"| `{'.'.join(value.path)}` |" in readme


def test_the_chart_is_released_with_the_sidecar() -> None:
    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    assert about["version"] == about["appVersion"] == __version__
    assert f":{__version__}\n" in about["annotations"]["artifacthub.io/images"]
