"""`mcp-sidecar check`: is this configuration good? Knows the answer's form, not its reasons."""

from __future__ import annotations

import argparse
import os
import sys

from mcp_sidecar.cli.arguments import Parser, add_config
from mcp_sidecar.cli.failures import CONFIGURATION


def parser() -> Parser:
    """`-c FILE`."""
    parser = Parser("check", more="\nEvery problem is printed with its place; the exit code is 0 or 64.\n")
    add_config(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Print every problem, or what was found to be right."""
    from mcp_sidecar.config import BadConfiguration, format_problems, load

    try:
        loaded = load(options.config, os.environ, {})
    except BadConfiguration as bad:
        print(format_problems(bad.problems), file=sys.stderr)
        count = len(bad.problems)
        print(f"{count} problem{'s' if count > 1 else ''}; see docs/configuration.md for every key", file=sys.stderr)
        return CONFIGURATION
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    names = ", ".join(upstream.name for upstream in loaded.settings.upstreams)
    print(f"configuration is good; upstreams: {names or 'none'}")
    return 0
