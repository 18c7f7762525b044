"""What in the template depends on the pod it goes into, and how it is settled for one pod; knows no template.

A template is plain data with a few of these in it. `settle` turns them into plain data for one pod; `cel` prints them
as expressions that the API server settles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_sidecar.injection.vocabulary import ANNOTATIONS

Plain = Any
"""What JSON can hold."""


class Placeholder(str):
    """An expression of a later program, `{{ … }}`, that puts a text there, quoted as in JSON."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Annotated:
    """The pod's annotation of this name, or else the default, with `suffix` behind it.

    An annotation that does not have the form of its table counts as not there: who can tell the author does so before.
    """

    name: str
    default: str
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class PodGrace:
    """The pod's `terminationGracePeriodSeconds`, which the downward API does not give, as text."""


@dataclass(frozen=True, slots=True)
class When:
    """`then` if the pod has the annotation, else `otherwise`.

    Within a list both are lists, spliced in; as the value of a key both are values, and None leaves the key out.
    """

    name: str
    then: Any
    otherwise: Any = None


@dataclass(frozen=True, slots=True)
class Pod:
    """What is asked of a pod."""

    annotations: Mapping[str, str]
    grace_seconds: int = 30

    def said(self, name: str) -> str | None:
        """The value of an annotation of ours; None when it is absent or not of its form."""
        value = self.annotations.get(ANNOTATIONS[name].key)
        return value if isinstance(value, str) and ANNOTATIONS[name].accepts(value) else None


def settle(template: Any, pod: Pod) -> Plain:
    """The template as plain data for this pod."""
    if isinstance(template, Annotated):
        return (pod.said(template.name) or template.default) + template.suffix
    if isinstance(template, PodGrace):
        return str(pod.grace_seconds)
    if isinstance(template, When):
        return settle(template.then if pod.said(template.name) else template.otherwise, pod)
    if isinstance(template, Mapping):
        settled = {key: settle(value, pod) for key, value in template.items()}
        return {key: value for key, value in settled.items() if value is not None}
    if isinstance(template, Sequence) and not isinstance(template, str):
        return [item for part in template for item in _settled(part, pod)]
    return template


def _settled(part: Any, pod: Pod) -> list[Plain]:
    if isinstance(part, When):
        return settle(part, pod) or []
    return [settle(part, pod)]
