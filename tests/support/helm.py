"""Renders the Helm chart and the kustomizations with the real programs; knows no expectation.

`make chart` builds both from published Go modules, once for all checkouts: minutes that no test waits for.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/mcp-sidecar"
KUSTOMIZE = ROOT / "deploy/kustomize"

Object = dict[str, Any]


class Refused(RuntimeError):
    """Helm or kubectl did not want to; the message is what it said."""


@functools.cache
def programs() -> Path:
    """The directory with `helm` and `kubectl`."""
    asked = subprocess.run(
        [ROOT / "hack/kube/build.sh", "--where"], stdout=subprocess.PIPE, text=True, timeout=50, check=True
    )
    folder = Path(asked.stdout.strip())
    if not all((folder / name).exists() for name in ("helm", "kubectl")):
        raise RuntimeError("helm and kubectl are not built yet: run `make chart`")
    return folder


def run(*command: str | Path) -> str:
    """What the program prints."""
    name, *arguments = map(str, command)
    done = subprocess.run(
        [programs() / name, *arguments], capture_output=True, text=True, timeout=50, check=False, cwd=ROOT
    )
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def render(values: str = "", *settings: str, kube: str = "1.37.0") -> list[Object]:
    """The chart's objects with the values of a file in `ci/`, and with `key=value` settings, in the namespace `mcp`."""
    files = ["--values", str(CHART / "ci" / f"{values}-values.yaml")] if values else []
    more = [part for setting in settings for part in ("--set", setting)]
    command = ("helm", "template", "mcp-sidecar", CHART, "--namespace", "mcp", "--kube-version", kube)
    return objects(run(*command, *files, *more))


def render_on(kubeconfig: Path, values: str, *settings: str) -> list[Object]:
    """The same for the cluster of a kubeconfig, whose objects the templates can look up."""
    more = [part for setting in settings for part in ("--set", setting)]
    file = CHART / "ci" / f"{values}-values.yaml"
    command = ("helm", "template", "mcp-sidecar", CHART, "--namespace", "mcp", "--dry-run=server", "--values", file)
    return objects(run(*command, "--kubeconfig", kubeconfig, "--disable-openapi-validation", *more))


def build(folder: str) -> list[Object]:
    """What `kubectl kustomize` makes of a folder below deploy/kustomize."""
    return objects(run("kubectl", "kustomize", KUSTOMIZE / folder))


def objects(text: str) -> list[Object]:
    return [thing for thing in yaml.safe_load_all(text) if thing]


def named(things: Sequence[Object], kind: str, namespace: str = "") -> list[Object]:
    """Those of a kind, of one namespace if it is given."""
    return [
        thing
        for thing in things
        if thing["kind"] == kind and (not namespace or thing["metadata"].get("namespace") == namespace)
    ]
