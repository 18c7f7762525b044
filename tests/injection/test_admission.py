"""One AdmissionReview in, one out."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.injection.admission import NotAReview, answer
from mcp_sidecar.injection.template import Options
from tests.injection.admitting import Pod, patched, pod

OWN = "mcp-system"


def review(of: Any, **more: Any) -> bytes:
    request = {"uid": "u-1", "operation": "CREATE", "namespace": "agents", "object": of, **more}
    request.setdefault("kind", {"group": "", "version": "v1", "kind": "Pod"})
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def response(body: bytes) -> dict[str, Any]:
    said = json.loads(answer(body, Options(), OWN).body)
    assert said["kind"] == "AdmissionReview" and said["apiVersion"] == "admission.k8s.io/v1"
    found: dict[str, Any] = said["response"]
    assert found["uid"] == "u-1" and found["allowed"] is True
    return found


def after(before: Pod) -> Pod:
    said = response(review(before))
    return patched(before, json.loads(base64.b64decode(said["patch"])))


@pytest.mark.covers("B-248")
def test_a_new_pod_is_patched_and_asked_again_left_as_it_is() -> None:
    once = after(pod())
    assert once["spec"]["initContainers"][0]["name"] == "mcp-sidecar"
    assert "patch" not in response(review(once))


@pytest.mark.covers("B-248")
@pytest.mark.parametrize(
    "more",
    [
        {"namespace": "kube-system"},
        {"namespace": OWN},
        {"operation": "UPDATE"},
        {"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}},
        {"kind": None},
    ],
)
def test_what_is_not_asked_for_is_allowed_untouched(more: dict[str, Any]) -> None:
    assert set(response(review(pod(), **more))) == {"uid", "allowed"}


@pytest.mark.covers("B-243")
@pytest.mark.parametrize(
    "spec", [{"hostNetwork": True}, {"os": {"name": "windows"}}, {"initContainers": [{"name": "mcp-sidecar"}]}]
)
def test_pods_that_a_sidecar_does_not_fit_are_allowed_untouched(spec: dict[str, Any]) -> None:
    assert set(response(review(pod(**spec)))) == {"uid", "allowed"}


@pytest.mark.covers("B-248")
def test_a_bad_annotation_is_a_warning_and_the_default_holds() -> None:
    said = response(review(pod({"mcp-sidecar.dev/memory-limit": "lots"})))
    (warning,) = said["warnings"]
    assert warning.startswith("mcp-sidecar: metadata.annotations.mcp-sidecar.dev/memory-limit: expected a text like")
    assert warning.endswith("; the default is used")
    assert b'"256Mi"' in base64.b64decode(said["patch"])


@pytest.mark.covers("B-248")
@pytest.mark.parametrize("of", [None, 5, [], {}, {"spec": 5}, {"spec": {"containers": [], "initContainers": {}}}])
def test_what_is_no_pod_is_allowed_with_a_warning(of: Any) -> None:
    said = response(review(of))
    assert "patch" not in said and "no sidecar" in said["warnings"][0]


@pytest.mark.covers("B-248")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"5",
        b"{}",
        b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"u"}}',
        b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}',
        b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":5}}',
    ],
)
def test_what_is_no_review_is_refused(body: bytes) -> None:
    with pytest.raises(NotAReview):
        answer(body, Options(), OWN)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["metadata", "spec", "containers", "initContainers", "volumes", "labels", "annotations", "name"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.covers("B-248")
@given(JSON, JSON)
def test_no_pod_is_ever_refused(of: Any, spec: Any) -> None:
    response(review(of))
    response(review({"metadata": of, "spec": spec}))
