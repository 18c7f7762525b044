"""Renders the Helm chart and the kustomizations with the real programs; knows no expectation.

`hack/kube/build.sh` builds both from published Go modules, once for all checkouts (`make kube-tools`).
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/mcp-sidecar"
KUSTOMIZE = ROOT / "deploy/kustomize"
NEEDS_GO = "needs Go on the PATH, to build helm and kubectl (hack/kube/build.sh)"

Object = dict[str, Any]


class Refused(RuntimeError):
    """Helm or kubectl did not want to; the message is what it said."""


def has_go() -> bool:
    return shutil.which("go") is not None


@functools.cache
def programs() -> Path:
    """The directory with `helm` and `kubectl`."""
    built = subprocess.run(
        [ROOT / "hack/kube/build.sh", "helm", "kubectl"], stdout=subprocess.PIPE, text=True, timeout=900, check=True
    )
    return Path(built.stdout.strip())


def run(*command: str | Path) -> str:
    """What the program prints."""
    name, *arguments = map(str, command)
    done = subprocess.run(
        [programs() / name, *arguments], capture_output=True, text=True, timeout=50, check=False, cwd=ROOT
    )
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def render(values: str = "", *settings: str, kube: str = "1.37.0", flags: Sequence[str] = ()) -> list[Object]:
    """The chart's objects with the values of a file in `ci/`, and with `key=value` settings, in the namespace `mcp`."""
    files = ["--values", str(CHART / "ci" / f"{values}-values.yaml")] if values else []
    more = [part for setting in settings for part in ("--set", setting)]
    command = ("helm", "template", "mcp-sidecar", CHART, "--namespace", "mcp", "--kube-version", kube)
    return objects(run(*command, *files, *more, *flags))


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
