"""The chart's life: install, test, upgrade, uninstall; nothing of it is left."""

from __future__ import annotations

import json

import pytest

from tests.cluster.kubectl import Cluster, Namespace
from tests.cluster.releases import helm, values

pytestmark = pytest.mark.alone  # one release at a time can be on the cluster

WAIT = ("--wait", "--timeout", "120s")
_CLUSTER_WIDE = (
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "clusterroles",
    "clusterrolebindings",
)


def everything(cluster: Cluster, namespace: Namespace) -> set[str]:
    """What there is, in the namespace and cluster-wide."""
    kinds = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    kept = [kind for kind in kinds if not kind.startswith("events")]
    there = namespace.kubectl("get", ",".join(kept), "-o", "name", "--ignore-not-found").split()
    return {*there, *cluster.kubectl("get", ",".join(_CLUSTER_WIDE), "-o", "name").split()}


@pytest.mark.covers("B-276")
@pytest.mark.parametrize("mode", ["policy", "webhook", "none"])
def test_a_release_is_installed_tested_upgraded_and_gone(cluster: Cluster, namespace: Namespace, mode: str) -> None:
    before = everything(cluster, namespace)
    try:
        live(cluster, namespace, mode)
    finally:
        helm(cluster, "uninstall", namespace.name, None, "--ignore-not-found", *WAIT)
    namespace.until("nothing is left", lambda: not everything(cluster, namespace) - before)


def live(cluster: Cluster, namespace: Namespace, mode: str) -> None:
    """Install, test and upgrade the release."""
    given = values(injection={"mode": mode}, namespaces=[namespace.name], sidecar={"discovery": "namespace"})
    helm(cluster, "install", namespace.name, given, *WAIT)
    # At once: the test itself waits until a policy is in force.
    assert "Succeeded" in helm(cluster, "test", namespace.name, None, "--timeout", "120s")
    upgraded = {**given, "config": {"log": {"level": "debug"}}}
    helm(cluster, "upgrade", namespace.name, upgraded, *WAIT)
    config = json.loads(namespace.kubectl("get", "configmap", "mcp-sidecar", "-o", "json"))
    assert "debug" in config["data"]["config.yaml"]
