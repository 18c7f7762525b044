"""Makes the images of a test cluster without docker: the project's own from its wheel, and one for what is around it.

The layout is the Dockerfile's: `/opt/venv`, the same user, environment and entry point.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from hack.image_layout import DOCKERFILE, layout
from hack.kube import oci
from hack.kube.layers import Layers
from hack.kube.layout import REGISTRY

SIDECAR = f"{REGISTRY}/mcp-sidecar:1"
WORKLOADS = f"{REGISTRY}/workloads:1"
"""Agents and MCP servers for tests: the programs of tests/cluster/programs, in `/opt/workloads`."""
PAUSE = f"{REGISTRY}/pause:1"
COLLECTOR = f"{REGISTRY}/otelcol:1"
"""The OpenTelemetry Collector of hack/otelcol; its only file."""

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAMS = _ROOT / "tests" / "cluster" / "programs"
_SECONDS = 1200
_EXTRAS = ("kubernetes", "otel")  # those of the Dockerfile


def write(archive: Path, programs: Path) -> None:
    """Write an archive with every image. `programs` is where the programs of the cluster were built."""
    layers = Layers(programs.parent / "layers")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sidecar = [layers.debian(), layers.packages(_needs("", *_EXTRAS)), layers.project(work)]
        workloads = [*sidecar, layers.packages(_needs("sdk")), _programs(work)]
        config = layout(DOCKERFILE.read_text())
        plain = {"User": config["User"], "WorkingDir": "/", "Env": [*config["Env"], "PYTHONPATH=/opt/workloads"]}
        images = [
            oci.Image(PAUSE, [_alone(work, programs / "pause")], {"Entrypoint": ["/pause"], "User": "65535:65535"}),
            oci.Image(COLLECTOR, [_alone(work, _collector())], {"Entrypoint": ["/otelcol"], "User": config["User"]}),
            oci.Image(SIDECAR, sidecar, config),
            oci.Image(WORKLOADS, workloads, plain),
        ]
        oci.write(archive, images)


def _needs(*extras: str) -> list[str]:
    """What these extras of the project require; the one without a name is what every installation does."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    needs = {"": project["dependencies"], **project["optional-dependencies"]}
    return [need for extra in extras for need in needs[extra]]


def _collector() -> Path:
    """Where it is, after it was built if it was not there."""
    build = [_ROOT / "hack" / "otelcol" / "build.sh"]
    return Path(subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True, timeout=_SECONDS).stdout.strip())


def _alone(work: Path, program: Path) -> Path:
    """A layer with a program that needs no other file."""
    (work / program.name).mkdir()
    shutil.copy2(program, work / program.name / program.name)
    oci.write_layer(work / f"{program.name}.tar", work / program.name)
    return work / f"{program.name}.tar"


def _programs(work: Path) -> Path:
    shutil.copytree(
        _PROGRAMS,
        work / "tests/opt/workloads" / _PROGRAMS.relative_to(_ROOT),
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    oci.write_layer(work / "tests.tar", work / "tests")
    return work / "tests.tar"


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
