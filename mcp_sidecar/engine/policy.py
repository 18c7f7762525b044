"""Which tools of an upstream exist for callers; knows nothing else of a call."""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from mcp_sidecar.errors import Execution, InvalidCall, UnknownTool, UpstreamProtocolError
from mcp_sidecar.protocol.eras import CALL_TOOL, LIST_TOOLS
from mcp_sidecar.protocol.jsonrpc import Request, Response, encode_object, members
from mcp_sidecar.settings import ToolSettings


class _Tool(msgspec.Struct):
    name: str


_tools = msgspec.json.Decoder(list[msgspec.Raw])
_tool = msgspec.json.Decoder(_Tool)


def allows(settings: ToolSettings, name: str) -> bool:
    """`name` matches a pattern of `allow` and none of `deny`."""
    return _matches(name, settings.allow) and not _matches(name, settings.deny)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def check(settings: ToolSettings, request: Request, server: str) -> None:
    """Refuse a call of a hidden tool in the words for one that does not exist."""
    if request.method == CALL_TOOL:
        name = request.text("name") or ""
        if not allows(settings, name):
            raise UnknownTool(f"the MCP server {server!r} has no tool {name[:128]!r}", metadata={"server": server})


def show(settings: ToolSettings, request: Request, response: Response) -> Response:
    """The response without hidden tools."""
    if request.method != LIST_TOOLS or response.result is None:
        return response
    try:
        result = members(response.result, "result")
        tools = _tools.decode(result.get("tools", b"[]"))
        shown = [bytes(tool) for tool in tools if allows(settings, _tool.decode(tool).name)]
    except (InvalidCall, msgspec.DecodeError) as error:
        raise UpstreamProtocolError(
            "the MCP server's list of tools cannot be read", execution=Execution.DONE
        ) from error
    return Response(response.id, result=encode_object(result | {"tools": b"[%b]" % b",".join(shown)}))
