"""The keys of `discovery`, and what else says where in which cluster we are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mcp_sidecar.config import BadConfiguration, load
from mcp_sidecar.settings import DiscoverySettings


def discovery(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> DiscoverySettings:
    (file := tmp_path / "config.yaml").write_text(f"discovery: {{{text}}}")
    return load(file, environ).settings.discovery


@pytest.mark.parametrize(
    "selector",
    [
        "*",
        "app",
        "!app",
        "app=x",
        "app==x",
        "app!=x",
        "app=",
        "a.b/c=d",
        "a in (b, c)",
        "a notin (b)",
        "a=b,!c,d in (e)",
    ],
)
def test_label_selectors_are_taken(tmp_path: Path, selector: str):
    assert discovery(tmp_path, f"mode: namespace, selectors: ['{selector}']").selectors == (selector,)


@pytest.mark.parametrize("selector", ["", " ", "a b", "a=b=c", "in (a)", "a in b", "a=b,", "a&b=c", "a=b\\u000a"])
def test_what_is_no_label_selector_is_named_with_an_example(tmp_path: Path, selector: str):
    with pytest.raises(BadConfiguration, match=r"discovery.selectors\[0\]: .*such as app=mcp-server"):
        discovery(tmp_path, f'mode: namespace, selectors: ["{selector}"]')


def test_a_namespace_has_the_form_of_one(tmp_path: Path):
    assert discovery(tmp_path, "namespace: tools").namespace == "tools"
    with pytest.raises(BadConfiguration, match=r"discovery\.namespace"):
        discovery(tmp_path, "namespace: Tools/x")


def test_a_namespace_without_anything_to_look_for_is_a_problem(tmp_path: Path):
    with pytest.raises(BadConfiguration, match=r"discovery\.selectors: .*needs at least one"):
        discovery(tmp_path, "mode: namespace, selectors: []")
    assert discovery(tmp_path, "mode: namespace, selectors: [], resources: true").resources


def test_the_zone_may_come_by_its_short_name(tmp_path: Path):
    short, full = {"MCP_SIDECAR_ZONE": "a"}, {"MCP_SIDECAR_DISCOVERY_ZONE": "c"}
    assert discovery(tmp_path, "mode: namespace", short).zone == "a"
    assert discovery(tmp_path, "mode: namespace, zone: b", short).zone == "b"
    assert discovery(tmp_path, "mode: namespace, zone: b", short | full).zone == "c"


def test_a_kubeconfig_of_the_environment_counts_outside_of_clusters_only(tmp_path: Path):
    environ = {"KUBECONFIG": "configs/mine"}
    assert discovery(tmp_path, "mode: namespace", environ).kubeconfig == "configs/mine"
    in_pod = environ | {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert discovery(tmp_path, "mode: namespace", in_pod).kubeconfig == ""


@pytest.mark.covers("B-214")
def test_a_missing_client_is_a_problem_that_says_what_to_install(tmp_path: Path):
    (file := tmp_path / "config.yaml").write_text("discovery: {mode: namespace}")
    hidden = "import sys; sys.modules['kubernetes'] = None"
    command = f"{hidden}; from mcp_sidecar.cli import main; sys.exit(main(['check', '-c', {str(file)!r}]))"
    ran = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 64
    assert "config.yaml:1: discovery.mode: namespace needs" in ran.stdout + ran.stderr
    assert "pip install 'mcp-sidecar[kubernetes]'" in ran.stdout + ran.stderr
