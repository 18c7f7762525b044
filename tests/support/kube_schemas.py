"""Says what a Kubernetes release would not accept in a manifest, unknown fields included; needs no cluster.

`python -m tests.support.kube_schemas --install` puts the schemas into the cache of `real_servers`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support import real_servers

SCHEMAS_VERSION = "1.37.0"
_PROGRAM = Path(__file__).with_name("servers") / "check_manifests.py"


def complaints(objects: Sequence[dict[str, Any]], version: str) -> list[str]:
    """One line for each object that Kubernetes `version` ("1.33") would refuse."""
    done = subprocess.run(
        [_python(), _PROGRAM],
        input=json.dumps({"version": version, "objects": list(objects)}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the schemas of Kubernetes could not be asked: {done.stderr}")
    found: list[str] = json.loads(done.stdout)
    return found


def _python() -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return real_servers.installed(f"kubernetes-validate-{SCHEMAS_VERSION}-py{version}", _install) / "bin" / "python"


def _install(place: Path) -> None:
    venv.create(place, with_pip=True, symlinks=True)
    wanted = f"kubernetes-validate=={SCHEMAS_VERSION}"
    real_servers.run_installer([place / "bin" / "python", "-m", "pip", "install", "--quiet", wanted])


if __name__ == "__main__":
    print(f"schemas of Kubernetes are installed in {_python().parents[1]}")
