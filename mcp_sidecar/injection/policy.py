"""The MutatingAdmissionPolicy (v1, Kubernetes 1.36) and its bindings, made from the template; knows no other way.

Why JSON patches and nothing else: the other kind of patch may not set a list that is one value, and `args`,
`capabilities.drop`, `fieldRef` and projected tokens are such lists.
"""

from __future__ import annotations

from typing import Any, Final

from mcp_sidecar.injection.cel import concatenated, condition_name, conditions, indented, joined, literal, printed
from mcp_sidecar.injection.choices import When
from mcp_sidecar.injection.template import Options, container, pod_annotations, volumes
from mcp_sidecar.injection.vocabulary import CONTAINER, DOMAIN, NAMESPACE_LABEL, POD_LABEL, SYSTEM_NAMESPACES

NAME: Final = f"inject.{DOMAIN}"
LABELLED_PODS: Final = f"inject-labelled-pods.{DOMAIN}"
WAY: Final = "policy"
_API: Final = "admissionregistration.k8s.io/v1"
_CONTAINER_PATH: Final = "/spec/initContainers/0"

MATCH_CONDITIONS: Final = {
    "not-injected-yet": (
        f'(!has(object.spec.initContainers) || !object.spec.initContainers.exists(c, c.name == "{CONTAINER}"))\n'
        f'&& !object.spec.containers.exists(c, c.name == "{CONTAINER}")'
    ),
    "not-host-network": "!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
    "not-mirror-pod": (
        '!has(object.metadata.annotations) || !("kubernetes.io/config.mirror" in object.metadata.annotations)'
    ),
    "not-windows": (
        '(!has(object.spec.os) || object.spec.os.name != "windows")\n'
        '&& (!has(object.spec.nodeSelector) || !("kubernetes.io/os" in object.spec.nodeSelector)\n'
        '    || object.spec.nodeSelector["kubernetes.io/os"] != "windows")'
    ),
}

_VARIABLES: Final = {
    "noInit": "!has(object.spec.initContainers) || size(object.spec.initContainers) == 0",
    "noVolumes": "!has(object.spec.volumes) || size(object.spec.volumes) == 0",
    "noAnnotations": "!has(object.metadata.annotations) || size(object.metadata.annotations) == 0",
    "ann": "has(object.metadata.annotations) ? object.metadata.annotations : {}",
}
"""A patch cannot add to a list or map that is not there, and an API server drops empty ones."""


def policy_spec(options: Options) -> dict[str, Any]:
    """The policy's `spec`. Values are written into it: parameters from a ConfigMap freeze when the policy goes."""
    return {
        # Pods of an enabled namespace without their sidecar would look well and be cut off from their tools.
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                    "scope": "Namespaced",
                }
            ],
        },
        "matchConditions": _named(MATCH_CONDITIONS),
        "variables": _named(_VARIABLES | conditions([container(options), volumes()])),
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": mutation(options)}}],
    }


def documents(options: Options) -> list[dict[str, Any]]:
    """The policy and its bindings, ready to be applied."""
    policy = {"apiVersion": _API, "kind": "MutatingAdmissionPolicy", "metadata": {"name": NAME}}
    return [{**policy, "spec": policy_spec(options)}, *bindings(NAME, NAME, LABELLED_PODS)]


def bindings(policy: str, enabled: str, labelled: str) -> list[dict[str, Any]]:
    """Pods of enabled namespaces that do not say no, and pods that say yes where the namespace does not say no."""
    outside = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": list(SYSTEM_NAMESPACES)}
    matches = {
        enabled: (
            {"key": NAMESPACE_LABEL, "operator": "In", "values": ["enabled"]},
            {"key": POD_LABEL, "operator": "NotIn", "values": ["false"]},
        ),
        labelled: (
            {"key": NAMESPACE_LABEL, "operator": "NotIn", "values": ["disabled"]},
            {"key": POD_LABEL, "operator": "In", "values": ["true"]},
        ),
    }
    return [
        {
            "apiVersion": _API,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": policy,
                "matchResources": {
                    "namespaceSelector": {"matchExpressions": [namespace, outside]},
                    "objectSelector": {"matchExpressions": [pod]},
                },
            },
        }
        for name, (namespace, pod) in matches.items()
    ]


def mutation(options: Options) -> str:
    """The list of JSON patches, as one expression."""
    annotations = pod_annotations(options, WAY)
    return joined(
        [
            _if_missing("noAnnotations", "/metadata/annotations", "{}"),
            concatenated([("", _annotate(key, value)) for key, value in annotations.items()]),
            _if_missing("noVolumes", "/spec/volumes", "[]"),
            concatenated([piece for volume in volumes() for piece in _add_volume(volume)]),
            _if_missing("noInit", "/spec/initContainers", "[]"),
            *_add_container(container(options)),
        ],
        "+",
    )


def _if_missing(variable: str, path: str, empty: str) -> str:
    return f'(variables.{variable} ? [JSONPatch{{op: "add", path: "{path}", value: {empty}}}] : [])'


def _annotate(key: str, value: str) -> str:
    path = f'"/metadata/annotations/" + jsonpatch.escapeKey({literal(key)})'
    return f'JSONPatch{{op: "add", path: {path}, value: {literal(value)}}}'


def _add_volume(volume: Any) -> list[tuple[str, str]]:
    if not isinstance(volume, When):
        return [("", _patch('"/spec/volumes/-"', printed(volume, "Object.spec.volumes")))]
    added = concatenated([piece for part in volume.then for piece in _add_volume(part)])
    return [(_condition(volume), f"{added} : []")]


def _add_container(template: dict[str, Any]) -> list[str]:
    """The container without what depends on the pod as a whole key, and then each of those keys."""
    sure = {key: value for key, value in template.items() if not isinstance(value, When)}
    added = _patch(f'"{_CONTAINER_PATH}"', printed(sure, "Object.spec.initContainers"))
    return [
        concatenated([("", added)]),
        *(_add_key(key, value) for key, value in template.items() if isinstance(value, When)),
    ]


def _add_key(key: str, choice: When) -> str:
    value = printed(choice.then, f"Object.spec.initContainers.{key}")
    added = _patch(f'"{_CONTAINER_PATH}/{key}"', value)
    return concatenated([(_condition(choice), f"[\n{indented(added)}] : []")])


def _condition(choice: When) -> str:
    return f"variables.{condition_name(choice.name)}"


def _patch(path: str, value: str) -> str:
    return f'JSONPatch{{op: "add", path: {path}, value: {value}}}'


def _named(expressions: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "expression": expression} for name, expression in expressions.items()]
