"""The kustomizations as users get them: built by the real kubectl, judged by the schemas of Kubernetes."""

from __future__ import annotations

import pytest

from tests.deploy import golden
from tests.support import helm, kube_schemas
from tests.support.helm import build, named

pytestmark = pytest.mark.skipif(not helm.has_go(), reason=helm.NEEDS_GO)


@pytest.mark.parametrize("folder", golden.KUSTOMIZATIONS)
def test_a_kustomization_comes_to_what_is_written_down(folder: str) -> None:
    written = golden.FOLDER / f"kustomize-{folder.replace('/', '-')}.yaml"
    assert golden.kustomization(folder) == written.read_text()


@pytest.mark.covers("B-260")
@pytest.mark.parametrize("folder", golden.KUSTOMIZATIONS)
def test_every_object_is_one_that_kubernetes_knows_field_by_field(folder: str) -> None:
    assert kube_schemas.complaints(build(folder), "1.37") == []


@pytest.mark.covers("B-264")
def test_the_permission_follows_the_namespace() -> None:
    (binding,) = named(build("examples/agent"), "RoleBinding")
    assert binding["metadata"]["namespace"] == "assistants"
    assert [subject["name"] for subject in binding["subjects"]] == ["system:serviceaccounts:assistants"]


def test_the_collector_is_told_to_the_sidecar_alone() -> None:
    (deployment,) = named(build("examples/agent"), "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    endpoints = {
        container["name"]: [variable["value"] for variable in container.get("env", []) if "OTLP" in variable["name"]]
        for container in spec["initContainers"] + spec["containers"]
    }
    assert endpoints == {"mcp-sidecar": ["http://$(HOST_IP):4318"], "agent": []}
