"""The policy that is committed, worked out for pods by a reader of its language."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_sidecar.injection.template import Options
from tests.injection.admitting import Pod, admitted, patched, pod

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kustomize/components/policy/policy.yaml").read_text()))


@pytest.fixture(scope="module")
def policy(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return documents[0]


def sidecar(after: Pod) -> dict[str, Any]:
    found: dict[str, Any] = after["spec"]["initContainers"][0]
    assert found["name"] == "mcp-sidecar"
    return found


@pytest.mark.covers("B-244")
def test_the_sidecar_is_the_first_init_container(policy: dict[str, Any]) -> None:
    after = admitted(policy, pod(initContainers=[{"name": "migrate", "image": "m:1"}]))
    assert [one["name"] for one in after["spec"]["initContainers"]] == ["mcp-sidecar", "migrate"]
    assert sidecar(after)["restartPolicy"] == "Always"


def test_a_pod_that_has_everything_keeps_it(policy: dict[str, Any]) -> None:
    before = pod({"a/b": "c"}, initContainers=[{"name": "i", "image": "i:1"}], volumes=[{"name": "v", "emptyDir": {}}])
    original = copy.deepcopy(before)
    after = admitted(policy, before)
    assert before == original
    assert after["metadata"]["annotations"]["a/b"] == "c"
    assert after["spec"]["volumes"][0] == original["spec"]["volumes"][0]
    assert after["spec"]["containers"] == original["spec"]["containers"]


@pytest.mark.covers("B-242")
def test_a_pod_is_injected_once(policy: dict[str, Any]) -> None:
    once = admitted(policy, pod())
    assert admitted(policy, once) is once


@pytest.mark.covers("B-243")
@pytest.mark.parametrize(
    "spec",
    [
        {"hostNetwork": True},
        {"os": {"name": "windows"}},
        {"nodeSelector": {"kubernetes.io/os": "windows"}},
        {"containers": [{"name": "mcp-sidecar", "image": "mine"}]},
        {"initContainers": [{"name": "mcp-sidecar", "image": "mine"}]},
    ],
)
def test_pods_that_a_sidecar_does_not_fit_are_left_alone(policy: dict[str, Any], spec: dict[str, Any]) -> None:
    before = pod(**spec)
    assert admitted(policy, before) is before


def test_a_pod_that_asks_for_a_linux_node_is_injected(policy: dict[str, Any]) -> None:
    for spec in (
        {"nodeSelector": {"kubernetes.io/os": "linux"}},
        {"nodeSelector": {"a": "b"}},
        {"os": {"name": "linux"}},
    ):
        assert sidecar(admitted(policy, pod(**spec)))


@pytest.mark.covers("B-246")
def test_an_annotation_without_its_form_counts_as_absent(policy: dict[str, Any]) -> None:
    annotations = {"mcp-sidecar.dev/memory-limit": "lots", "mcp-sidecar.dev/app-port": "http"}
    assert sidecar(admitted(policy, pod(annotations))) == sidecar(admitted(policy, pod()))


def test_the_bindings_leave_system_namespaces_and_refusing_pods_out(documents: list[dict[str, Any]]) -> None:
    selectors = {one["metadata"]["name"]: one["spec"]["matchResources"] for one in documents[1:]}
    assert {one["spec"]["policyName"] for one in documents[1:]} == {documents[0]["metadata"]["name"]}
    assert set(selectors) == {"inject.mcp-sidecar.dev", "inject-labelled-pods.mcp-sidecar.dev"}
    for one in selectors.values():
        outside = one["namespaceSelector"]["matchExpressions"][1]
        assert outside["operator"] == "NotIn" and "kube-system" in outside["values"]


def test_the_text_for_the_chart_is_the_policy_with_placeholders() -> None:
    text = (DEPLOY / "helm/mcp-sidecar/templates/_policy.tpl").read_text()
    for value in ("image", "sidecar.logLevel", "sidecar.resources.limits.memory", "sidecar.env"):
        assert value in text
    assert Options().image not in text


def test_nothing_of_the_plain_policy_looks_like_a_template(policy: dict[str, Any]) -> None:
    # Somebody will put it into a chart of their own.
    assert "{{" not in yaml.safe_dump(policy)


def test_patched_is_as_rfc_6902_says() -> None:
    steps = [
        {"op": "add", "path": "/spec/containers/0", "value": 1},
        {"op": "add", "path": "/metadata/a~1b", "value": 2},
    ]
    after = patched(pod(), steps)
    assert after["spec"]["containers"][0] == 1 and after["metadata"]["a/b"] == 2
