"""`mcp-sidecar uninject`: manifests in, the same without sidecars out; leaves the work to `injection`."""

from __future__ import annotations

import argparse

from mcp_sidecar.cli.arguments import Parser
from mcp_sidecar.cli.manifests import add_files, rewrite
from mcp_sidecar.injection.manifest import uninject


def parser() -> Parser:
    """Files."""
    parser = Parser("uninject", more="\nAnnotations that tune a sidecar stay: they are for the next one.\n")
    add_files(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Write the manifests without sidecars."""
    return rewrite(options.filename, uninject)
