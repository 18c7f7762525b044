"""Objects for tests, as a careful user would write them: they pass Pod Security *restricted*. Knows no cluster."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from hack.kube.image import SIDECAR, WORKLOADS

Json = dict[str, Any]

CONTAINER = "mcp-sidecar"
AGENT = "agent"
PORT = 8080
RBAC = "rbac.authorization.k8s.io"
_CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_NOBODY = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_LEDGERS = "ledgers"


def environment(**variables: object) -> list[Json]:
    """`env` of a container."""
    return [{"name": name, "value": str(value)} for name, value in variables.items()]


def sidecar(**variables: object) -> Json:
    """The sidecar as a native sidecar container, with these variables."""
    return {
        "name": CONTAINER,
        "image": SIDECAR,
        "imagePullPolicy": "Never",
        "restartPolicy": "Always",
        "env": environment(**variables),
        "ports": [{"name": "mcp-health", "containerPort": 15081}],
        "startupProbe": _probe("startup", period=1, failures=60),
        "readinessProbe": _probe("readiness", period=1, failures=3),
        "livenessProbe": _probe("liveness", period=10, failures=6),
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {**_NOBODY, **_CONFINED},
    }


def _probe(service: str, *, period: int, failures: int) -> Json:
    probe = {"port": 15081, "service": service}
    return {"grpc": probe, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 3}


def program(name: str, **variables: object) -> Json:
    """A container that runs a program of tests/cluster/programs."""
    return {
        "name": name,
        "image": WORKLOADS,
        "imagePullPolicy": "Never",
        "command": ["python", "-m", f"tests.cluster.programs.{name}"],
        "env": environment(**variables),
        "securityContext": dict(_CONFINED),
    }


def pod_spec(*containers: Json, before: tuple[Json, ...] = (), **more: object) -> Json:
    """A pod of these containers; `before` are its init containers."""
    spec = {"securityContext": dict(_NOBODY), "enableServiceLinks": False, "containers": list(containers)}
    return {**spec, **({"initContainers": list(before)} if before else {}), **more}


def pod(name: str, spec: Json, **metadata: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def agent(name: str, *, upstream: str = "", grace: int = 30, agent: Json | None = None, **variables: object) -> Json:
    """A pod with an agent that calls `record` through its sidecar: at `upstream`, or of a server that is found."""
    where = {"MCP_SIDECAR_UPSTREAMS": f"record={upstream}"} if upstream else {"MCP_SIDECAR_DISCOVERY_MODE": "namespace"}
    beside = sidecar(**{**where, "MCP_SIDECAR_POD_GRACE_SECONDS": grace, **variables})
    # The sidecar of an agent is told to end when nobody is left to call.
    beside["env"] += environment(MCP_SIDECAR_DRAIN_LAME_DUCK="0s")
    spec = pod_spec(program(AGENT, **(agent or {})), before=(beside,), terminationGracePeriodSeconds=grace)
    return pod(name, spec)


def server(name: str, *, replicas: int = 1, image_version: int = 1, **variables: object) -> list[Json]:
    """A Deployment of MCP servers and its Service. Another `image_version` is another roll-out."""
    container = program("server", PORT=PORT, VERSION=image_version, **variables)
    container["name"] = name
    container["ports"] = [{"name": "mcp", "containerPort": PORT}]
    container["readinessProbe"] = {
        "httpGet": {"path": "/ready", "port": PORT},
        "periodSeconds": 1,
        "failureThreshold": 1,
    }
    container["volumeMounts"] = [{"name": "scratch", "mountPath": "/tmp"}]
    # As every server behind a Service should: endpoints are told to go before the process is.
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": 3}}}
    labels = {"app": name}
    scratch = {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    template = {"metadata": {"labels": labels}, "spec": pod_spec(container, volumes=[scratch])}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    deployment = {"replicas": replicas, "strategy": rolling, "selector": {"matchLabels": labels}, "template": template}
    ports = [{"name": "mcp", "port": PORT, "targetPort": "mcp", "appProtocol": "mcp"}]
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": deployment},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": {"mcp-sidecar.dev/server": "true"}},
            "spec": {"selector": labels, "ports": ports},
        },
    ]


def may_discover(namespace: str) -> list[Json]:
    """What lets the pods of a namespace find its MCP servers: as little as there is."""
    name = {"name": "mcp-sidecar-discovery"}
    rule = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    group = {"apiGroup": RBAC, "kind": "Group", "name": f"system:serviceaccounts:{namespace}"}
    bound = {"roleRef": {"apiGroup": RBAC, "kind": "Role", **name}, "subjects": [group]}
    version = {"apiVersion": f"{RBAC}/v1", "metadata": name}
    return [{**version, "kind": "Role", "rules": [rule]}, {**version, "kind": "RoleBinding", **bound}]


def address(service: str) -> str:
    """Where a server of `server` is, from a pod of its namespace."""
    return f"http://{service}:{PORT}/mcp"


def keeping_ledgers(folder: Path, workload: Json) -> Json:
    """The Pod or Deployment with its ledgers on the node, where they outlive the pods."""
    changed = copy.deepcopy(workload)
    spec = changed["spec"]["template"]["spec"] if "template" in changed["spec"] else changed["spec"]
    place = {"path": str(folder), "type": "Directory"}
    spec["volumes"] = [*spec.get("volumes", []), {"name": _LEDGERS, "hostPath": place}]
    for container in spec["containers"]:
        container["volumeMounts"] = [*container.get("volumeMounts", []), {"name": _LEDGERS, "mountPath": "/ledgers"}]
        container["env"] = [*container["env"], *environment(LEDGER="/ledgers")]
    return changed
