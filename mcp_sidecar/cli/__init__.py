"""The command line: words in, exit code out; knows which module runs a command, and imports no other."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from mcp_sidecar.cli.arguments import Parser

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


class Command(NamedTuple):
    """A word of the command line: the module that runs it, what it does, and how it is typed."""

    module: str
    summary: str
    example: str


COMMANDS = {
    "serve": Command("serve", "run the sidecar", "mcp-sidecar serve --upstream weather=http://127.0.0.1:8000/mcp"),
    "demo": Command("demo", "see it work: a sidecar before a built-in MCP server", "mcp-sidecar demo --once"),
    "check": Command("check", "check a configuration, every problem at once", "mcp-sidecar check -c config.yaml"),
    "tools": Command("tools", "list the tools behind a running sidecar", "mcp-sidecar tools weather"),
    "call": Command("call", "call a tool", "mcp-sidecar call weather forecast city=Oslo days=3"),
    "status": Command("status", "show servers and connections", "mcp-sidecar status --watch"),
    "drain": Command("drain", "stop taking calls, wait for those in flight", "mcp-sidecar drain --wait 20"),
    "inject": Command("inject", "add sidecars to Kubernetes manifests", "mcp-sidecar inject -f agent.yaml"),
    "uninject": Command("uninject", "take them out again", "mcp-sidecar uninject -f agent.yaml"),
    "webhook": Command("webhook", "add sidecars to pods as the API server makes them", "mcp-sidecar webhook"),
}


class _Module(Protocol):
    parser: Callable[[], Parser]
    run: Callable[[object], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code (0 ok, 1 failed, 2 bad usage, 64 bad configuration, 69 unavailable)."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # how argparse ends `--help` and bad usage
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has enough. Python would complain again while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the outermost boundary: no traceback ever reaches a user
        from mcp_sidecar.cli.failures import explain

        message, code = explain(error)
        print(f"mcp-sidecar: {message}", file=sys.stderr)
        return code


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in {"-h", "--help", "help"}:
        if words[1:] and words[1] in COMMANDS:
            return _dispatch([words[1], "--help"])
        print(_usage())
        return 0 if words else 2
    name, *rest = words
    if name in {"-V", "--version"}:
        from mcp_sidecar import __version__

        print(f"mcp-sidecar {__version__}")
        return 0
    if name not in COMMANDS:
        return _unknown(name)
    # Each command is its own import: `drain` runs as a preStop hook and must not wait for gRPC.
    module = cast("_Module", importlib.import_module(f"mcp_sidecar.cli.{COMMANDS[name].module}"))
    return module.run(module.parser().parse_intermixed_args(rest))


def _usage() -> str:
    lines = ["usage: mcp-sidecar COMMAND [OPTIONS]", "", "A sidecar between applications and MCP servers.", ""]
    for name, command in COMMANDS.items():
        lines += [f"  {name:<8} {command.summary}", f"             {command.example}"]
    lines += ["", "mcp-sidecar COMMAND --help explains one command, mcp-sidecar --version prints the version."]
    return "\n".join(lines)


def _unknown(name: str) -> int:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"?' if near else f"commands are {', '.join(COMMANDS)}."
    print(f'mcp-sidecar: unknown command "{name}"; {hint}\nTry "mcp-sidecar --help".', file=sys.stderr)
    return 2
