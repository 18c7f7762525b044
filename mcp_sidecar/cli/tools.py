"""`mcp-sidecar tools`: what can be called; knows the shape of a tool's description."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from mcp_sidecar.cli.arguments import Parser, add_output, add_sidecar
from mcp_sidecar.cli.failures import CommandFailed, explain
from mcp_sidecar.cli.session import did_you_mean, with_sidecar
from mcp_sidecar.cli.tables import table, to_json
from mcp_sidecar.errors import SidecarError, UnknownUpstream

if TYPE_CHECKING:
    from mcp_sidecar.client import SidecarClient


def parser() -> Parser:
    """`[SERVER]` and where to ask."""
    parser = Parser("tools", more="  mcp-sidecar tools -o json | jq -r '.[].name'\n")
    parser.add_argument("server", metavar="SERVER", nargs="?", default="", help="one server (default: all)")
    add_sidecar(parser)
    add_output(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Print the tools of one server, or of all."""
    if options.server:
        return with_sidecar(options, lambda client: _one(client, options.server, options.output))
    return with_sidecar(options, lambda client: _all(client, options.output))


async def _one(client: SidecarClient, server: str, output: str) -> int:
    try:
        tools = await client.list_tools(server)
    except UnknownUpstream as unknown:
        names = [known.name for known in await client.list_servers()]
        raise CommandFailed(f'no MCP server is called "{server}"; {did_you_mean(server, names)}') from unknown
    _print([{"server": server, **tool} for tool in tools], output, several=False)
    return 0


async def _all(client: SidecarClient, output: str) -> int:
    """One server that is down hides nothing of the others; it shows in the exit code and on stderr."""
    found: list[dict[str, Any]] = []
    worst = 0
    for server in await client.list_servers():
        try:
            found += [{"server": server.name, **tool} for tool in await client.list_tools(server.name)]
        except SidecarError as error:
            message, code = explain(error)
            print(f"mcp-sidecar: {server.name}: {message}", file=sys.stderr)
            worst = max(worst, code)
    _print(found, output, several=True)
    return worst


def _print(tools: list[dict[str, Any]], output: str, *, several: bool) -> None:
    if output == "json":
        print(to_json(tools))
    elif not tools:
        print("no tools", file=sys.stderr)
    else:
        rows = [(tool["server"], str(tool.get("name", "")), _first_line(tool)) for tool in tools]
        head = ("SERVER", "NAME", "DESCRIPTION")
        print(table(head, rows) if several else table(head[1:], [row[1:] for row in rows]))


def _first_line(tool: dict[str, Any]) -> str:
    text = str(tool.get("description") or tool.get("title") or "").strip()
    return text.splitlines()[0] if text else ""
