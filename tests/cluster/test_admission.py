"""Which pods the policy and the webhook change, and what they leave alone; the API server decides, and nothing runs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.kubectl import Cluster, Json, KubectlFailed, Namespace
from tests.cluster.manifests import CONTAINER, pod, pod_spec, program
from tests.cluster.namespaces import made
from tests.cluster.releases import ENABLED, release

LABEL = "mcp-sidecar.dev/inject"

pytestmark = pytest.mark.xdist_group("releases")


@pytest.fixture(scope="module", params=["policy", "webhook"])
def mode(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[str]:
    """A release that injects in this way is on the cluster."""
    with made(cluster, "mcp-sidecar-system") as system:
        with release(cluster, system.name, injection={"mode": request.param}):
            yield str(request.param)


@pytest.fixture
def enabled(mode: str, namespace: Namespace) -> Namespace:
    """A *restricted* namespace whose pods get sidecars."""
    return enable(namespace)


def enable(namespace: Namespace) -> Namespace:
    namespace.cluster.kubectl("label", "namespace", namespace.name, ENABLED)

    def takes_effect() -> bool:
        return names(submitted(namespace, pod("probe", pod_spec(program("agent"))))) == [CONTAINER]

    namespace.until("the label takes effect", takes_effect)
    return namespace


def submitted(namespace: Namespace, wanted: Json) -> Json:
    """The pod as the API server would store it."""
    words = ["create", "-f", "-", "--dry-run=server", "-o", "json"]
    stored: Json = json.loads(namespace.kubectl(*words, stdin=json.dumps(wanted)))
    return stored


def names(stored: Json) -> list[str]:
    return [each["name"] for each in stored["spec"].get("initContainers", [])]


@pytest.mark.covers("B-275")
def test_the_sidecar_starts_before_the_pods_own_init_containers(enabled: Namespace) -> None:
    wanted = pod("pod", pod_spec(program("agent"), before=(program("first"), program("second"))))
    assert names(submitted(enabled, wanted)) == [CONTAINER, "first", "second"]


@pytest.mark.covers("B-275")
def test_volumes_of_the_pod_stay(enabled: Namespace) -> None:
    wanted = pod("pod", pod_spec(program("agent"), volumes=[{"name": "scratch", "emptyDir": {}}]))
    volumes = [each["name"] for each in submitted(enabled, wanted)["spec"]["volumes"]]
    assert {"scratch", "mcp-sidecar-token"} <= {*volumes}


@pytest.mark.covers("B-275")
@pytest.mark.parametrize("absent", [[], None], ids=["empty", "null"])
def test_lists_that_are_there_and_empty_are_no_obstacle(enabled: Namespace, absent: object) -> None:
    wanted = pod("pod", pod_spec(program("agent"), initContainers=absent, volumes=absent))
    assert names(submitted(enabled, wanted)) == [CONTAINER]


@pytest.mark.covers("B-275")
def test_a_pod_that_has_a_sidecar_gets_no_second_one(enabled: Namespace) -> None:
    once = submitted(enabled, pod("pod", pod_spec(program("agent"))))
    again = pod("again", once["spec"], annotations=once["metadata"]["annotations"])
    assert names(submitted(enabled, again)) == [CONTAINER]


@pytest.mark.covers("B-275")
def test_a_pod_may_opt_out(enabled: Namespace) -> None:
    assert names(submitted(enabled, pod("pod", pod_spec(program("agent")), labels={LABEL: "false"}))) == []


@pytest.mark.covers("B-275")
def test_pods_on_the_hosts_network_are_left_alone(mode: str, open_namespace: Namespace) -> None:
    enable(open_namespace)
    assert names(submitted(open_namespace, pod("pod", pod_spec(program("agent"), hostNetwork=True)))) == []


@pytest.mark.covers("B-275")
def test_other_namespaces_are_left_alone_unless_a_pod_asks(mode: str, namespace: Namespace) -> None:
    assert names(submitted(namespace, pod("pod", pod_spec(program("agent"))))) == []
    asking = pod("pod", pod_spec(program("agent")), labels={LABEL: "true"})
    assert names(submitted(namespace, asking)) == [CONTAINER]
    namespace.cluster.kubectl("label", "namespace", namespace.name, "mcp-sidecar.dev/injection=disabled")
    namespace.until("the label takes effect", lambda: names(submitted(namespace, asking)) == [])


@pytest.mark.covers("B-275")
def test_a_limit_range_holds_for_the_sidecar_too(enabled: Namespace) -> None:
    limits = [{"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "50m"}}]
    limit_range = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits"}, "spec": {"limits": limits}}
    enabled.apply(limit_range)
    (beside,) = submitted(enabled, pod("pod", pod_spec(program("agent"))))["spec"]["initContainers"]
    assert beside["resources"]["limits"]["cpu"] == "500m"
    assert beside["resources"]["requests"]["cpu"] != "50m", "what the sidecar asks for is said already"


@pytest.mark.covers("B-275")
def test_pods_that_a_broken_policy_refuses_hear_its_name(cluster: Cluster, namespace: Namespace) -> None:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    name = f"{namespace.name}.mcp-sidecar.dev"
    policy = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
            ]
        },
        "mutations": [
            {
                "patchType": "JSONPatch",
                "jsonPatch": {"expression": '[JSONPatch{op: "add", path: "/spec/nothing/0", value: "x"}]'},
            }
        ],
    }
    kinds = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    binding = {"policyName": name, "matchResources": {"namespaceSelector": selector}}
    try:
        cluster.apply(
            {**kinds, "kind": "MutatingAdmissionPolicy", "spec": policy},
            {**kinds, "kind": "MutatingAdmissionPolicyBinding", "spec": binding},
        )

        def refusal() -> str:
            try:
                submitted(namespace, pod("pod", pod_spec(program("agent"))))
            except KubectlFailed as refused:
                return str(refused)
            return ""

        assert name in namespace.until("the policy takes effect", refusal)
    finally:
        cluster.kubectl("delete", "mutatingadmissionpolicy,mutatingadmissionpolicybinding", name)
