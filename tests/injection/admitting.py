"""What an API server does with a pod on its way in: a policy's expressions, a JSON patch. Knows no template."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tests.injection import cel_reader

Pod = dict[str, Any]


def pod(annotations: Mapping[str, str] | None = None, **spec: Any) -> Pod:
    """A pod as the API server has it when admission begins: defaults are set, and what is empty is not there."""
    metadata: dict[str, Any] = {"name": "agent"}
    if annotations:
        metadata["annotations"] = dict(annotations)
    containers = [{"name": "app", "image": "app:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": containers, "terminationGracePeriodSeconds": 30, **spec},
    }


def patched(before: Pod, patch: list[dict[str, Any]]) -> Pod:
    """RFC 6902, of which `add` and `remove` are used."""
    after = copy.deepcopy(before)
    for step in patch:
        *way, last = [key.replace("~1", "/").replace("~0", "~") for key in step["path"].split("/")[1:]]
        place: Any = after
        for key in way:
            place = place[int(key) if isinstance(place, list) else key]
        assert step["op"] == "add"
        if isinstance(place, list):
            place.insert(len(place) if last == "-" else int(last), step["value"])
        else:
            place[last] = step["value"]
    return after


def admitted(policy: Mapping[str, Any], before: Pod) -> Pod:
    """The pod after a MutatingAdmissionPolicy; the same pod when a condition is not met."""
    spec, scope = policy["spec"], {"object": before}
    if not all(cel_reader.evaluate(one["expression"], scope) for one in spec["matchConditions"]):
        return before
    variables = _Variables(spec["variables"], before)
    (mutation,) = spec["mutations"]
    expression = mutation["jsonPatch"]["expression"]
    # `jsonpatch` is a library; its functions are members of a name.
    return patched(before, cel_reader.evaluate(expression, {**scope, "variables": variables, "jsonpatch": None}))


class _Variables(dict):
    """Worked out in their order, as each may use those before it."""

    def __init__(self, named: list[dict[str, str]], before: Pod) -> None:
        super().__init__()
        for one in named:
            self[one["name"]] = cel_reader.evaluate(one["expression"], {"object": before, "variables": self})
