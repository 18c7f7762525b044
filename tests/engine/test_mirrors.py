"""Arguments that go into headers, in a whole engine: `engine.mirrors` and what the engine does with -32020."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_sidecar import errors
from mcp_sidecar.call import Deadline
from mcp_sidecar.errors import Execution
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.settings import MergeSettings
from tests.engine.engines import bench, request, text_of, tool
from tests.engine.several import describe, legacy
from tests.support.fake_exchange import UNSUPPORTED_VERSION, Refusal
from tests.support.fake_server import FakeServer

LIST = request("tools/list")
HEADER = "mcp-param-region"


def calls(up: FakeServer) -> list[str | None]:
    """What each `tools/call` carried in the header."""
    return [received.headers.get(HEADER) for received in up.requests if received.rpc == "tools/call"]


@pytest.mark.covers("B-190")
@pytest.mark.parametrize("client", [None, legacy()])
async def test_an_argument_is_mirrored_once_the_list_is_known(client: Any):
    async with FakeServer() as up, bench({"up": up.url}) as over:
        await over.run(LIST)
        sent = tool("regional", region="grün")
        if client is not None:
            sent = Request(sent.method, sent.id, sent.params)
        assert text_of(await over.result(sent, client=client)) == "grün: "
        assert calls(up) == ["=?base64?Z3LDvG4=?="]
        await over.result(tool("echo", text="x"))
        assert up.requests[-1].headers.get(HEADER) is None
        assert up.violations == []


@pytest.mark.covers("B-190")
@pytest.mark.parametrize("client", [None, legacy()])
async def test_a_server_that_misses_a_header_is_asked_for_its_list_and_called_once_more(client: Any):
    async with FakeServer(page=4) as up, bench({"up": up.url}) as over:
        sent = tool("regional", region="eu", text="x")
        if client is not None:
            sent = Request(sent.method, sent.id, sent.params)
        assert text_of(await over.result(sent, client=client)) == "eu: x"
        assert calls(up) == [None, "eu"] and len(up.executions) == 1
        assert over.call.execution is Execution.DONE
        assert text_of(await over.result(sent, client=client)) == "eu: x"
        assert calls(up) == [None, "eu", "eu"]


@pytest.mark.covers("B-190")
async def test_a_list_that_is_out_of_date_is_read_again_although_it_is_kept():
    async with FakeServer(ttl_ms=3_600_000) as up, bench({"up": up.url}) as over:
        listed, up.catalogue.tools = up.catalogue.tools, [describe("echo")]
        await over.run(LIST)
        up.catalogue.tools = listed
        assert text_of(await over.result(tool("regional", region="eu"))) == "eu: "
        assert up.count("tools/list") == 2


@pytest.mark.covers("B-190")
async def test_a_server_that_is_never_content_fails_the_call_in_the_sidecars_own_words():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        up.catalogue.tools = [describe("echo")]  # it does not say what it wants
        with pytest.raises(errors.UpstreamProtocolError, match="do not agree on the headers") as failure:
            await over.run(tool("regional", region="eu"))
        assert failure.value.execution is Execution.NONE
        assert len(calls(up)) == 1 and up.executions == []
        connection = over.dialer.pool.connections()[0]
        assert connection.state.value == "connected"


@pytest.mark.covers("B-191")
async def test_a_callers_own_headers_are_passed_on_and_so_is_what_the_server_says_to_them():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        own = ((b"mcp-param-region", b"eu"), (b"mcp-param-other", b"x"))
        assert text_of(await over.result(tool("regional", region="eu"), mirrored=own)) == "eu: "
        assert up.requests[-1].headers["mcp-param-other"] == "x"
        response = await over.run(tool("regional", region="eu"), mirrored=())
        said = jsonrpc.read_error(response)
        assert said is not None and said[0] == -32020
        assert over.call.execution is Execution.DONE and up.count("tools/list") == 0


@pytest.mark.covers("B-191")
@pytest.mark.parametrize("given", [(), ((b"mcp-param-region", b"us"),)])
async def test_a_callers_headers_are_checked_against_a_list_that_is_known(given: Any):
    async with FakeServer() as up, bench({"up": up.url}) as over:
        await over.run(LIST)
        with pytest.raises(errors.HeaderMismatch, match="mcp-param-region"):
            await over.run(tool("regional", region="eu"), mirrored=given)
        assert up.executions == [] and len(calls(up)) == 0
        await over.run(tool("echo", text="x"), mirrored=given)


@pytest.mark.covers("B-192")
async def test_a_tool_with_annotations_against_the_rules_is_left_out_and_its_siblings_stay():
    bad = describe("bad", inputSchema={"type": "object", "properties": {"a": {"type": "number", "x-mcp-header": "A"}}})
    async with FakeServer() as up, bench({"up": up.url}) as over:
        told: list[tuple[str, str, str]] = []
        over.engine.offers.mirrors.watch(lambda *what: told.append(what))
        up.catalogue.tools = [describe("echo"), bad, describe("regional")]
        listed = (await over.result(LIST))["tools"]
        assert [one["name"] for one in listed] == ["echo", "regional"]
        assert [what[:2] for what in told] == [("up", "bad")]


@pytest.mark.covers("B-190")
async def test_what_the_sidecar_and_a_server_disagree_on_is_told_in_the_sidecars_words():
    async with FakeServer() as up, bench({"up": up.url}) as over:

        async def refuses(_: Any) -> dict[str, Any]:
            raise Refusal(UNSUPPORTED_VERSION, "no such version")

        up._modern._methods["tools/call"] = refuses
        with pytest.raises(errors.UpstreamUnavailable, match="refuses requests of the modern era"):
            await over.run(tool("echo", text="x"))
        response = await over.run(tool("echo", text="x"), mirrored=())
        said = jsonrpc.read_error(response)
        assert said is not None and said[0] == UNSUPPORTED_VERSION


async def test_what_a_tool_wants_is_forgotten_with_it():
    async with FakeServer() as up, bench({"up": up.url}) as over:
        await over.run(LIST)
        plain = describe("regional", inputSchema={"type": "object"})
        up.catalogue.tools = [plain]
        await over.run(LIST)
        assert over.engine.offers.mirrors.known == {"up": {}}


@pytest.mark.covers("B-190", "B-170")
async def test_headers_are_made_for_merged_tools_too():
    async with FakeServer() as a, FakeServer() as b:
        async with bench({"a": a.url, "b": b.url}, merge=MergeSettings("always")) as over:
            await over.run(LIST)
            assert text_of(await over.result(tool("b__regional", region="eu"))) == "eu: "
            assert calls(b) == ["eu"] and calls(a) == []
            with pytest.raises(errors.HeaderMismatch):
                await over.run(tool("b__regional", region="eu"), mirrored=())


async def test_the_list_is_read_within_the_time_of_the_call():
    async with FakeServer() as up, bench({"up": up.url}) as over:

        async def never(_: Any) -> dict[str, Any]:
            await asyncio.sleep(30)
            return {}

        up._modern._methods["tools/list"] = never
        with pytest.raises(errors.DeadlineExceeded):
            await over.run(tool("regional", region="eu"), deadline=Deadline.after(0.3))
        assert up.executions == []
