"""`mcp-sidecar demo`: flags of the demonstration; knows nothing of what it shows."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from mcp_sidecar.cli.arguments import Parser


def parser() -> Parser:
    """`--once`."""
    parser = Parser("demo", more="  mcp-sidecar demo        keeps serving until Ctrl-C\n")
    parser.add_argument("--once", action="store_true", help="exit after the calls; 0 when every one went well")
    return parser


def run(options: argparse.Namespace) -> int:
    """Show the sidecar at work."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from mcp_sidecar.demo.show import run as show

    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return show(once=options.once, colour=colour, program=_program(), environ=os.environ)


def _program() -> str:
    """How another terminal starts this program: by its name where that is found, else by its whole path."""
    if shutil.which("mcp-sidecar"):
        return "mcp-sidecar"
    script = Path(sys.argv[0]).absolute()
    return str(script) if script.name == "mcp-sidecar" else f"{sys.executable} -m mcp_sidecar"
