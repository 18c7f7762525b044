"""A server's tools, read whole: `engine.catalogue`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_sidecar.call import Call
from mcp_sidecar.engine.catalogue import list_tools, result_of
from mcp_sidecar.errors import Execution, NotFound, UpstreamProtocolError, UpstreamRefused
from mcp_sidecar.inbound.status import status_of
from mcp_sidecar.protocol.jsonrpc import Response, encode_error
from mcp_sidecar.settings import ToolSettings
from tests.engine.engines import ERAS, bench, settings
from tests.support import fake_tools
from tests.support.fake_server import FakeServer


async def names(over: Any) -> list[str]:
    return [json.loads(tool)["name"] for tool in await list_tools(over.engine, Call("/x/List", "rid"), "up")]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("page", [None, 1, 5, 1000])
async def test_every_page_is_read_in_the_servers_order(era: Any, page: int | None):
    async with FakeServer(era, page=page) as up, bench({"up": up.url}) as over:
        assert await names(over) == [tool["name"] for tool in fake_tools.ALL]
        assert up.violations == []


async def test_hidden_tools_are_left_out_of_every_page():
    chosen = ToolSettings(deny=("ask_*", "e*"))
    async with FakeServer(page=3) as up, bench({"up": settings("up", up.url, tools=chosen)}) as over:
        shown = [tool["name"] for tool in fake_tools.ALL if not tool["name"].startswith(("ask_", "e"))]
        assert await names(over) == shown


async def test_a_list_without_an_end_is_given_up():
    async with FakeServer(page=1) as up, bench({"up": up.url}) as over:
        up.catalogue.tools *= 10
        with pytest.raises(UpstreamProtocolError, match="no end"):
            await names(over)
        assert up.count("tools/list") == 64


async def test_a_cursor_that_comes_again_is_no_reason_to_go_round_in_circles():
    async with FakeServer() as up, bench({"up": up.url}) as over:

        async def in_circles(_: Any) -> dict[str, Any]:
            return {"tools": [], "nextCursor": "again"}

        up._modern._methods["tools/list"] = in_circles
        with pytest.raises(UpstreamProtocolError, match="no end"):
            await names(over)
        assert up.count("tools/list") == 2


@pytest.mark.covers("B-15")
@pytest.mark.parametrize("result", [{"tools": {}}, {"tools": None}, {"tools": "x"}])
async def test_a_list_that_is_none_is_the_servers_fault(result: dict[str, Any]):
    async with FakeServer() as up, bench({"up": up.url}) as over:

        async def wrong(_: Any) -> dict[str, Any]:
            return result

        up._modern._methods["tools/list"] = wrong
        with pytest.raises(UpstreamProtocolError) as failure:
            await names(over)
        assert failure.value.execution is Execution.DONE


@pytest.mark.covers("B-01")
@pytest.mark.parametrize(
    ("code", "tool", "grpc"),
    [(-32601, "t", "NOT_FOUND"), (-32601, "", "UNIMPLEMENTED"), (-32602, "t", "INVALID_ARGUMENT")],
)
def test_an_error_response_is_raised_with_its_code(code: int, tool: str, grpc: str):
    with pytest.raises((UpstreamRefused, NotFound)) as failure:
        result_of(Response(b"1", error=encode_error(code, "no")), server="up", tool=tool)
    assert status_of(failure.value).grpc == grpc
    # Of a missing tool the sidecar speaks in words of its own: they may stand in the log.
    said = "the MCP server 'up' has no tool 't'" if grpc == "NOT_FOUND" else "no"
    assert (failure.value.message, failure.value.execution) == (said, Execution.DONE)


def test_a_result_is_returned_as_it_is_and_an_unreadable_error_is_the_servers_fault():
    assert result_of(Response(b"1", result=b'{"n":1.0}')) == b'{"n":1.0}'
    with pytest.raises(UpstreamProtocolError) as failure:
        result_of(Response(b"1", error=b'"no"'))
    assert failure.value.execution is Execution.DONE
