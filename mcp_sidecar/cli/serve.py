"""`mcp-sidecar serve`: flags and environment to settings, then the app; knows nothing of what runs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from mcp_sidecar.cli.arguments import Parser, add_config
from mcp_sidecar.cli.failures import CONFIGURATION, CommandFailed


def parser() -> Parser:
    """The flags of `serve`; what they mean is decided in `mcp_sidecar.config`."""
    parser = Parser("serve", more="  mcp-sidecar serve -c /etc/mcp-sidecar/config.yaml --log-level debug\n")
    add_config(parser)
    parser.add_argument(
        "--upstream",
        metavar="NAME=URL",
        action="append",
        default=[],
        help="an MCP server, a URL or stdio:COMMAND, may be repeated; added to those of the file",
    )
    parser.add_argument("--grpc", metavar="ADDR", help="gRPC API (default 127.0.0.1:15051); unix:///path works")
    parser.add_argument("--http", metavar="ADDR", help="MCP over HTTP, admin page (default 127.0.0.1:15080)")
    parser.add_argument("--health", metavar="ADDR", help="gRPC health for the kubelet (default 0.0.0.0:15081)")
    parser.add_argument("--metrics", metavar="ADDR", help="metrics and HTTP probes (default 0.0.0.0:15090)")
    parser.add_argument("--log-level", metavar="L", help="debug, info, warning or error (default info)")
    parser.add_argument("--log-format", metavar="F", help="json or text (default: text on a terminal, else json)")
    parser.add_argument(
        "--ready-file", metavar="FILE", type=Path, help="written once every port is bound: JSON, listener to host:port"
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Serve until a signal says stop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    # gRPC reads these when it is imported: without the first every GOAWAY is a line on stderr.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from mcp_sidecar.config import BadConfiguration, format_problems, load

    try:
        loaded = load(options.config, os.environ, flags(options))
    except BadConfiguration as bad:
        raise CommandFailed(format_problems(bad.problems), code=CONFIGURATION) from bad
    for warning in loaded.warnings:
        print(f"mcp-sidecar: warning: {warning}", file=sys.stderr)
    from mcp_sidecar.app import run as serve

    return serve(loaded.settings, ready_file=options.ready_file, pod_grace=loaded.pod_grace)


def flags(options: argparse.Namespace) -> dict[str, str | list[str] | None]:
    """The flags that belong to the configuration, as `mcp_sidecar.config.load` takes them."""
    names = ("upstream", "grpc", "http", "health", "metrics", "log_level", "log_format")
    return {name: getattr(options, name) for name in names}


def _leave(_number: int, _frame: FrameType | None) -> None:
    # Nothing is open yet. As PID 1 of a container we would otherwise not even receive SIGTERM while importing.
    os._exit(0)
