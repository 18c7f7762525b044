"""What a server offers, read whole: every page of its lists. Knows no face."""

from __future__ import annotations

import msgspec

from mcp_sidecar.call import Call
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.errors import Execution, InvalidCall, UnknownTool, UpstreamProtocolError, UpstreamRefused
from mcp_sidecar.outbound.link import Ignore
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.jsonrpc import Request, Response

_MAX_PAGES = 64
_tools = msgspec.json.Decoder(list[msgspec.Raw])


async def list_tools(engine: Engine, call: Call, server: str) -> list[bytes]:
    """Every tool of a server as JSON text, in the server's order.

    Raises `UpstreamRefused` for the server's own error, `UpstreamProtocolError` for a list that cannot be read
    or has no end.
    """
    call.deadline = engine.deadline(call, server)  # one for all pages
    tools: list[bytes] = []
    cursor: bytes | None = None
    seen: set[bytes] = set()
    for _ in range(_MAX_PAGES):
        params = {} if cursor is None else {"cursor": cursor}
        request = Request(eras.LIST_TOOLS, b"1", params, modern_meta())
        page, cursor = _read_page(result_of(await engine.run(call, request, server, Ignore())))
        tools += page
        if cursor is None:
            return tools
        if cursor in seen:
            break
        seen.add(cursor)
    raise UpstreamProtocolError("the MCP server's list of tools has no end", execution=Execution.DONE)


def result_of(response: Response, *, server: str = "", tool: str = "") -> bytes:
    """The result of a response. Raises `UpstreamRefused` for an error, `UnknownTool` for one about a missing `tool`."""
    if response.result is not None:
        return response.result
    said = jsonrpc.read_error(response)
    if said is None:
        raise UpstreamProtocolError("the MCP server's error cannot be read", execution=Execution.DONE)
    code, message = said
    if code == eras.METHOD_NOT_FOUND and tool:
        # In our words, which the log may hold too; those of the server may repeat arguments.
        unknown = f"the MCP server {server!r} has no tool {tool[:128]!r}"
        facts = {"server": server, "tool": tool, "jsonrpc_code": str(code)}
        raise UnknownTool(unknown, execution=Execution.DONE, metadata=facts)
    raise UpstreamRefused(code, message)


def _read_page(result: bytes) -> tuple[list[bytes], bytes | None]:
    try:
        found = jsonrpc.members(result, "result")
        tools = [bytes(tool) for tool in _tools.decode(found.get("tools", b"[]"))]
    except (InvalidCall, msgspec.DecodeError) as error:
        raise UpstreamProtocolError(
            "the MCP server's list of tools cannot be read", execution=Execution.DONE
        ) from error
    cursor = found.get("nextCursor")
    return tools, None if cursor in (None, b"null") else cursor
