"""An API server that says which kinds it has, and shows the objects it was given; it takes nothing and watches nothing.

What Helm asks for before it installs anything (`--dry-run=server`): enough for capabilities and `lookup`.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KINDS = {
    "v1": ("pods:Pod", "secrets:Secret", "services:Service", "serviceaccounts:ServiceAccount", "configmaps:ConfigMap"),
    "apps/v1": ("deployments:Deployment",),
    "policy/v1": ("poddisruptionbudgets:PodDisruptionBudget",),
    "networking.k8s.io/v1": ("networkpolicies:NetworkPolicy",),
    "rbac.authorization.k8s.io/v1": ("roles:Role", "rolebindings:RoleBinding"),
    "admissionregistration.k8s.io/v1": ("mutatingwebhookconfigurations:MutatingWebhookConfiguration",),
}


@contextlib.contextmanager
def api_server(folder: Path, version: str, objects: Mapping[str, dict[str, Any]]) -> Iterator[Path]:
    """Serve `objects` by their paths (`/api/v1/namespaces/NS/secrets/NAME`); yields a kubeconfig in `folder`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _requests({**_discovery(version), **objects}))
    thread = threading.Thread(target=server.serve_forever, name="stub-api")
    thread.start()
    try:
        yield _kubeconfig(folder, server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _requests(answers: Mapping[str, dict[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Requests(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            body = json.dumps(
                found or {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            ).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
            """Say nothing."""

    return Requests


def _discovery(version: str) -> dict[str, dict[str, Any]]:
    """`/version`, the groups, and the kinds of each."""
    minor = version.split(".")[1]
    groups = [_group(*name.split("/")) for name in KINDS if "/" in name]
    return {
        "/version": {"major": "1", "minor": minor, "gitVersion": f"v{version}"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        **{_path(name): _resources(name, kinds) for name, kinds in KINDS.items()},
    }


def _path(group_version: str) -> str:
    return f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"


def _group(name: str, version: str) -> dict[str, Any]:
    said = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [said], "preferredVersion": said}


def _resources(group_version: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    pairs = (kind.split(":") for kind in kinds)
    listed = [
        {
            "name": plural,
            "singularName": kind.lower(),
            "namespaced": not kind.startswith("MutatingWebhook"),
            "kind": kind,
            "verbs": ["get", "list", "create", "patch", "delete"],
        }
        for plural, kind in pairs
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _kubeconfig(folder: Path, port: int) -> Path:
    """JSON is YAML."""
    file = folder / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "stub",
                "clusters": [{"name": "stub", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "stub"}}],
                "users": [{"name": "stub", "user": {}}],
            }
        )
    )
    return file
