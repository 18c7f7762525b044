"""Where in an object of Kubernetes pods are described; knows nothing of what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp_sidecar.injection.operations import Path

_TEMPLATE: Final[Path] = ("spec", "template")
_POD_PATHS: Final[Mapping[tuple[str, str], Path]] = {
    ("", "Pod"): (),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
KINDS: Final = tuple(kind for _, kind in _POD_PATHS)
_MOST_NESTED: Final = 8
"""Lists within lists that are looked into."""


@dataclass(frozen=True, slots=True)
class Workload:
    """An object that describes pods."""

    title: str
    """Kind and name, as `deployment/web`."""
    kind: str
    namespace: str
    path: Path
    """From the document to the object."""
    pod_path: Path
    """From the object to its pod."""
    labels: Mapping[str, Any]
    """Of the object itself, not of its pods."""


def workloads(document: Any, path: Path = (), nested: int = 0) -> Iterator[Workload]:
    """The workloads of a document: itself, or the items of a list."""
    if not isinstance(document, Mapping):
        return
    group, _, version = str(document.get("apiVersion", "")).rpartition("/")
    kind = document.get("kind")
    items = document.get("items")
    if version and isinstance(kind, str) and (group, kind) in _POD_PATHS:
        yield _workload(document, kind, path, _POD_PATHS[group, kind])
    elif isinstance(kind, str) and kind.endswith("List") and isinstance(items, list) and nested < _MOST_NESTED:
        for index, item in enumerate(items):
            yield from workloads(item, (*path, "items", index), nested + 1)


def _workload(document: Mapping[str, Any], kind: str, path: Path, pod_path: Path) -> Workload:
    given = document.get("metadata")
    metadata: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    labels = metadata.get("labels")
    return Workload(
        title=f"{kind.lower()}/{metadata.get('name') or metadata.get('generateName') or '(no name)'}",
        kind=kind,
        namespace=str(metadata.get("namespace") or ""),
        path=path,
        pod_path=pod_path,
        labels=labels if isinstance(labels, Mapping) else {},
    )
