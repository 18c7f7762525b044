"""Decides what happens to one pod: why it is left alone, or what is added or taken away. Knows no way and no text.

A pod here is anything with `metadata` and `spec`: a Pod, or the template of a workload.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mcp_sidecar.injection.choices import Pod, settle
from mcp_sidecar.injection.operations import END, Add, Key, Operation, Path, Remove
from mcp_sidecar.injection.template import (
    CONFIG_VOLUME,
    NATIVE,
    TOKEN_VOLUME,
    Options,
    container,
    pod_annotations,
    volumes,
)
from mcp_sidecar.injection.vocabulary import ANNOTATIONS, CONTAINER, INJECTED_BY, POD_LABEL, VERSION

_OUR_VOLUMES: Final = (TOKEN_VOLUME, CONFIG_VOLUME)
_OUR_ANNOTATIONS: Final = (INJECTED_BY, VERSION)
_MIRROR: Final = "kubernetes.io/config.mirror"
_DEFAULT_GRACE: Final = 30


class NotAPod(ValueError):
    """A part of the pod is not of the type that Kubernetes asks for; `path` leads to it."""

    def __init__(self, path: Path, wanted: str) -> None:
        super().__init__(f"{'.'.join(map(str, path))}: expected {wanted}")
        self.path = path


class BadAnnotation(NotAPod):
    """An annotation of ours has a value that is none."""


def check(pod: Mapping[str, Any]) -> None:
    """Raises NotAPod when parts that are looked at are not what they have to be. Containers there must be."""
    spec = _mapping(pod, "spec")
    _mapping(pod, "metadata")
    for name in ("labels", "annotations"):
        _mapping(pod, "metadata", name)
    for name in ("containers", "initContainers", "volumes"):
        _list(pod, "spec", name)
    if not spec.get("containers"):
        raise NotAPod(("spec", "containers"), "a list with a container in it")


def bad_annotations(pod: Mapping[str, Any]) -> Iterator[BadAnnotation]:
    """Each of our annotations that has not its form."""
    said = _mapping(pod, "metadata", "annotations")
    for annotation in ANNOTATIONS.values():
        value = said.get(annotation.key)
        if value is not None and not (isinstance(value, str) and annotation.accepts(value)):
            yield BadAnnotation(("metadata", "annotations", annotation.key), f'a text like "{annotation.example}"')


def why_not(pod: Mapping[str, Any]) -> str | None:
    """The reason to leave a pod alone, in words; None when there is none."""
    spec = pod["spec"]
    if _opted_out(pod):
        return f'it has the label {POD_LABEL}: "false"'
    if any(_called(item, CONTAINER) for _, item in _containers(pod)):
        return f"it has a container called {CONTAINER}"
    if spec.get("hostNetwork"):
        return "it uses the network of its node (hostNetwork), whose ports all pods share"
    if _is_windows(spec):
        return "it runs on Windows"
    if _MIRROR in _mapping(pod, "metadata", "annotations"):
        return "it is the mirror of a static pod"
    return None


def _opted_out(pod: Mapping[str, Any]) -> bool:
    return str(_mapping(pod, "metadata", "labels").get(POD_LABEL)).lower() == "false"


def _is_windows(spec: Mapping[str, Any]) -> bool:
    system, selector = spec.get("os"), spec.get("nodeSelector")
    return _called(system, "windows") or (
        isinstance(selector, Mapping) and selector.get("kubernetes.io/os") == "windows"
    )


def injection(pod: Mapping[str, Any], options: Options, way: str, wishes: Mapping[str, str]) -> list[Operation]:
    """What makes a pod one with a sidecar. `wishes` are values of annotations, by name, for a pod that has them not."""
    said = _mapping(pod, "metadata", "annotations")
    wished = {ANNOTATIONS[name].key: value for name, value in wishes.items() if ANNOTATIONS[name].key not in said}
    facts = Pod(annotations={**wished, **said}, grace_seconds=_grace(pod["spec"]))
    added = pod_annotations(options, way)
    sidecar, place = settle(container(options), facts), "initContainers" if options.mode == NATIVE else "containers"
    return [
        *_annotate(pod, {**wished, **added}),
        *_append(pod, "volumes", settle(volumes(), facts)),
        *_put(pod, place, sidecar),
    ]


def _annotate(pod: Mapping[str, Any], added: Mapping[str, str]) -> Iterator[Operation]:
    metadata = pod.get("metadata")
    if metadata is None:
        yield Add(("metadata",), {"annotations": dict(added)})
    elif not metadata.get("annotations"):
        yield Add(("metadata", "annotations"), dict(added))
    else:
        for key, value in added.items():
            yield Add(("metadata", "annotations", key), value)


def _append(pod: Mapping[str, Any], name: str, items: list[Any]) -> Iterator[Operation]:
    if not pod["spec"].get(name):
        yield Add(("spec", name), items)
    else:
        for item in items:
            yield Add(("spec", name, END), item)


def _put(pod: Mapping[str, Any], name: str, sidecar: Any) -> Iterator[Operation]:
    """First of the init containers, so that those after it can use it; last of others, whose first is the default."""
    if not pod["spec"].get(name):
        yield Add(("spec", name), [sidecar])
    else:
        yield Add(("spec", name, 0 if name == "initContainers" else END), sidecar)


def removal(pod: Mapping[str, Any]) -> list[Operation]:
    """What takes the sidecar away again, from the last to the first; empty for a pod into which none was put.

    A list or mapping that would be left empty goes as well.
    """
    said = _mapping(pod, "metadata", "annotations")
    if INJECTED_BY not in said:
        return []
    annotations: list[Key] = [key for key in said if key in _OUR_ANNOTATIONS]
    gone = _without(pod, ("metadata", "annotations"), annotations)
    for name in ("volumes", "initContainers", "containers"):
        ours = _OUR_VOLUMES if name == "volumes" else (CONTAINER,)
        found = [index for index, item in enumerate(_list(pod, "spec", name)) if _called(item, *ours)]
        gone += _without(pod, ("spec", name), list(reversed(found)))
    return gone


def _without(pod: Mapping[str, Any], path: Path, keys: list[Key]) -> list[Operation]:
    whole = _get(pod, tuple(map(str, path)))
    if not keys:
        return []
    if len(keys) < len(whole):
        return [Remove((*path, key)) for key in keys]
    return [Remove(path[:1] if path[0] == "metadata" and len(pod["metadata"]) == 1 else path)]


def _containers(pod: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in ("initContainers", "containers"):
        for item in _list(pod, "spec", name):
            yield name, item


def _called(item: Any, *names: str) -> bool:
    return isinstance(item, Mapping) and item.get("name") in names


def _grace(spec: Mapping[str, Any]) -> int:
    grace = spec.get("terminationGracePeriodSeconds")
    return grace if isinstance(grace, int) and not isinstance(grace, bool) else _DEFAULT_GRACE


def _mapping(pod: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """What is there, an empty mapping for nothing. Raises NotAPod."""
    value = _get(pod, path)
    if not isinstance(value, Mapping | None):
        raise NotAPod(path, "a mapping")
    return value or {}


def _list(pod: Mapping[str, Any], *path: str) -> list[Any]:
    value = _get(pod, path)
    if not isinstance(value, list | None):
        raise NotAPod(path, "a list")
    return value or []


def _get(pod: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = pod
    for key in path:
        value = (value or {}).get(key)
    return value
