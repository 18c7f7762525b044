"""What the fake server offers besides the wire: lists, resources, prompts, completion. Same in both eras."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support import fake_tools
from tests.support.fake_exchange import INVALID_PARAMS, Exchange, Refusal
from tests.support.fake_ledger import Message

CAPABILITIES: Message = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "prompts": {"listChanged": True},
    "completions": {},
    "logging": {},
}
SERVER_INFO: Message = {"name": "fake", "version": "1.0.0"}

_RESOURCES: dict[str, Message] = {
    "fake://greeting": {"mimeType": "text/plain", "text": "hello"},
    "fake://pixel": {"mimeType": "image/png", "blob": base64.b64encode(b"\x89PNG").decode()},
}
_TEMPLATE = {"uriTemplate": "fake://item/{name}", "name": "item", "mimeType": "text/plain"}
_PROMPT = {"name": "greet", "description": "Greets.", "arguments": [{"name": "who", "required": True}]}
_PEOPLE = ("alice", "albert", "bob")

Method = Callable[[Exchange], Awaitable[Message]]


class Catalogue:
    """The methods both eras share, by name. `page` cuts `tools/list` into pages of that many tools."""

    def __init__(self, page: int | None = None) -> None:
        self.page = page
        self.tools: list[Message] = list(fake_tools.ALL)
        self.resources: dict[str, Message] = dict(_RESOURCES)
        self.templates: list[Message] = [_TEMPLATE]
        self.prompts: list[Message] = [_PROMPT]
        self.capabilities: Message = dict(CAPABILITIES)
        self.instructions = "A fake."
        self.methods: dict[str, Method] = {
            "tools/list": self.list_tools,
            "tools/call": self.call_tool,
            "resources/list": self.list_resources,
            "resources/templates/list": self.list_templates,
            "resources/read": self.read_resource,
            "prompts/list": self.list_prompts,
            "prompts/get": self.get_prompt,
            "completion/complete": self.complete,
        }

    async def list_tools(self, exchange: Exchange) -> Message:
        cursor = exchange.request.params.get("cursor")
        if cursor is not None and not (self.page and str(cursor).isdecimal()):
            raise Refusal(INVALID_PARAMS, "no such cursor")
        start = int(cursor or 0)
        end = start + (self.page or len(self.tools))
        more = {"nextCursor": str(end)} if end < len(self.tools) else {}
        return {"tools": self.tools[start:end], **more}

    async def call_tool(self, exchange: Exchange) -> Message:
        params = exchange.request.params
        arguments = params.get("arguments", {})
        if not isinstance(params.get("name"), str) or not isinstance(arguments, dict):
            raise Refusal(INVALID_PARAMS, "tools/call needs a name, and arguments that are an object")
        return await fake_tools.call(exchange, params["name"], arguments)

    async def list_resources(self, _: Exchange) -> Message:
        listed = [{"uri": uri, "name": uri, "mimeType": body["mimeType"]} for uri, body in self.resources.items()]
        return {"resources": listed}

    async def list_templates(self, _: Exchange) -> Message:
        return {"resourceTemplates": self.templates}

    async def read_resource(self, exchange: Exchange) -> Message:
        uri = str(exchange.request.params.get("uri"))
        body = self.resources.get(uri)
        if body is None and uri.startswith("fake://item/"):
            body = {"mimeType": "text/plain", "text": uri.removeprefix("fake://item/")}
        if body is None:
            # The modern era has given up -32002 (mcp.md §2.3).
            raise Refusal(INVALID_PARAMS if exchange.modern else -32002, "Resource not found", {"uri": uri})
        return {"contents": [{"uri": uri, **body}]}

    async def list_prompts(self, _: Exchange) -> Message:
        return {"prompts": self.prompts}

    async def get_prompt(self, exchange: Exchange) -> Message:
        params = exchange.request.params
        who: Any = params.get("arguments", {}).get("who")
        if params.get("name") != "greet" or who is None:
            raise Refusal(INVALID_PARAMS, f"no such prompt, or no such arguments: {params.get('name')}")
        content = {"type": "text", "text": f"Say hello to {who}."}
        return {"description": _PROMPT["description"], "messages": [{"role": "user", "content": content}]}

    async def complete(self, exchange: Exchange) -> Message:
        start = str(exchange.request.params.get("argument", {}).get("value", ""))
        values = [name for name in _PEOPLE if name.startswith(start)]
        return {"completion": {"values": values, "total": len(values), "hasMore": False}}
