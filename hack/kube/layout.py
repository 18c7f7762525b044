"""Where everything of one cluster is: files, names, addresses. Knows no process."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

NODE = "node1"
REGISTRY = "image.test"
"""A name that is nobody's: images with it are never pulled."""
_HERE = Path(__file__).resolve().parent
_ALLOCATED = "cluster.json"


@dataclass(frozen=True, slots=True)
class Layout:
    """A cluster. The number tells those of one machine apart: each has a link, cgroups and networks of its own."""

    run: Path
    programs: Path
    number: int

    @property
    def name(self) -> str:
        """Of the link to the node, and of the cgroups."""
        return f"mcp-kube-{self.number}"

    @property
    def host_address(self) -> str:
        return f"10.199.{self.number}.1"

    @property
    def node_address(self) -> str:
        return f"10.199.{self.number}.2"

    @property
    def pods(self) -> str:
        return f"10.244.{self.number}.0/24"

    @property
    def services(self) -> str:
        return f"10.96.{self.number}.0/24"

    @property
    def api_service(self) -> str:
        return f"10.96.{self.number}.1"

    @property
    def api(self) -> str:
        return f"https://{self.node_address}:6443"

    @property
    def pki(self) -> Path:
        return self.run / "pki"

    @property
    def logs(self) -> Path:
        return self.run / "logs"

    @property
    def kubeconfig(self) -> Path:
        return self.run / "kubeconfig"

    @property
    def images(self) -> Path:
        """The archive with the images that the node gets."""
        return self.run / "images.tar"

    @property
    def ledgers(self) -> Path:
        """A directory that pods may mount to leave something behind."""
        return self.run / "ledgers"

    @property
    def debian(self) -> Path:
        """Programs that come from Debian packages, with their libraries."""
        return self.programs / "debian"

    def save(self) -> None:
        (self.run / _ALLOCATED).write_text(json.dumps({"programs": str(self.programs), "number": self.number}))


def load(run: Path) -> Layout | None:
    """The cluster that was started in that directory, or nothing."""
    try:
        saved = json.loads((run / _ALLOCATED).read_text())
    except FileNotFoundError:
        return None
    return Layout(run, Path(saved["programs"]), saved["number"])


def default_run() -> Path:
    """Where a cluster runs if nobody says otherwise. Sockets have short names, so this is not below the cache."""
    return Path(os.environ.get("MCP_SIDECAR_KUBE_RUN", "/tmp/mcp-sidecar-kube")).resolve()


def built() -> Path:
    """Where `build.sh` puts programs."""
    found = subprocess.run([_HERE / "build.sh", "--where"], capture_output=True, text=True, timeout=60, check=True)
    return Path(found.stdout.strip())
