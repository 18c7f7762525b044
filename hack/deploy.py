"""Writes what deploy/ has from the golden template, or checks that what is committed is what would be written.

    python hack/deploy.py            write
    python hack/deploy.py --check    compare; exit 1 and name the files when they differ

Knows where the files go and what the chart calls its values; what stands in them comes from `mcp_sidecar.injection`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mcp_sidecar.injection import kustomize, policy
from mcp_sidecar.injection.choices import Placeholder
from mcp_sidecar.injection.template import Options

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
WARNING = "# Written by hack/deploy.py from mcp_sidecar/injection/template.py. Do not edit: run `make docs`.\n"

CHART = Options(
    image=Placeholder('{{ include "mcp-sidecar.image" . | toJson }}'),
    pull_policy=Placeholder("{{ .Values.image.pullPolicy | toJson }}"),
    log_level=Placeholder("{{ .Values.sidecar.logLevel | toJson }}"),
    discovery=Placeholder("{{ .Values.sidecar.discovery | toJson }}"),
    drain_seconds=Placeholder("{{ .Values.sidecar.drainSeconds | toString | toJson }}"),
    cpu_request=Placeholder("{{ .Values.sidecar.resources.requests.cpu | toString | toJson }}"),
    memory_request=Placeholder("{{ .Values.sidecar.resources.requests.memory | toString | toJson }}"),
    memory_limit=Placeholder("{{ .Values.sidecar.resources.limits.memory | toString | toJson }}"),
    auth=Placeholder("{{ .Values.sidecar.auth | toJson }}"),
    otlp_endpoint=Placeholder("{{ .Values.sidecar.otlpEndpoint | toJson }}"),
    version=Placeholder("{{ .Chart.AppVersion | toJson }}"),
    env=(
        Placeholder(
            "{{- range $name, $value := .Values.sidecar.env }}\n"
            "Object.spec.initContainers.env{name: {{ $name | toJson }}, value: {{ $value | toString | toJson }}},\n"
            "{{- end }}"
        ),
    ),
)


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines are blocks, and nothing is said by reference."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Placeholder, _text)


def as_yaml(*documents: Any) -> str:
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=4096, allow_unicode=True)


def files() -> Iterator[tuple[str, str]]:
    """Each file below deploy/ and its contents."""
    spec = as_yaml(policy.policy_spec(CHART))
    yield (
        "helm/mcp-sidecar/templates/_policy.tpl",
        f'{{{{/*\n{WARNING}*/}}}}\n{{{{- define "mcp-sidecar.policySpec" -}}}}\n{spec}{{{{- end }}}}\n',
    )
    component = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "resources": ["policy.yaml"]}
    yield "kustomize/components/policy/kustomization.yaml", WARNING + as_yaml(component)
    yield "kustomize/components/policy/policy.yaml", WARNING + as_yaml(*policy.documents(Options()))
    for role in kustomize.ROLES:
        for name, contents in kustomize.files(role, Options()).items():
            yield f"kustomize/components/{role}/{name}", WARNING + as_yaml(contents)


def main(arguments: list[str]) -> int:
    stale = 0
    for name, contents in files():
        place = DEPLOY / name
        if arguments != ["--check"]:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(contents)
        elif not place.exists() or place.read_text() != contents:
            print(f"deploy/{name} is not what the template says: run `make docs`", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
