"""The kustomizations as users get them: built by the real kubectl, judged by the schemas of Kubernetes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from mcp_sidecar.injection.choices import Pod, settle
from mcp_sidecar.injection.template import Options, container, volumes
from mcp_sidecar.injection.vocabulary import ANNOTATIONS
from tests.deploy import golden
from tests.support import helm, kube_schemas
from tests.support.helm import build, named


@pytest.mark.parametrize("folder", golden.KUSTOMIZATIONS)
def test_a_kustomization_comes_to_what_is_written_down(folder: str) -> None:
    written = golden.FOLDER / f"kustomize-{folder.replace('/', '-')}.yaml"
    assert golden.kustomization(folder) == written.read_text()


@pytest.mark.covers("B-260")
@pytest.mark.parametrize(
    ("folder", "version"),
    [
        *((folder, "1.37") for folder in golden.KUSTOMIZATIONS),
        *(
            (folder, version)
            for folder in ("overlays/default", "examples/agent", "examples/server")
            for version in ("1.29", "1.33")
        ),
    ],
)
def test_every_object_is_one_that_kubernetes_knows_field_by_field(folder: str, version: str) -> None:
    assert kube_schemas.complaints(build(folder), version) == []


@pytest.mark.covers("B-264")
def test_the_permission_follows_the_namespace() -> None:
    (binding,) = named(build("examples/agent"), "RoleBinding")
    assert binding["metadata"]["namespace"] == "assistants"
    assert [subject["name"] for subject in binding["subjects"]] == ["system:serviceaccounts:assistants"]


def test_workloads_of_every_kind_get_the_same(tmp_path: Path) -> None:
    agent = yaml.safe_load((helm.KUSTOMIZE / "examples/agent/agent.yaml").read_text())
    template = agent["spec"]["template"]
    kinds = {
        "StatefulSet": agent["spec"] | {"serviceName": "agent"},
        "DaemonSet": agent["spec"],
        "Job": {"template": template},
        "CronJob": {"schedule": "@daily", "jobTemplate": {"spec": {"template": template}}},
    }
    for kind, spec in kinds.items():
        version = "batch/v1" if "Job" in kind else "apps/v1"
        (tmp_path / f"{kind}.yaml").write_text(
            yaml.safe_dump(agent | {"apiVersion": version, "kind": kind, "spec": spec})
        )
    components = helm.KUSTOMIZE / "components"
    kustomization = {
        "resources": [f"{kind}.yaml" for kind in kinds],
        # kustomize takes no absolute paths.
        "components": [os.path.relpath(components / name, tmp_path) for name in ("sidecar", "config", "otel")],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    (expected,) = named(build("examples/agent"), "Deployment")
    for thing in helm.objects(helm.run("kubectl", "kustomize", tmp_path)):
        spec = thing["spec"].get("jobTemplate", thing)["spec"]["template"]["spec"]
        assert spec == expected["spec"]["template"]["spec"], thing["kind"]


def test_the_component_config_mounts_what_the_annotation_would() -> None:
    pod = Pod({ANNOTATIONS["config"].key: "mcp-sidecar"})
    (deployment,) = named(build("examples/agent"), "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    wanted = settle(container(Options()), pod)
    (sidecar,) = spec["initContainers"]
    assert sidecar["volumeMounts"] == wanted["volumeMounts"]
    assert [one for one in wanted["env"] if one["name"] == "MCP_SIDECAR_CONFIG"] == [
        one for one in sidecar["env"] if one["name"] == "MCP_SIDECAR_CONFIG"
    ]
    assert spec["volumes"] == settle(volumes(), pod)


def test_the_collector_is_told_to_the_sidecar_alone() -> None:
    (deployment,) = named(build("examples/agent"), "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    endpoints = {
        container["name"]: [variable["value"] for variable in container.get("env", []) if "OTLP" in variable["name"]]
        for container in spec["initContainers"] + spec["containers"]
    }
    assert endpoints == {"mcp-sidecar": ["http://$(HOST_IP):4318"], "agent": []}
