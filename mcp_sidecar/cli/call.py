"""`mcp-sidecar call`: one tool call; knows what of a result goes to stdout and what to stderr."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from mcp_sidecar.cli.arguments import Parser, add_sidecar
from mcp_sidecar.cli.failures import FAILED, CommandFailed
from mcp_sidecar.cli.session import did_you_mean, with_sidecar
from mcp_sidecar.cli.tables import plain
from mcp_sidecar.cli.values import from_json, from_pairs
from mcp_sidecar.errors import NotFound, SidecarError, UnknownUpstream

if TYPE_CHECKING:
    from mcp_sidecar.client import SidecarClient, ToolResult

_INVALID_PARAMS, _METHOD_NOT_FOUND = "-32602", "-32601"
_MORE = """  mcp-sidecar call weather forecast '{"city": "Oslo", "days": 3}'
  echo '{"city": "Oslo"}' | mcp-sidecar call weather forecast -
  mcp-sidecar call demo countdown from=3 --stream

The types of key=value words come from the tool's input schema. The result goes to stdout, everything else to stderr.
"""


def parser() -> Parser:
    """`SERVER TOOL` and the arguments in one of three forms."""
    parser = Parser("call", more=_MORE)
    parser.add_argument("server", metavar="SERVER", help="name of the MCP server, as `mcp-sidecar status` shows it")
    parser.add_argument("tool", metavar="TOOL", help="name of the tool, as `mcp-sidecar tools` shows it")
    parser.add_argument(
        "arguments", metavar="ARGUMENT", nargs="*", default=[], help="key=value words, or one JSON object, or -"
    )
    add_sidecar(parser)
    parser.add_argument("--stream", action="store_true", help="show progress and log messages on stderr as they come")
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="text (default), or the whole result as JSON"
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Call the tool once and print what it returned."""
    arguments = _verbatim(options.arguments)
    return with_sidecar(options, lambda client: _call(client, options, arguments))


def _verbatim(words: list[str]) -> dict[str, Any] | None:
    """The arguments when they need no schema, else None."""
    if not words:
        return {}
    if words == ["-"]:
        return from_json(sys.stdin.read(), "stdin")
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        return from_json(words[0], "arguments")
    return None


async def _call(client: SidecarClient, options: argparse.Namespace, arguments: dict[str, Any] | None) -> int:
    try:
        if arguments is None:
            arguments = from_pairs(options.arguments, await _schema(client, options.server, options.tool))
        result = await client.call_tool(
            options.server,
            options.tool,
            arguments,
            meta={"io.modelcontextprotocol/logLevel": "debug"} if options.stream else None,
            on_notification=_show if options.stream else None,
        )
    except UnknownUpstream as unknown:
        names = [server.name for server in await client.list_servers()]
        message = f'no MCP server is called "{options.server}"; {did_you_mean(options.server, names)}'
        raise CommandFailed(message) from unknown
    except SidecarError as error:
        if isinstance(error, NotFound) or error.metadata.get("jsonrpc_code") in {_INVALID_PARAMS, _METHOD_NOT_FOUND}:
            await _schema(client, options.server, options.tool)  # says so when the tool is not there
        raise
    return await _report(client, options, result)


async def _schema(client: SidecarClient, server: str, tool: str) -> dict[str, Any]:
    known = {str(found.get("name")): found for found in await client.list_tools(server)}
    if tool not in known:
        raise CommandFailed(f'{server} has no tool "{tool}"; {did_you_mean(tool, known)}')
    schema = known[tool].get("inputSchema")
    return schema if isinstance(schema, dict) else {}


async def _report(client: SidecarClient, options: argparse.Namespace, result: ToolResult) -> int:
    if options.output == "json":
        sys.stdout.write(result.raw.decode() + "\n")
    elif not result.is_error:
        sys.stdout.write(_text(result))
    if not result.is_error:
        return 0
    # Some servers report a tool they do not have as a failure of that tool.
    await _schema(client, options.server, options.tool)
    if options.output != "json":
        sys.stderr.write(f"mcp-sidecar: {options.tool} failed:\n{_text(result)}")
    return FAILED


def _text(result: ToolResult) -> str:
    """Text as it is, other content as JSON. Structured content repeats the text (MCP 2026-07-28, "Structured Content"),
    so it is printed when there is no text."""
    lines = [
        item["text"] if item.get("type") == "text" and isinstance(item.get("text"), str) else _json(item)
        for item in result.content
    ]
    if result.structured_content is not None and not result.text:
        lines.append(_json(result.structured_content))
    if not lines and b'"content"' not in result.raw:
        lines.append(result.raw.decode())
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _show(notification: dict[str, Any]) -> None:
    params = notification.get("params") or {}
    method = str(notification.get("method", ""))
    if method == "notifications/progress":
        total = params.get("total")
        of = f"/{total:g}" if isinstance(total, int | float) else ""
        line = f"progress {params.get('progress', 0):g}{of} {params.get('message', '')}"
    elif method == "notifications/message":
        data = params.get("data")
        line = f"log {params.get('level', '')} {data if isinstance(data, str) else _json(data)}"
    else:
        line = f"{method} {_json(params)}"
    print(plain(line).rstrip(), file=sys.stderr, flush=True)
