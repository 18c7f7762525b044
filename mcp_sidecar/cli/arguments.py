"""Flags that several commands share, and how bad usage is said; knows no command."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import NoReturn

from mcp_sidecar.cli import COMMANDS
from mcp_sidecar.cli.failures import CommandFailed

DEFAULT_ADDRESS = "127.0.0.1:15051"


class Parser(argparse.ArgumentParser):
    """The parser of one command: its help ends with examples, its complaints with what to type next."""

    def __init__(self, command: str, *, more: str = "") -> None:
        summary, example = COMMANDS[command].summary, COMMANDS[command].example
        super().__init__(
            prog=f"mcp-sidecar {command}",
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  {example}\n{more}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Bad usage: exit code 2."""
        self.exit(2, f'{self.prog}: {message}\nTry "{self.prog} --help".\n')


def add_config(parser: Parser) -> None:
    """`-c FILE`."""
    parser.add_argument("-c", "--config", metavar="FILE", type=Path, help="YAML file (environment: MCP_SIDECAR_CONFIG)")


def add_sidecar(parser: Parser) -> None:
    """The flags of a command that talks to a running sidecar over gRPC."""
    parser.add_argument(
        "--address",
        metavar="A",
        type=address,
        help=f"the sidecar's gRPC address, host:port or unix:///path (default {DEFAULT_ADDRESS}; environment: "
        "MCP_SIDECAR_ADDRESS)",
    )
    parser.add_argument(
        "--token-file", metavar="FILE", type=Path, help="file with the bearer token the sidecar asks for"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=60.0, help="give up after this long (default 60)"
    )


def add_output(parser: Parser) -> None:
    """`-o table|json`."""
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="for people (default) or for programs"
    )


def address(text: str) -> str:
    """`host:port`, `[v6]:port` or `unix:///path`."""
    if re.fullmatch(r"unix:(//)?/.+", text):
        return text
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f'"{text}" is not an address: write host:port or unix:///path')
    return text


def seconds(text: str) -> float:
    """A positive number of seconds; a trailing `s` is allowed."""
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of seconds')
    return value


def sidecar_address(options: argparse.Namespace) -> str:
    """Where the sidecar listens for gRPC, by flag, environment or default."""
    if options.address:
        return str(options.address)
    try:
        return address(os.environ.get("MCP_SIDECAR_ADDRESS") or DEFAULT_ADDRESS)
    except argparse.ArgumentTypeError as bad:
        raise CommandFailed(f"MCP_SIDECAR_ADDRESS: {bad}", code=2) from bad


def token(options: argparse.Namespace) -> str | None:
    """The bearer token, or None when none was asked for."""
    if options.token_file is None:
        return None
    try:
        return str(options.token_file.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as bad:
        raise CommandFailed(
            f"--token-file {options.token_file}: {getattr(bad, 'strerror', 'not UTF-8 text')}", code=2
        ) from bad
