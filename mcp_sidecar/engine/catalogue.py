"""What a server offers, read whole: every page of its lists. Knows no face."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from mcp_sidecar.call import Call, Deadline
from mcp_sidecar.errors import Execution, InvalidCall, UnknownTool, UpstreamProtocolError, UpstreamRefused
from mcp_sidecar.outbound.link import Ignore, Sink
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.jsonrpc import Members, Request, Response

_MAX_PAGES = 64
_MAX_BYTES = 32 * 1024 * 1024
_items = msgspec.json.Decoder(list[msgspec.Raw])


class Kind(NamedTuple):
    """A list: how it is asked for, the member of the result that holds it, and what tells its items apart."""

    method: str
    member: str
    key: str

    @property
    def title(self) -> str:
        """The list in words."""
        return "resource templates" if self.member == "resourceTemplates" else self.member


TOOLS = Kind(eras.LIST_TOOLS, "tools", "name")
PROMPTS = Kind("prompts/list", "prompts", "name")
RESOURCES = Kind("resources/list", "resources", "uri")
TEMPLATES = Kind("resources/templates/list", "resourceTemplates", "uriTemplate")


@dataclass(frozen=True, slots=True)
class Page:
    """One result: its members, and the items in it as JSON text."""

    found: Members
    items: list[bytes]

    @property
    def cursor(self) -> bytes | None:
        """Of the next page, as JSON text."""
        cursor = self.found.get("nextCursor")
        return None if cursor in (None, b"null") else cursor


class Runs(Protocol):
    """What lists are read with: the engine."""

    def run(self, call: Call, request: Request, server: str, sink: Sink) -> Coroutine[None, None, Response]: ...

    def deadline(self, call: Call, server: str) -> Deadline: ...


async def list_tools(engine: Runs, call: Call, server: str) -> list[bytes]:
    """Every tool of a server as JSON text, in the server's order.

    Raises `UpstreamRefused` for the server's own error, `UpstreamProtocolError` for a list that cannot be read
    or has no end.
    """
    call.deadline = engine.deadline(call, server)  # one for all pages
    return [tool for page in await read_pages(engine, call, server, TOOLS) for tool in page.items]


class Endless(UpstreamProtocolError):
    """A list has more pages, or bytes, than are read; `pages` are those that were."""

    def __init__(self, kind: Kind, pages: list[Page]) -> None:
        super().__init__(f"the MCP server's list of {kind.title} has no end", execution=Execution.DONE)
        self.pages = pages


async def read_pages(engine: Runs, call: Call, server: str, kind: Kind) -> list[Page]:
    """Every page of a list; raises as `list_tools` does, and `Endless`."""
    pages: list[Page] = []
    cursors: set[bytes] = set()
    cursor: bytes | None = None
    size = 0
    while len(pages) < _MAX_PAGES and size < _MAX_BYTES:
        params = {} if cursor is None else {"cursor": cursor}
        request = Request(kind.method, b"1", params, modern_meta() if call.client is None else {})
        result = result_of(await engine.run(call, request, server, Ignore()))
        size += len(result)
        pages.append(_read_page(result, kind))
        cursor = pages[-1].cursor
        if cursor is None:
            return pages
        if cursor in cursors:
            break
        cursors.add(cursor)
    raise Endless(kind, pages)


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


def _read_page(result: bytes, kind: Kind) -> Page:
    try:
        found = jsonrpc.members(result, "result")
        return Page(found, [bytes(item) for item in _items.decode(found.get(kind.member, b"[]"))])
    except (InvalidCall, msgspec.DecodeError) as error:
        raise UpstreamProtocolError(
            f"the MCP server's list of {kind.title} cannot be read", execution=Execution.DONE
        ) from error
