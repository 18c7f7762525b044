"""The kustomize Components, made from the template; knows no other way.

kustomize cannot look into the objects it patches: annotations about resources and drain have no effect, a ConfigMap has
to be mounted by a patch of one's own, and there is one Component for each role.
"""

from __future__ import annotations

from typing import Any, Final

from mcp_sidecar.injection.choices import Pod, settle
from mcp_sidecar.injection.template import Options, container, pod_annotations, volumes
from mcp_sidecar.injection.vocabulary import ANNOTATIONS, POD_LABEL

WAY: Final = "kustomize"
WITH_TEMPLATE: Final = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")
"""Kinds whose pods are made from `spec.template`."""
ROLES: Final = {
    "sidecar": Pod({}),
    # The port itself is read from the annotation when the pod starts.
    "sidecar-inbound": Pod({ANNOTATIONS["app-port"].key: ANNOTATIONS["app-port"].example}),
}
"""The Components, and the pod each is made for."""


def files(role: str, options: Options) -> dict[str, Any]:
    """The contents of a Component's files, by name."""
    template = _pod_template(ROLES[role], options)
    return {
        "kustomization.yaml": _kustomization(),
        "workload.yaml": _patch("Deployment", {"template": template}),
        "cronjob.yaml": _patch("CronJob", {"jobTemplate": {"spec": {"template": template}}}),
        "json6902.yaml": _operations(template),
    }


def _pod_template(pod: Pod, options: Options) -> dict[str, Any]:
    return {
        "metadata": {"annotations": pod_annotations(options, WAY)},
        "spec": {
            "initContainers": [settle(container(options), pod)],
            "volumes": settle(volumes(), pod),
        },
    }


def _kustomization() -> dict[str, Any]:
    selector = f"{POD_LABEL}=true"
    targets = [("workload.yaml", kind) for kind in WITH_TEMPLATE] + [("cronjob.yaml", "CronJob")]
    return {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "patches": [{"path": path, "target": {"kind": kind, "labelSelector": selector}} for path, kind in targets],
    }


def _patch(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A strategic merge patch. The target of the kustomization decides what it meets, not its own kind and name."""
    version = "batch/v1" if kind == "CronJob" else "apps/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "any"}, "spec": spec}


def _operations(template: dict[str, Any]) -> list[dict[str, Any]]:
    """For kinds that kustomize has no merge keys for, such as Argo's Rollout."""
    pod = template["spec"]
    return [
        {"op": "add", "path": f"/spec/template/spec/{name}", "value": pod[name]}
        for name in ("volumes", "initContainers")
    ]
