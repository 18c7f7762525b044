"""The chart on the cluster, for as long as a test needs it; knows helm, and which image the cluster has."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from hack.kube.image import SIDECAR
from tests.cluster.kubectl import Cluster, Json, Namespace
from tests.cluster.manifests import CONTAINER, pod, pod_spec, program
from tests.cluster.namespaces import made

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "mcp-sidecar"
RELEASE = "mcp-sidecar"
LABEL = "mcp-sidecar.dev/inject"
ENABLED = "mcp-sidecar.dev/injection=enabled"


def values(**more: object) -> Json:
    """Values of the chart with the image that the node has."""
    repository, tag = SIDECAR.rsplit(":", 1)
    registry, _, name = repository.rpartition("/")
    image = {"registry": registry, "repository": name, "tag": tag, "pullPolicy": "Never"}
    return {"image": image, **more}


def helm(cluster: Cluster, word: str, namespace: str, given: Json | None = None, *more: str) -> str:
    """`helm install|upgrade|template RELEASE CHART` with these values, or `helm test|uninstall RELEASE`."""
    command = [word, RELEASE, *([str(CHART)] if given is not None else []), "--namespace", namespace, *more]
    return cluster.helm(*command, *(["--values", "-"] if given is not None else []), stdin=json.dumps(given))


@contextlib.contextmanager
def injecting(cluster: Cluster, mode: str) -> Iterator[None]:
    """The chart in a namespace of its own, and in force: a policy takes about a second to be."""
    with made(cluster, "mcp-sidecar-system") as system, made(cluster, "asking") as elsewhere:
        helm(cluster, "install", system.name, values(injection={"mode": mode}), "--wait", "--timeout", "120s")
        try:
            until_in_force(elsewhere)
            yield
        finally:
            helm(cluster, "uninstall", system.name, None, "--wait", "--timeout", "60s")


def until_in_force(namespace: Namespace) -> None:
    """Wait until pods that ask for a sidecar get one."""
    asking = pod("asking", pod_spec(program("agent")), labels={LABEL: "true"})
    namespace.until("injection is in force", lambda: CONTAINER in containers(submitted(namespace, asking)))


def submitted(namespace: Namespace, wanted: Json) -> Json:
    """The pod as the API server would store it."""
    words = ["create", "-f", "-", "--dry-run=server", "-o", "json"]
    stored: Json = json.loads(namespace.kubectl(*words, stdin=json.dumps(wanted)))
    return stored


def containers(stored: Json) -> list[str]:
    """The names of its init containers, of which native sidecars are some."""
    return [each["name"] for each in stored["spec"].get("initContainers", [])]
