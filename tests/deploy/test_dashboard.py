"""What operators install to look at the metrics asks for metrics and labels that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_sidecar.inbound.instruments import TABLE

DEPLOY = Path(__file__).parents[2] / "deploy"
NAMES = {
    name: set(row.attributes) | ({"le"} if row.kind == "histogram" else set())
    for base, row in TABLE.items()
    for name in ([f"{base}_bucket", f"{base}_sum", f"{base}_count"] if row.kind == "histogram" else [base])
}
FROM_KUBERNETES = {"namespace", "pod"}
"""Labels that whoever scrapes adds."""
_NAME = re.compile(r"\b(?:mcp|process|rpc)_[a-z_]+")
_LABEL = re.compile(r'([a-z_]+)(?:=~|!~|!=|=)"')
_GROUPED = re.compile(r"\b(?:by|on) \(([a-z_, ]*)\)")


def rules() -> dict[str, str]:
    """The expression of each alert."""
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def panels() -> dict[str, str]:
    """The expressions of each panel."""
    dashboard: dict[str, Any] = json.loads((DEPLOY / "grafana" / "mcp-sidecar.json").read_text())
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }


EXPRESSIONS = rules() | panels()


@pytest.mark.covers("B-315")
@pytest.mark.parametrize("what", EXPRESSIONS)
def test_an_expression_asks_for_metrics_and_labels_that_there_are(what: str):
    expression = EXPRESSIONS[what]
    names = set(_NAME.findall(expression))
    assert names and names <= set(NAMES)
    asked = set(_LABEL.findall(expression))
    for grouped in _GROUPED.findall(expression):
        asked |= {label.strip() for label in grouped.split(",") if label.strip()}
    known = set[str]().union(*(NAMES[name] for name in names)) | FROM_KUBERNETES
    assert asked <= known
    assert expression.count("(") == expression.count(")") and expression.count("{") == expression.count("}")


def test_panels_do_not_lie_on_each_other():
    dashboard = json.loads((DEPLOY / "grafana" / "mcp-sidecar.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
