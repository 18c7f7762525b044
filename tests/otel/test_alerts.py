"""The alert rules of deploy/ as Prometheus reads them: which of them fire for which series."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.otel.collector import ROOT
from tests.otel.prometheus import needed

pytestmark = needed

RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
SERIES = Path(__file__).with_name("alerts.yaml")


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False, timeout=60)


def test_prometheus_takes_the_rules():
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.covers("B-345")
def test_alerts_fire_for_troubles_that_last_and_for_no_others():
    done = promtool("test", "rules", str(SERIES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_expected_to_fire_and_not_to_fire():
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    rules = {rule["alert"] for rule in group["rules"]}
    quiet, loud = yaml.safe_load(SERIES.read_text())["tests"]
    assert {one["alertname"] for one in quiet["alert_rule_test"]} == rules
    assert {one["alertname"] for one in loud["alert_rule_test"] if "exp_alerts" in one} == rules
