"""Takes out of an environment what no sidecar runs: `python hack/prune_image.py /opt/venv`.

Knows the one large part: of `kubernetes` we use configuration, authentication and transport, while 123 of its 126 MB
are an API class for each group and a model for each kind, which import each other when they are asked for.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

_MODELS = [
    f"{client}/{part}" for client in ("kubernetes/client", "kubernetes/aio/client") for part in ("api", "models")
]
_PROOF = """
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config
import opentelemetry.sdk.trace, opentelemetry.exporter.otlp.proto.http.trace_exporter
import mcp_sidecar.app
"""


def prune(packages: Path) -> None:
    """Delete the generated classes of `kubernetes`, and pip, which has done its work. The `__init__` of each part names
    its classes and imports none, so it stays."""
    for part in _MODELS:
        for module in (packages / part).glob("*.py"):
            if module.name != "__init__.py":
                module.unlink()
    for name in ("pip", "setuptools"):
        for path in packages.glob(f"{name}*"):
            shutil.rmtree(path)


def main(arguments: list[str]) -> int:
    (environment,) = map(Path, arguments)
    (packages,) = environment.glob("lib/python3*/site-packages")
    prune(packages)
    # What is left must still do what a sidecar does.
    subprocess.run([environment / "bin/python", "-c", _PROOF], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
