"""The golden template: the one container that every way of injection puts into pods. Knows no way.

What depends on the pod is written with the words of `choices`. Every text of `Options` may be a `Placeholder`, because
nothing here looks into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mcp_sidecar import __version__
from mcp_sidecar.injection.choices import Annotated, Placeholder, PodGrace, When
from mcp_sidecar.injection.vocabulary import ANNOTATIONS, AUDIENCE, CONTAINER, DOMAIN, INJECTED_BY, VERSION

GRPC_PORT: Final = 15051
HTTP_PORT: Final = 15080
HEALTH_PORT: Final = 15081
METRICS_PORT: Final = 15090

NATIVE: Final = "native"
"""An init container that goes on running: started before the application, stopped after it. Kubernetes 1.29."""
REGULAR: Final = "container"
"""A container beside the application's, for older clusters."""

TOKEN_VOLUME: Final = f"{CONTAINER}-token"
CONFIG_VOLUME: Final = f"{CONTAINER}-config"
_TOKEN_FOLDER: Final = f"/var/run/secrets/{DOMAIN}"
_CONFIG_FOLDER: Final = f"/etc/{CONTAINER}"
_NOBODY: Final = 65532

Template = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is the same for every pod of one installation."""

    image: str = f"mcp-sidecar:{__version__}"
    pull_policy: str = "IfNotPresent"
    mode: str = NATIVE
    log_level: str = ""
    """Where the pod has no annotation. Empty: the annotation is read through the downward API when the pod starts."""
    discovery: str = ""
    """Likewise."""
    drain_seconds: str = "15"
    cpu_request: str = "25m"
    memory_request: str = "96Mi"
    memory_limit: str = "256Mi"
    auth: str = "kubernetes"
    """`auth.mode` of an inbound sidecar without a configuration file of its own."""
    otlp_endpoint: str = ""
    """Collector to send telemetry to; `$(HOST_IP)` is the node's address. Empty sends nothing."""
    version: str = __version__
    env: tuple[tuple[str, str] | Placeholder, ...] = ()
    """More variables, for every sidecar; a placeholder puts any number of entries there, each with a comma behind."""


def container(options: Options) -> Template:
    """The container called `mcp-sidecar`; passes Pod Security *restricted*."""
    native = {"restartPolicy": "Always"} if options.mode == NATIVE else {}
    return {
        "name": CONTAINER,
        "image": options.image,
        "imagePullPolicy": options.pull_policy,
        **native,
        "args": ["serve"],
        "env": _environment(options),
        "ports": _ports(),
        **_probes(),
        "lifecycle": When("app-port", _drain_first()),
        "resources": {
            "requests": {
                "cpu": Annotated("cpu-request", options.cpu_request),
                # Whoever sets a limit asks for it whole: a request above the limit would be refused.
                "memory": Annotated("memory-limit", options.memory_request),
            },
            "limits": {"memory": Annotated("memory-limit", options.memory_limit)},
        },
        "securityContext": _security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": TOKEN_VOLUME, "mountPath": _TOKEN_FOLDER, "readOnly": True},
            When("config", [{"name": CONFIG_VOLUME, "mountPath": _CONFIG_FOLDER, "readOnly": True}]),
        ],
    }


def volumes() -> list[Any]:
    """What the container mounts.

    The token has no `defaultMode`: root would own the file, and 0440 hide it from the sidecar's user.
    """
    token = {"audience": AUDIENCE, "expirationSeconds": 3600, "path": "token"}
    config = {"name": Annotated("config", CONTAINER)}
    return [
        {"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}},
        When("config", [{"name": CONFIG_VOLUME, "configMap": config}]),
    ]


def pod_annotations(options: Options, way: str) -> dict[str, str]:
    """What an injected pod says of itself; `way` is policy, webhook, cli or kustomize."""
    return {INJECTED_BY: way, VERSION: options.version}


def _environment(options: Options) -> list[Any]:
    return [
        _field("POD_NAME", "metadata.name"),
        _field("POD_UID", "metadata.uid"),
        _field("NAMESPACE", "metadata.namespace"),
        _field("NODE_NAME", "spec.nodeName"),
        _field("HOST_IP", "status.hostIP"),
        _field("MCP_SIDECAR_ZONE", "metadata.labels['topology.kubernetes.io/zone']"),
        {"name": "MCP_SIDECAR_POD_GRACE_SECONDS", "value": PodGrace()},
        *_drain_grace(options),
        _from_annotation("MCP_SIDECAR_LOG_LEVEL", "log-level", options.log_level),
        _from_annotation("MCP_SIDECAR_DISCOVERY_MODE", "discovery", options.discovery),
        When("config", [{"name": "MCP_SIDECAR_CONFIG", "value": f"{_CONFIG_FOLDER}/config.yaml"}]),
        When("app-port", _inbound(options), _outbound()),
        *_telemetry(options),
        *(more if isinstance(more, Placeholder) else {"name": more[0], "value": more[1]} for more in options.env),
    ]


def _drain_grace(options: Options) -> list[Any]:
    """The annotation's, or else that of the pod's own configuration file, which a variable would overrule."""
    grace = {"name": "MCP_SIDECAR_DRAIN_GRACE", "value": Annotated("drain-seconds", options.drain_seconds, "s")}
    return [When("drain-seconds", [grace], [When("config", [], [grace])])]


def _outbound() -> list[Any]:
    """Beside an agent: listeners on loopback. The application ends first, so nobody is left to be warned."""
    return [
        _from_annotation("MCP_SIDECAR_UPSTREAMS", "upstreams"),
        {"name": "MCP_SIDECAR_DRAIN_LAME_DUCK", "value": "0s"},
    ]


def _inbound(options: Options) -> list[Any]:
    """In front of an MCP server: listeners on the network, and so callers who prove who they are.

    A file can say better who may call; with one, nothing is said here. Any name of this pod is a good `Host`: that
    check is against web pages, which do not have a token.
    """
    authentication = [
        {"name": "MCP_SIDECAR_AUTH_MODE", "value": options.auth},
        {"name": "MCP_SIDECAR_AUTH_AUDIENCE", "value": AUDIENCE},
    ]
    return [
        _from_annotation("MCP_APP_PORT", "app-port"),
        _from_annotation("MCP_MORE_UPSTREAMS", "upstreams"),
        {"name": "MCP_SIDECAR_UPSTREAMS", "value": "app=http://127.0.0.1:$(MCP_APP_PORT)/mcp,$(MCP_MORE_UPSTREAMS)"},
        {"name": "MCP_SIDECAR_LISTEN_GRPC", "value": f"0.0.0.0:{GRPC_PORT}"},
        {"name": "MCP_SIDECAR_LISTEN_HTTP", "value": f"0.0.0.0:{HTTP_PORT}"},
        {"name": "MCP_SIDECAR_HTTP_ALLOWED_HOSTS", "value": "*"},
        When("config", [], authentication),
    ]


def _telemetry(options: Options) -> list[Any]:
    """OpenTelemetry's own variables. `$(NAME)` sees earlier entries only, so these come late."""
    about = "k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),k8s.namespace.name=$(NAMESPACE)"
    attributes = f"{about},k8s.node.name=$(NODE_NAME),k8s.container.name={CONTAINER}"
    endpoint = {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": options.otlp_endpoint}
    return [*([endpoint] if options.otlp_endpoint else []), {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": attributes}]


def _field(name: str, path: str) -> Template:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _from_annotation(name: str, annotation: str, default: str = "") -> Template:
    """A variable that has an annotation's value. The downward API gives an empty text for an absent one, and an empty
    variable counts as not set; so only a default has to be settled before."""
    if default:
        return {"name": name, "value": Annotated(annotation, default)}
    return _field(name, f"metadata.annotations['{ANNOTATIONS[annotation].key}']")


def _ports() -> list[Any]:
    inbound = [_port("mcp", HTTP_PORT), _port("mcp-grpc", GRPC_PORT)]
    return [_port("mcp-health", HEALTH_PORT), _port("mcp-metrics", METRICS_PORT), When("app-port", inbound)]


def _port(name: str, number: int) -> Template:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _probes() -> Template:
    """The application starts when `startup` is SERVING; liveness forgives a CPU that is throttled."""
    return {
        "startupProbe": _probe("startup", period=1, failures=60, timeout=2),
        "readinessProbe": _probe("readiness", period=5, failures=3, timeout=2),
        "livenessProbe": _probe("liveness", period=10, failures=6, timeout=3),
    }


def _probe(service: str, *, period: int, failures: int, timeout: int) -> Template:
    return {
        "grpc": {"port": HEALTH_PORT, "service": service},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }


def _drain_first() -> Template:
    """The wait is longer than any drain: the sidecar answers when its own, bounded by the pod's grace, is over."""
    return {"preStop": {"exec": {"command": ["mcp-sidecar", "drain", "--wait", "3600"]}}}


def _security() -> Template:
    return {
        "runAsNonRoot": True,
        "runAsUser": _NOBODY,
        "runAsGroup": _NOBODY,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
