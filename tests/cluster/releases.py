"""The chart on the cluster, for as long as a test needs it; knows helm, and which image the cluster has."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from hack.kube.image import SIDECAR
from tests.cluster.kubectl import Cluster, Json

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "mcp-sidecar"
RELEASE = "mcp-sidecar"
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
def release(cluster: Cluster, namespace: str, **more: object) -> Iterator[None]:
    """The chart, installed in a namespace that exists, and uninstalled afterwards."""
    helm(cluster, "install", namespace, values(**more), "--wait", "--timeout", "120s")
    try:
        yield
    finally:
        helm(cluster, "uninstall", namespace, None, "--wait", "--timeout", "60s")
