"""Kubernetes objects as JSON, as short as tests can say them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Object = dict[str, Any]
OURS = {"mcp-sidecar.dev/server": "true"}


def endpoint(address: str, *, ready: bool | None = True, serving=None, terminating=None, zones=(), uid="") -> Object:
    conditions = {"ready": ready, "serving": serving, "terminating": terminating}
    found: Object = {
        "addresses": [address],
        "conditions": {name: value for name, value in conditions.items() if value is not None},
    }
    if zones:
        found["hints"] = {"forZones": [{"name": zone} for zone in zones]}
    if uid:
        found["targetRef"] = {"kind": "Pod", "name": uid, "uid": uid}
    return found


def port(number: int = 8080, name: str = "", app_protocol: str = "") -> Object:
    found: Object = {"name": name, "port": number, "protocol": "TCP"}
    return found | ({"appProtocol": app_protocol} if app_protocol else {})


def piece(
    service: str = "weather",
    endpoints: Iterable[Object] = (),
    *,
    name: str = "",
    ports: Iterable[Object] | None = None,
    labels: Mapping[str, str] | None = None,
    family: str = "IPv4",
    version: int | None = None,
) -> Object:
    """An EndpointSlice. Labels are ours unless others are given."""
    metadata: Object = {
        "name": name or f"{service}-x1",
        "labels": {"kubernetes.io/service-name": service, **(OURS if labels is None else labels)},
    }
    if version is not None:
        metadata["resourceVersion"] = str(version)
    return {
        "metadata": metadata,
        "addressType": family,
        "ports": [port()] if ports is None else list(ports),
        "endpoints": list(endpoints),
    }


def service(name: str, annotations: Mapping[str, str] | None = None, labels=None, ports=()) -> Object:
    metadata = {"name": name, "labels": OURS if labels is None else labels, "annotations": dict(annotations or {})}
    return {"metadata": metadata, "spec": {"ports": list(ports)}}


def mcp_server(
    name: str, url: str, conditions: Mapping[str, str] | None = None, group="mcp.x-k8s.io/v1beta1"
) -> Object:
    said = {"Verified": "True"} if conditions is None else conditions
    return {
        "apiVersion": group,
        "kind": "MCPServer",
        "metadata": {"name": name},
        "status": {
            "address": {"url": url},
            "conditions": [{"type": kind, "status": status} for kind, status in said.items()],
        },
    }
