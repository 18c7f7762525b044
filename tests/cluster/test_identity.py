"""A sidecar in front of a server asks the API server who is calling: TokenReview lets in, and keeps out."""

from __future__ import annotations

import json

import pytest

from tests.cluster.kubectl import Json, Namespace
from tests.cluster.manifests import AGENT, CONTAINER, PORT, RBAC, agent, environment, server, sidecar

UPSTREAM = "record"
AUDIENCE = "mcp-sidecar.dev"
FOLDER = "/etc/mcp-sidecar"
INBOUND = 15080


def guarded() -> list[Json]:
    """A server that is reached through its sidecar only, which lets in who shows a token for our audience."""
    serving, service = server(UPSTREAM)
    front = sidecar(
        MCP_SIDECAR_UPSTREAMS=f"app=http://127.0.0.1:{PORT}/mcp",
        MCP_SIDECAR_LISTEN_HTTP=f"0.0.0.0:{INBOUND}",
        MCP_SIDECAR_HTTP_ALLOWED_HOSTS="*",
        MCP_SIDECAR_AUTH_MODE="kubernetes",
    )
    front["ports"].append({"name": "guarded", "containerPort": INBOUND})
    serving["spec"]["template"]["spec"]["initContainers"] = [front]
    service["spec"]["ports"][0]["targetPort"] = "guarded"
    return [serving, service]


def may_review(namespace: Namespace) -> list[Json]:
    """Lets the pods of the namespace create TokenReviews, which belong to no namespace."""
    name = {"name": f"{namespace.name}-reviews"}
    rule = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
    group = {"apiGroup": RBAC, "kind": "Group", "name": f"system:serviceaccounts:{namespace.name}"}
    bound = {"roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", **name}, "subjects": [group]}
    version = {"apiVersion": f"{RBAC}/v1", "metadata": name}
    return [{**version, "kind": "ClusterRole", "rules": [rule]}, {**version, "kind": "ClusterRoleBinding", **bound}]


def caller(name: str, audience: str) -> list[Json]:
    """An agent whose sidecar shows a projected token for that audience, or none if that is empty."""
    pod = agent(name, agent={"SERVER": UPSTREAM})
    upstream: Json = {"name": UPSTREAM, "url": f"http://{UPSTREAM}:{PORT}/mcp"}
    sources: list[Json] = [{"configMap": {"name": name}}]
    if audience:
        upstream["auth"] = {"bearer_file": f"{FOLDER}/token"}
        sources.append({"serviceAccountToken": {"audience": audience, "path": "token", "expirationSeconds": 600}})
    (beside,) = pod["spec"]["initContainers"]
    beside["env"] = environment(MCP_SIDECAR_CONFIG=f"{FOLDER}/config.yaml")
    beside["volumeMounts"] = [{"name": "sidecar", "mountPath": FOLDER}]
    pod["spec"]["volumes"] = [{"name": "sidecar", "projected": {"sources": sources}}]
    data = {"config.yaml": json.dumps({"upstreams": [upstream]})}
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}, pod]


@pytest.mark.covers("B-278")
def test_token_review_lets_in_who_shows_a_token_for_our_audience_and_nobody_else(namespace: Namespace) -> None:
    reviews = may_review(namespace)
    namespace.cluster.apply(*reviews)
    try:
        namespace.apply(*guarded())
        namespace.rolled_out(UPSTREAM)
        for name, audience in (("welcome", AUDIENCE), ("stranger", "https://elsewhere.test"), ("nobody", "")):
            namespace.apply(*caller(name, audience))
        noted(namespace, "welcome", "got")
        for name in ("stranger", "nobody"):
            noted(namespace, name, "failed")
            assert '"got"' not in namespace.logs(name, AGENT)
        # The log of the sidecar in front names the account and the pod.
        heard = namespace.logs(f"deployment/{UPSTREAM}", CONTAINER)
        assert f"system:serviceaccount:{namespace.name}:default" in heard
    finally:
        for review in reviews:
            namespace.cluster.kubectl("delete", review["kind"].lower(), review["metadata"]["name"])


def noted(namespace: Namespace, pod: str, what: str) -> None:
    """Wait until the agent has noted this of a call."""
    namespace.until(f"{pod} notes {what}", lambda: f'"{what}"' in namespace.logs(pod, AGENT))
