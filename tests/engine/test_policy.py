"""Which tools exist for callers: `engine.policy`, and the engine that keeps to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_sidecar.directory import Upstream
from mcp_sidecar.engine import policy
from mcp_sidecar.errors import Execution, UnknownTool, UpstreamProtocolError
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.settings import ToolSettings, UpstreamSettings
from tests.engine.engines import ERAS, bench, request, settings, text_of, tool
from tests.support.fake_server import FakeServer

LIST = Request("tools/list", b"1")


@pytest.mark.parametrize(
    ("allow", "deny", "shown"),
    [
        (("*",), (), ["add", "Add", "echo", "ad[d]"]),
        (("add",), (), ["add"]),
        (("a*",), (), ["add", "ad[d]"]),
        (("a??",), (), ["add"]),
        (("*",), ("a*",), ["Add", "echo"]),
        (("add", "echo"), ("echo",), ["add"]),
        (("*",), ("*",), []),
        ((), (), []),
        (("ad[[]d]",), (), ["ad[d]"]),
        (("*",), ("nope",), ["add", "Add", "echo", "ad[d]"]),
    ],
)
def test_deny_wins_over_allow_and_case_matters(allow: tuple[str, ...], deny: tuple[str, ...], shown: list[str]):
    chosen = ToolSettings(allow=allow, deny=deny)
    names = ["add", "Add", "echo", "ad[d]"]
    assert [name for name in names if policy.allows(chosen, name)] == shown
    result = json.dumps({"tools": [{"name": name, "x": 1.0} for name in names], "nextCursor": "n"}).encode()
    seen = json.loads(policy.show(chosen, LIST, Response(b"1", result)).result or b"")
    assert [one["name"] for one in seen["tools"]] == shown
    assert seen["nextCursor"] == "n"
    for name in names:
        called = Request("tools/call", params={"name": json.dumps(name).encode()})
        if name in shown:
            policy.check(chosen, called, "up")
        else:
            with pytest.raises(UnknownTool):
                policy.check(chosen, called, "up")


@pytest.mark.covers("B-02")
def test_what_is_shown_is_shown_byte_for_byte():
    tools = rb'{"tools":[ {"name":"a\u0064d","n":1.0,"z":{"b":1e2,"a":2}} , {"name":"echo"}],"x":[1.50]}'
    shown = policy.show(ToolSettings(deny=("echo",)), LIST, Response(b"1", tools))
    assert shown.result == rb'{"tools":[{"name":"a\u0064d","n":1.0,"z":{"b":1e2,"a":2}}],"x":[1.50]}'


def test_everything_else_passes_untouched():
    chosen = ToolSettings(deny=("*",))
    error = Response(b"1", error=b'{"code":1}')
    result = Response(b"1", result=b"not even JSON")
    assert policy.show(chosen, LIST, error) is error
    assert policy.show(chosen, Request("prompts/list"), result) is result
    assert not Upstream("up", UpstreamSettings(name="up", url="http://up"), ()).restricted  # nothing is looked at then
    policy.check(chosen, Request("prompts/get", params={"name": b'"add"'}), "up")


@pytest.mark.covers("B-15", "B-22")
@pytest.mark.parametrize(
    "result",
    [
        b"null",
        b"[]",
        b'{"tools":{}}',
        b'{"tools":[1]}',
        b'{"tools":[{"title":"x"}]}',
        b'{"tools":[{"name":1}]}',
        b'{"tools":[],"tools":[{"name":"add"}]}',
    ],
)
def test_a_list_that_cannot_be_filtered_is_the_servers_fault_and_shows_nothing(result: bytes):
    with pytest.raises(UpstreamProtocolError) as failure:
        policy.show(ToolSettings(deny=("add",)), LIST, Response(b"1", result))
    assert failure.value.execution is Execution.DONE


@pytest.mark.parametrize("era", ERAS)
async def test_a_hidden_tool_is_neither_listed_nor_called_on_any_page(era: Any):
    chosen = ToolSettings(allow=("a*", "echo"), deny=("ask_*",))
    async with FakeServer(era, page=2) as up, bench({"up": settings("up", up.url, tools=chosen)}) as over:
        names: list[str] = []
        page = await over.result(request("tools/list"))
        while True:
            names += [one["name"] for one in page["tools"]]
            if "nextCursor" not in page:
                break
            page = await over.result(request("tools/list", cursor=page["nextCursor"]))
        assert sorted(names) == ["add", "echo"]
        assert text_of(await over.result(tool("add", a=1, b=1))) == "2"
        seen = len(up.requests)
        for name in ("slow", "ask_ping", "no such tool"):
            with pytest.raises(UnknownTool) as refusal:
                await over.run(tool(name, seconds=0))
            assert refusal.value.message == f"the MCP server 'up' has no tool {name!r}"
            assert refusal.value.execution is Execution.NONE
        assert len(up.requests) == seen
        assert up.violations == []
