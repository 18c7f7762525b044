"""`mcp-sidecar inject`: manifests in, the same with sidecars out; knows flags and leaves the rest to `injection`."""

from __future__ import annotations

import argparse

from mcp_sidecar.cli.arguments import Parser
from mcp_sidecar.cli.manifests import add_files, rewrite
from mcp_sidecar.cli.pod_options import add_annotations, add_pod_options, pod_options, wishes
from mcp_sidecar.injection.manifest import inject
from mcp_sidecar.injection.vocabulary import ANNOTATIONS
from mcp_sidecar.injection.workloads import KINDS

_MORE = f"""  mcp-sidecar inject -f agent.yaml --upstreams weather=http://weather.tools:8080/mcp | kubectl apply -f -
  mcp-sidecar inject -f server.yaml --app-port 8000

Sidecars are added to {", ".join(KINDS)}, also in a List.
What is not changed stays as it is, byte for byte; what happens to each workload is said on stderr.
"""


def parser() -> Parser:
    """Files, what the sidecar is like, and a flag for each annotation."""
    parser = Parser("inject", more=_MORE)
    add_files(parser)
    add_pod_options(parser)
    add_annotations(parser, tuple(ANNOTATIONS), "write the annotation {} where a pod has none")
    return parser


def run(options: argparse.Namespace) -> int:
    """Write the manifests with sidecars."""
    made, wanted = pod_options(options), wishes(options, tuple(ANNOTATIONS))
    return rewrite(options.filename, lambda text: inject(text, made, wanted))
