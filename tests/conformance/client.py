"""A client and the sidecar it uses, as the program that the suite judges: `python -m … FACE URL_OF_THE_SUITE`.

`http` and `http-2025` are the official client in the one or the other era, `grpc` is ours.
It uses everything that the server offers, whatever the scenario; the suite says what it wanted to see. It ends with 1
when something failed, and takes the sidecar with it in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult

from mcp_sidecar.client import McpError, SidecarClient
from mcp_sidecar.errors import SidecarError
from tests.support.sidecar_process import SidecarProcess, sidecar_process

SERVER = "suite"
SECONDS = 40.0
_STEP_SECONDS = 6.0
_ROUNDS = 10
_METHOD_NOT_FOUND = -32601
_VALUES = {"string": "text", "integer": 3, "number": 4, "boolean": True, "array": [], "object": {}}


class Caller(Protocol):
    """What is done with a server, on either face."""

    async def capabilities(self) -> dict[str, Any]: ...
    async def tools(self) -> list[dict[str, Any]]: ...
    async def call(self, name: str, arguments: dict[str, Any]) -> None: ...
    async def use_resources(self) -> None: ...
    async def use_prompts(self) -> None: ...


class OverHttp:
    """The official client. It leaves out tools with unfit headers by itself, and adds headers by itself."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def capabilities(self) -> dict[str, Any]:
        return self._client.server_capabilities.model_dump(exclude_none=True)

    async def tools(self) -> list[dict[str, Any]]:
        listed = await self._client.list_tools()
        return [tool.model_dump(by_alias=True, exclude_none=True) for tool in listed.tools]

    async def call(self, name: str, arguments: dict[str, Any]) -> None:
        await self._client.call_tool(name, arguments)

    async def use_resources(self) -> None:
        for resource in (await self._client.list_resources()).resources:
            await self._client.read_resource(resource.uri)

    async def use_prompts(self) -> None:
        for prompt in (await self._client.list_prompts()).prompts:
            await self._client.get_prompt(prompt.name)


class OverGrpc:
    """Our own client, which knows no MCP: what the suite wants of a client, the sidecar has to do."""

    def __init__(self, client: SidecarClient) -> None:
        self._client = client

    async def capabilities(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self._client.request(SERVER, "server/discover"))["capabilities"]
        return found

    async def tools(self) -> list[dict[str, Any]]:
        return await self._client.list_tools(SERVER)

    async def call(self, name: str, arguments: dict[str, Any]) -> None:
        params: dict[str, Any] = {"name": name, "arguments": arguments}
        meta: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
        for _ in range(_ROUNDS):
            result = await self._client.request(SERVER, "tools/call", {**params, "_meta": meta})
            if result.get("resultType") != "input_required":
                return
            asked = result.get("inputRequests", {})
            params["inputResponses"] = {key: _filled_in(question["params"]) for key, question in asked.items()}
            params.pop("requestState", None)
            if "requestState" in result:
                params["requestState"] = result["requestState"]

    async def use_resources(self) -> None:
        for resource in (await self._client.request(SERVER, "resources/list"))["resources"]:
            await self._client.request(SERVER, "resources/read", {"uri": resource["uri"]})

    async def use_prompts(self) -> None:
        for prompt in (await self._client.request(SERVER, "prompts/list"))["prompts"]:
            await self._client.request(SERVER, "prompts/get", {"name": prompt["name"]})


def _filled_in(form: dict[str, Any]) -> dict[str, Any]:
    """The form as somebody sends it off who changes nothing."""
    fields = form["requestedSchema"]["properties"]
    return {"action": "accept", "content": {key: _value(field) for key, field in fields.items()}}


def _value(schema: dict[str, Any]) -> Any:
    return schema.get("default", _VALUES.get(schema.get("type", ""), "text"))


@contextlib.asynccontextmanager
async def over(face: str, sidecar: SidecarProcess) -> AsyncIterator[Caller]:
    """A client of the sidecar."""
    if face == "grpc":
        async with SidecarClient(sidecar.bound["grpc"]) as client:
            yield OverGrpc(client)
        return

    async def fill_in(context: Any, params: Any) -> ElicitResult:
        return ElicitResult.model_validate(_filled_in(params.model_dump(by_alias=True)))

    mode = "legacy" if face == "http-2025" else "auto"
    async with Client(sidecar.url(SERVER), mode=mode, cache=None, elicitation_callback=fill_in) as official:
        yield OverHttp(official)


async def use(caller: Caller) -> list[str]:
    """Use everything; what failed."""
    failures: list[str] = []

    async def attempt(what: str, step: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                return await step()
        except (MCPError, McpError) as error:
            if error.code != _METHOD_NOT_FOUND:  # the suite's servers are not complete
                failures.append(f"{what}: {error.code} {error}")
        except (SidecarError, TimeoutError, ValueError) as error:
            failures.append(f"{what}: {error!r}")
        return None

    wanted = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}")).get("toolCalls", [])
    tools = await attempt("tools", caller.tools) or []
    calls = [(call["name"], call["arguments"]) for call in wanted] or _calls(tools)
    for name, arguments in calls:
        await attempt(name, lambda name=name, arguments=arguments: caller.call(name, arguments))  # type: ignore[misc]
    offered = await attempt("discover", caller.capabilities) or {}
    if "resources" in offered:
        await attempt("resources", caller.use_resources)
    if "prompts" in offered:
        await attempt("prompts", caller.use_prompts)
    return failures


def _calls(tools: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    schemas = {tool["name"]: tool["inputSchema"] for tool in tools}
    calls = []
    for name, schema in schemas.items():
        if name == "json_schema_echo":  # wants to see what became of the other tool's schema
            arguments = {"schema": schemas["json_schema_2020_12_tool"]}
        else:
            fields = schema.get("properties", {})
            arguments = {key: _value(fields[key]) for key in schema.get("required", []) if key in fields}
        calls.append((name, arguments))
    return calls


async def _run(face: str, sidecar: SidecarProcess) -> list[str]:
    failures = ["it did not even connect"]
    try:
        async with asyncio.timeout(SECONDS), over(face, sidecar) as caller:
            failures = await use(caller)
    except* (MCPError, McpError, SidecarError, TimeoutError) as failed:
        failures += [repr(error) for error in failed.exceptions]
    return failures


def main(face: str, url: str) -> int:
    # Whoever loses patience sends this; what was started here ends on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with sidecar_process({SERVER: url}) as sidecar:
        failures = asyncio.run(_run(face, sidecar))
        if failures:
            print("\n".join(failures), file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
