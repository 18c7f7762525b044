"""What the chart and the kustomizations are known to come to; `python -m tests.deploy.golden --write` writes it.

A difference is to be read, not only renewed: it is what a user's cluster would see of a change.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support import helm

FOLDER = Path(__file__).with_name("golden")
VALUES = ("policy", "webhook", "cert-manager", "none")
KUSTOMIZATIONS = ("overlays/default", "overlays/policy", "examples/agent", "examples/server")

# Helm makes another certificate each time.
_CERTIFICATES = re.compile(
    r"^( *(?:ca\.crt|tls\.crt|tls\.key|caBundle|mcp-sidecar\.dev/valid-until): ).*$", re.MULTILINE
)


def chart(values: str) -> str:
    """The chart as text, comments of the templates included, with the values of a file in its `ci/`."""
    file = helm.CHART / "ci" / f"{values}-values.yaml"
    text = helm.run(
        *("helm", "template", "mcp-sidecar", helm.CHART, "--namespace", "mcp", "--kube-version", "1.37.0"),
        *("--values", file),
    )
    return _CERTIFICATES.sub(r"\1made-by-helm", text)


def kustomization(folder: str) -> str:
    return helm.run("kubectl", "kustomize", helm.KUSTOMIZE / folder)


def fresh() -> Iterator[tuple[Path, str]]:
    """Each file and what belongs into it."""
    for values in VALUES:
        yield FOLDER / f"chart-{values}.yaml", chart(values)
    for folder in KUSTOMIZATIONS:
        yield FOLDER / f"kustomize-{folder.replace('/', '-')}.yaml", kustomization(folder)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.deploy.golden --write")
    for path, content in fresh():
        path.write_text(content)
        print(path)
