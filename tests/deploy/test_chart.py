"""The Helm chart as users get it: rendered by the real Helm, judged by the schemas of Kubernetes."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from mcp_sidecar.cli import webhook
from mcp_sidecar.injection import policy
from tests.deploy import golden
from tests.support import helm, kube_schemas
from tests.support.helm import Object, named, render

SUPPORTED = [
    ("webhook", "1.29.0"),
    ("webhook", "1.33.0"),
    ("cert-manager", "1.33.0"),
    ("none", "1.29.0"),
    ("none", "1.37.0"),
    ("webhook", "1.37.0"),
    ("policy", "1.37.0"),
]


def test_the_schemas_find_a_field_that_kubernetes_does_not_have() -> None:
    (pod,) = named(render("none"), "Pod")
    pod["spec"]["containers"][0]["securityContext"]["runAsNoRoot"] = True
    (complaint,) = kube_schemas.complaints([pod], "1.33")
    assert "runAsNoRoot" in complaint


@pytest.mark.covers("B-260")
@pytest.mark.parametrize(("values", "version"), SUPPORTED)
def test_every_object_is_one_that_kubernetes_knows_field_by_field(values: str, version: str) -> None:
    assert kube_schemas.complaints(render(values, kube=version), version.removesuffix(".0")) == []


@pytest.mark.parametrize("values", golden.VALUES)
def test_the_chart_comes_to_what_is_written_down(values: str) -> None:
    assert golden.chart(values) == (golden.FOLDER / f"chart-{values}.yaml").read_text()


@pytest.mark.parametrize("values", golden.VALUES)
def test_every_object_has_the_labels_that_tools_look_for(values: str) -> None:
    wanted = {
        f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "component", "part-of", "managed-by")
    }
    without = [
        thing["metadata"]["name"]
        for thing in render(values)
        if not (wanted | {"helm.sh/chart"}) <= set(thing["metadata"]["labels"])
    ]
    assert without == []


# --- which way pods get their sidecar -----------------------------------------------------------------------------


@pytest.mark.covers("B-261")
def test_a_cluster_without_admission_policies_is_told_what_to_do() -> None:
    with pytest.raises(helm.Refused, match=r"since 1\.36; this is v1\.35\.2\.(?s:.)*injection\.mode=webhook"):
        render("policy", kube="1.35.2")


@pytest.mark.covers("B-261")
def test_a_cluster_that_serves_the_policy_takes_it_whatever_its_version() -> None:
    rendered = helm.run(
        *("helm", "template", "x", helm.CHART, "--kube-version", "1.35.0"),
        *("--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"),
    )
    assert named(helm.objects(rendered), "MutatingAdmissionPolicy")


def test_clusters_without_native_sidecars_are_refused() -> None:
    with pytest.raises(helm.Refused, match=r">=1\.29"):
        render("none", kube="1.28.4")


@pytest.mark.covers("B-261")
def test_each_mode_brings_its_own_objects_and_no_others() -> None:
    kinds = {
        mode: {thing["kind"] for thing in render("", f"injection.mode={mode}")}
        for mode in ("policy", "webhook", "none")
    }
    assert kinds["policy"] == {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "Pod"}
    assert kinds["webhook"] == {
        *("MutatingWebhookConfiguration", "Secret", "ServiceAccount", "Service", "Deployment", "PodDisruptionBudget"),
        "Pod",
    }
    assert kinds["none"] == {"Pod"}, "the test of `helm test`"


def _selectors(things: list[Object]) -> list[dict[str, Any]]:
    """The selectors of every binding of the policy, or of every webhook."""
    bindings = [thing["spec"]["matchResources"] for thing in named(things, "MutatingAdmissionPolicyBinding")]
    return bindings or [hook for thing in named(things, "MutatingWebhookConfiguration") for hook in thing["webhooks"]]


def _allows(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """What the API server makes of a label selector with expressions."""
    verdicts = {
        "In": lambda expression: labels.get(expression["key"]) in expression["values"],
        "NotIn": lambda expression: labels.get(expression["key"]) not in expression["values"],
    }
    return all(verdicts[expression["operator"]](expression) for expression in selector["matchExpressions"])


@pytest.mark.covers("B-262")
@pytest.mark.parametrize("mode", ["policy", "webhook"])
@pytest.mark.parametrize(
    ("namespace", "namespace_label", "pod_label", "injected"),
    [
        ("agents", "enabled", None, True),
        ("agents", "enabled", "true", True),
        ("agents", "enabled", "false", False),
        ("agents", None, None, False),
        ("agents", None, "true", True),
        ("agents", "disabled", "true", False),
        ("kube-system", "enabled", "true", False),
    ],
)
def test_labels_decide_who_gets_a_sidecar(
    mode: str, namespace: str, namespace_label: str | None, pod_label: str | None, injected: bool
) -> None:
    in_namespace = {"kubernetes.io/metadata.name": namespace}
    in_namespace |= {"mcp-sidecar.dev/injection": namespace_label} if namespace_label else {}
    on_pod = {"mcp-sidecar.dev/inject": pod_label} if pod_label else {}
    asked = [
        _allows(selectors["namespaceSelector"], in_namespace) and _allows(selectors["objectSelector"], on_pod)
        for selectors in _selectors(_rendered(mode))
    ]
    assert any(asked) is injected


def test_the_policy_is_bound_as_the_kustomization_binds_it() -> None:
    bindings = {
        thing["metadata"]["name"]: thing["spec"]
        for thing in named(_rendered("policy"), "MutatingAdmissionPolicyBinding")
    }
    for wanted in policy.bindings(policy.NAME, policy.NAME, policy.LABELLED_PODS):
        spec = bindings.pop(wanted["metadata"]["name"])
        assert spec["policyName"] == wanted["spec"]["policyName"]
        assert spec["matchResources"] == {"matchPolicy": "Equivalent", **wanted["spec"]["matchResources"]}
    assert bindings == {}


@functools.cache
def _rendered(mode: str) -> list[Object]:
    return render("", f"injection.mode={mode}")


@pytest.mark.covers("B-263")
def test_the_webhook_can_never_keep_itself_or_the_system_from_starting() -> None:
    for hook in _selectors(render("cert-manager")):
        for namespace in ("mcp", "kube-system", "kube-public", "kube-node-lease"):
            labels = {"kubernetes.io/metadata.name": namespace, "mcp-sidecar.dev/injection": "enabled"}
            assert not _allows(hook["namespaceSelector"], labels)


@pytest.mark.covers("B-263")
def test_a_webhook_that_is_down_lets_pods_start_unless_told_otherwise() -> None:
    (configuration,) = named(render("webhook"), "MutatingWebhookConfiguration")
    assert {hook["failurePolicy"] for hook in configuration["webhooks"]} == {"Ignore"}
    assert {hook["reinvocationPolicy"] for hook in configuration["webhooks"]} == {"IfNeeded"}
    (strict,) = named(render("cert-manager"), "MutatingWebhookConfiguration")
    assert {hook["failurePolicy"] for hook in strict["webhooks"]} == {"Fail"}


def test_the_certificate_that_helm_makes_is_the_one_that_the_api_server_trusts() -> None:
    things = render("webhook")
    (secret,), (configuration,) = named(things, "Secret"), named(things, "MutatingWebhookConfiguration")
    assert {hook["clientConfig"]["caBundle"] for hook in configuration["webhooks"]} == {secret["data"]["ca.crt"]}


def test_cert_manager_is_told_where_its_certificate_goes() -> None:
    things = render("cert-manager")
    (certificate,), (configuration,) = named(things, "Certificate"), named(things, "MutatingWebhookConfiguration")
    wanted = f"mcp/{certificate['metadata']['name']}"
    assert configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"] == wanted
    (deployment,) = named(things, "Deployment")
    (volume,) = deployment["spec"]["template"]["spec"]["volumes"]
    assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]
    assert named(things, "Secret") == named(things, "Issuer") == []


def test_the_webhook_is_told_what_the_policy_has_written_into_it() -> None:
    settings = (
        *("sidecar.logLevel=debug", "sidecar.discovery=dns", "sidecar.drainSeconds=7", "sidecar.auth=jwt"),
        *("sidecar.otlpEndpoint=http://$(HOST_IP):4318", "sidecar.env.TEAM=a", "sidecar.resources.limits.memory=1Gi"),
    )
    (deployment,) = named(render("", "injection.mode=webhook", *settings), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    # Kubernetes makes one dollar of two, and so leaves the name to the sidecar's own container.
    assert "--otlp-endpoint=http://$$(HOST_IP):4318" in container["args"]
    command, *arguments = [argument.replace("$$(", "$(") for argument in container["args"]]
    assert command == "webhook"
    understood = vars(webhook.parser().parse_args(arguments))
    assert (
        understood
        | {
            "image": "mcp-sidecar:0.1.0",
            "log_level": "debug",
            "discovery": "dns",
            "drain_seconds": "7",
            "auth": "jwt",
            "otlp_endpoint": "http://$(HOST_IP):4318",
            "env": [("TEAM", "a")],
            "memory_limit": "1Gi",
        }
        == understood
    )


# --- what it may do -------------------------------------------------------------------------------------------------


@pytest.mark.covers("B-264")
def test_discovery_is_granted_list_and_watch_in_the_named_namespaces_and_nothing_else() -> None:
    things = render("policy")
    roles = named(things, "Role")
    assert [role["metadata"]["namespace"] for role in roles] == ["agents", "research"]
    slices = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    assert all(role["rules"] == [slices] for role in roles)
    for binding in named(things, "RoleBinding"):
        (subject,) = binding["subjects"]
        assert subject["name"] == f"system:serviceaccounts:{binding['metadata']['namespace']}"
    assert named(things, "ClusterRole") == named(things, "ClusterRoleBinding") == []


@pytest.mark.covers("B-264")
def test_a_namespace_of_servers_is_opened_to_the_agents_of_the_others() -> None:
    things = render("policy", "config.discovery.namespace=tools")
    (role,), (binding,) = named(things, "Role"), named(things, "RoleBinding")
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "tools"
    assert [subject["name"] for subject in binding["subjects"]] == [
        "system:serviceaccounts:agents",
        "system:serviceaccounts:research",
    ]


@pytest.mark.covers("B-264")
@pytest.mark.parametrize(("setting", "resource"), [("annotations", "services"), ("resources", "mcpservers")])
def test_more_kinds_may_be_listed_and_watched_only_where_they_are_read(setting: str, resource: str) -> None:
    things = render("none", f"config.discovery.{setting}=true")
    (role,) = named(things, "Role")
    assert [rule["resources"] for rule in role["rules"]] == [["endpointslices"], [resource]]
    assert all(rule["verbs"] == ["list", "watch"] for rule in role["rules"])


@pytest.mark.covers("B-264")
def test_nothing_is_granted_that_was_not_asked_for() -> None:
    for settings in (["config.discovery.mode=dns"], [], ["sidecar.discovery=namespace", "rbac.create=false"]):
        things = render("", "namespaces={agents}", *settings)
        assert {thing["kind"] for thing in things if "rbac" in thing["apiVersion"]} == set()


def test_servers_that_check_callers_may_create_token_reviews() -> None:
    things = render("cert-manager")
    (role,), (binding,) = named(things, "ClusterRole"), named(things, "ClusterRoleBinding")
    (rule,) = role["rules"]
    assert (rule["resources"], rule["verbs"]) == (["tokenreviews"], ["create"])
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "weather", "namespace": "tools"}]


def _pod_specs(things: list[Object]) -> Iterator[Object]:
    for thing in things:
        if thing["kind"] == "Pod":
            yield thing["spec"]
        elif "template" in thing.get("spec", {}):
            yield thing["spec"]["template"]["spec"]


@pytest.mark.covers("B-265")
@pytest.mark.parametrize("values", golden.VALUES)
def test_every_pod_of_the_chart_is_restricted_and_has_no_token(values: str) -> None:
    for spec in _pod_specs(render(values)):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert "hostNetwork" not in spec
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] is True
        assert {next(iter(set(volume) - {"name"})) for volume in spec["volumes"]} <= {"secret", "emptyDir", "configMap"}


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.covers("B-266")
@pytest.mark.parametrize(
    ("setting", "named_in_message"),
    [
        ("injektion.mode=policy", "injektion"),
        ("injection.mood=policy", "mood"),
        ("injection.mode=sometimes", "/injection/mode"),
        ("config.upstream=x", "upstream"),
        ("config.drain.lame_ducks=5s", "lame_ducks"),
        ("image.digest=latest", "/image/digest"),
        ("namespaces={Agents}", "/namespaces/0"),
        ("webhook.replicas=none", "/webhook/replicas"),
    ],
)
def test_a_value_that_nobody_reads_is_refused_by_name(setting: str, named_in_message: str) -> None:
    with pytest.raises(helm.Refused, match=re.escape(named_in_message)):
        render("", setting)


@pytest.mark.covers("B-266")
def test_an_umbrella_chart_may_share_what_it_likes() -> None:
    assert render("", "global.anything.goes=1")


def test_the_image_is_named_by_its_digest_or_by_the_version_of_the_chart() -> None:
    *_, pod = named(render("policy"), "Pod")
    digest = "sha256:" + "0" * 64
    assert pod["spec"]["containers"][0]["image"] == f"registry.example.com/mirror/mcp-sidecar@{digest}"
    (pod,) = named(render("none"), "Pod")
    assert pod["spec"]["containers"][0]["image"] == "mcp-sidecar:0.1.0"


def test_the_sidecars_configuration_arrives_as_it_was_written() -> None:
    maps = named(render("policy"), "ConfigMap")
    assert [one["metadata"]["namespace"] for one in maps] == ["agents", "research"]
    (config,) = helm.objects(maps[0]["data"]["config.yaml"])
    assert config == {
        "discovery": {"mode": "namespace"},
        "upstreams": [{"name": "weather", "url": "http://weather.tools.svc:8080/mcp"}],
    }


@pytest.mark.covers("B-267")
@pytest.mark.parametrize("values", golden.VALUES)
def test_lint_finds_nothing(values: str) -> None:
    file = helm.CHART / "ci" / f"{values}-values.yaml"
    assert "0 chart(s) failed" in helm.run(
        "helm", "lint", "--strict", "--values", file, helm.CHART, "--kube-version", "1.37.0"
    )
