"""Answers one AdmissionReview (v1) of the API server; knows neither the network nor certificates.

Whatever a pod looks like, it is allowed: a sidecar that cannot be added is no reason to keep a pod from starting, and
what is wrong is said in a warning, which `kubectl` shows. Asked again for the same pod, there is nothing to change.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mcp_sidecar.injection import pods
from mcp_sidecar.injection.operations import Operation, as_json_patch
from mcp_sidecar.injection.template import Options
from mcp_sidecar.injection.vocabulary import SYSTEM_NAMESPACES

WAY: Final = "webhook"
_VERSION: Final = "admission.k8s.io/v1"
_WARNING_LENGTH: Final = 250
"""The API server cuts warnings; this is below where it does."""


class NotAReview(ValueError):
    """The body is not what an API server sends."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back, and what the log is told."""

    body: bytes
    namespace: str
    pod: str
    outcome: str


def answer(body: bytes, options: Options, own_namespace: str) -> Answer:
    """The answer to a review. Raises NotAReview."""
    request = _request(body)
    namespace, pod = str(request.get("namespace") or ""), request.get("object")
    operations, outcome, warnings = _decide(request, options, own_namespace)
    response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    if operations:
        patch = base64.b64encode(msgspec.json.encode(as_json_patch(operations))).decode()
        response |= {"patchType": "JSONPatch", "patch": patch}
    if warnings:
        response["warnings"] = [f"mcp-sidecar: {warning}"[:_WARNING_LENGTH] for warning in warnings]
    review = {"apiVersion": _VERSION, "kind": "AdmissionReview", "response": response}
    return Answer(msgspec.json.encode(review), namespace, _name(pod), outcome)


def _request(body: bytes) -> Mapping[str, Any]:
    try:
        review = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotAReview(f"the body is not JSON: {error}") from error
    if not isinstance(review, dict) or review.get("kind") != "AdmissionReview" or review.get("apiVersion") != _VERSION:
        raise NotAReview(f"the body is not an AdmissionReview of {_VERSION}")
    request = review.get("request")
    if not isinstance(request, dict) or not isinstance(request.get("uid"), str) or not request["uid"]:
        raise NotAReview("the review has no request with a uid")
    return request


def _decide(request: Mapping[str, Any], options: Options, own_namespace: str) -> tuple[list[Operation], str, list[str]]:
    """Operations, a word for the log, and warnings for whoever made the pod."""
    if request.get("operation") != "CREATE" or not _is_pod(request.get("kind")):
        return [], "not a new pod", []
    if request.get("namespace") in {*SYSTEM_NAMESPACES, own_namespace}:
        return [], "excluded namespace", []
    pod = request.get("object")
    try:
        if not isinstance(pod, dict):
            raise pods.NotAPod(("object",), "a pod")
        pods.check(pod)
        if (reason := pods.why_not(pod)) is not None:
            return [], reason, []
        warnings = [f"{bad}; the default is used" for bad in pods.bad_annotations(pod)]
        return pods.injection(pod, options, WAY, {}), "injected", warnings
    except pods.NotAPod as bad:
        return [], str(bad), [f"no sidecar: {bad}"]


def _is_pod(kind: object) -> bool:
    return isinstance(kind, dict) and not kind.get("group") and kind.get("kind") == "Pod"


def _name(pod: object) -> str:
    metadata = pod.get("metadata") if isinstance(pod, dict) else None
    known: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    return str(known.get("name") or known.get("generateName") or "")
