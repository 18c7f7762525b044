"""Which of several servers a call goes to: `engine.merge` and `engine.owners` in a whole engine."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_sidecar import errors
from mcp_sidecar.call import Client
from mcp_sidecar.errors import Execution
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.settings import MergeSettings
from tests.engine.engines import ERAS, Heard, request, text_of, tool
from tests.engine.several import describe, legacy, two


@pytest.mark.covers("B-170", "B-13")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("client", [None, legacy()])
async def test_a_call_goes_to_whose_tool_it_is_under_the_name_it_has_there(era: Any, client: Client | None):
    async with two(era) as (a, b, over):
        for said, up in (("b__echo", b), ("a__echo", a)):
            sent = tool(said, text=said)
            if client is not None:
                sent = Request(sent.method, sent.id, sent.params)
            assert text_of(await over.result(sent, client=client)) == said
            assert over.call.name == said and over.call.method == "tools/call"
            assert up.executions[-1].arguments == {"text": said}
            assert over.call.server == said[0]
            if era == "modern":
                assert up.requests[-1].headers["mcp-name"] == "echo"
        assert over.call.protocol_version and over.call.connection_id
        assert a.violations == b.violations == []


@pytest.mark.covers("B-170")
async def test_a_call_finds_its_server_before_anybody_has_listed_anything():
    async with two() as (a, b, over):
        assert text_of(await over.result(tool("progress", steps=2))) == "2 steps"
        assert (len(a.executions), len(b.executions)) == (0, 1)
        await over.result(tool("add", a=1, b=1))
        assert a.count("tools/list") == b.count("tools/list") == 1


@pytest.mark.covers("B-04")
@pytest.mark.parametrize("era", ERAS)
async def test_progress_and_logs_come_through_as_they_are(era: Any):
    async with two(era) as (_, _, over):
        heard = Heard()
        meta = {"progressToken": "mine", "io.modelcontextprotocol/logLevel": "info"}
        await over.run(tool("progress", meta, steps=2), heard=heard)
        told = [message["params"] for message in heard.messages if message["method"] == "notifications/progress"]
        assert [(one["progress"], one["progressToken"]) for one in told] == [(1, "mine"), (2, "mine")]
        assert sum(message["method"] == "notifications/message" for message in heard.messages) == 2


@pytest.mark.covers("B-02")
async def test_arguments_and_state_reach_the_owner_byte_for_byte():
    async with two() as (_, b, over):
        b.catalogue.tools.append(describe("ask_elicitation"))
        asked = await over.result(tool("ask_elicitation"))
        assert (asked["resultType"], asked["requestState"]) == ("input_required", "fake-state")
        raw = b'{"text":"x",  "n":1.00e5,"u":"\\u00e9"}'
        params = {"name": b'"ask_elicitation"', "arguments": raw, "requestState": b'"fake-\\u0073tate"'}
        params["inputResponses"] = b'{"answer":{"action":"accept","content":{"name":"Ada"}}}'
        sent = Request("tools/call", b"7", params, modern_meta())
        response = await over.run(sent)
        assert json.loads(response.result or b"")["content"][0]["text"] == "accept: Ada"
        body = b.requests[-1].body
        for value in params.values():
            assert value in body


@pytest.mark.covers("B-172")
@pytest.mark.parametrize("era", ERAS)
async def test_an_unknown_tool_is_refused_with_the_nearest_name_and_reaches_nobody(era: Any):
    async with two(era) as (a, b, over):
        with pytest.raises(errors.UnknownTool, match="'progres'; did you mean 'progress'"):
            await over.run(tool("progres"))
        assert over.call.execution is Execution.NONE
        assert a.executions == b.executions == []


@pytest.mark.covers("B-172")
@pytest.mark.parametrize(("prefix", "hint"), [("on-conflict", "'a__echo' or 'b__echo'"), ("never", "the servers a, b")])
async def test_a_name_of_several_servers_is_never_the_first_ones(prefix: str, hint: str):
    async with two(merge=MergeSettings(prefix)) as (a, b, over):
        with pytest.raises(errors.UnknownTool, match=hint):
            await over.run(tool("echo", text="x"))
        assert a.executions == b.executions == []


async def test_a_new_tool_is_found_although_the_list_is_known():
    async with two() as (_, b, over):
        await over.run(request("tools/list"))
        b.catalogue.tools.append(describe("slow"))
        assert text_of(await over.result(tool("slow", seconds=0, text="x"))) == "x"


@pytest.mark.covers("B-170")
@pytest.mark.parametrize("era", ERAS)
async def test_prompts_are_named_and_found_like_tools(era: Any):
    async with two(era) as (a, b, over):
        b.catalogue.prompts = [{"name": "other"}, *b.catalogue.prompts]
        listed = await over.result(request("prompts/list"))
        assert [one["name"] for one in listed["prompts"]] == ["a__greet", "other", "b__greet"]
        got = await over.result(request("prompts/get", name="b__greet", arguments={"who": "me"}))
        assert got["messages"][0]["content"]["text"] == "Say hello to me."
        assert b.requests[-1].params["name"] == "greet"
        with pytest.raises(errors.UnknownPrompt, match="several MCP servers have a prompt 'greet'"):
            await over.run(request("prompts/get", name="greet"))
        assert a.violations == b.violations == []


@pytest.mark.covers("B-177")
@pytest.mark.parametrize("era", ERAS)
async def test_a_resource_is_read_from_the_server_that_lists_it(era: Any):
    async with two(era) as (a, b, over):
        b.catalogue.resources = {"other://x": {"mimeType": "text/plain", "text": "of b"}}
        b.catalogue.templates = [{"uriTemplate": "item://{id}", "name": "t"}]
        listed = await over.result(request("resources/list"))
        assert [one["uri"] for one in listed["resources"]] == ["fake://greeting", "fake://pixel", "other://x"]
        shown = await over.result(request("resources/templates/list"))
        assert [one["uriTemplate"] for one in shown["resourceTemplates"]] == ["fake://item/{name}", "item://{id}"]
        for uri, text in (("other://x", "of b"), ("fake://greeting", "hello"), ("fake://item/7", "7")):
            read = await over.result(request("resources/read", uri=uri))
            assert read["contents"][0] == {"uri": uri, "mimeType": "text/plain", "text": text}
        assert over.call.name == "fake://item/7" and over.call.server == "a"
        assert a.violations == b.violations == []


@pytest.mark.covers("B-177")
async def test_a_resource_of_two_servers_is_refused_and_one_that_nobody_lists_is_looked_for():
    async with two() as (a, b, over):
        with pytest.raises(errors.UnknownResource, match="a, b"):
            await over.run(request("resources/read", uri="fake://greeting"))
        assert a.count("resources/read") == b.count("resources/read") == 0

        async def secret(exchange: Any) -> dict[str, Any]:
            return {"contents": [{"uri": exchange.request.params["uri"], "text": "found"}]}

        b._modern._methods["resources/read"] = secret
        read = await over.result(request("resources/read", uri="hidden://x"))
        assert read["contents"][0]["text"] == "found"
        assert (a.count("resources/read"), b.count("resources/read")) == (1, 1)


@pytest.mark.covers("B-177")
async def test_a_resource_that_nobody_has_is_an_error_of_the_last_server():
    async with two() as (_, _, over):
        response = await over.run(request("resources/read", uri="hidden://x"))
        assert json.loads(response.error or b"")["code"] == -32602


@pytest.mark.covers("B-170")
@pytest.mark.parametrize("era", ERAS)
async def test_completion_asks_the_server_of_the_prompt_or_template(era: Any):
    async with two(era) as (a, b, over):
        a.catalogue.templates = []
        for ref, up in (
            ({"type": "ref/prompt", "name": "b__greet"}, b),
            ({"type": "ref/prompt", "name": "a__greet"}, a),
            ({"type": "ref/resource", "uri": "fake://item/{name}"}, b),
        ):
            asked = request("completion/complete", ref=ref, argument={"name": "who", "value": "al"})
            done = await over.result(asked)
            assert done["completion"]["values"] == ["alice", "albert"]
            assert up.requests[-1].rpc == "completion/complete"
        completed = [received for received in a.requests if received.rpc == "completion/complete"]
        assert completed[-1].params["ref"]["name"] == "greet"
        with pytest.raises(errors.InvalidParams, match=r"params\.ref"):
            await over.run(request("completion/complete", ref={"type": "ref/other"}))
        assert a.violations == b.violations == []


async def test_a_method_that_cannot_be_given_to_anybody_is_refused():
    async with two() as (a, _, over):
        response = await over.run(request("acme/anything"))
        assert json.loads(response.error or b"")["code"] == -32601
        assert a.requests == []


@pytest.mark.covers("B-20")
@pytest.mark.parametrize("era", ERAS)
async def test_a_cancelled_call_is_cancelled_at_its_server(era: Any):
    async with two(era) as (_, b, over):
        task = asyncio.create_task(over.run(tool("hold", gate="g")))
        await b.until(lambda s: s.executions)
        assert over.lifecycle.in_flight > 0
        task.cancel()
        await asyncio.wait({task})
        await b.until(lambda s: s.cancelled)
        assert over.lifecycle.in_flight == 0


TOLD = "notifications/tools/list_changed"


@pytest.mark.covers("B-170", "B-183")
async def test_a_tool_that_moved_is_called_where_it_is_once_the_servers_said_that_their_lists_changed():
    async with two() as (a, b, over):
        await over.run(request("tools/list"))
        a.catalogue.tools, b.catalogue.tools = b.catalogue.tools, a.catalogue.tools
        for server in ("a", "b"):
            over.engine.offers.heed(server, TOLD, b"{}")
        for _ in range(2):
            assert text_of(await over.result(tool("add", a=1, b=2))) == "3"
        assert (a.count("tools/call"), b.count("tools/call")) == (0, 2)
        assert (a.count("tools/list"), b.count("tools/list")) == (2, 2)


@pytest.mark.covers("B-175", "B-183")
async def test_a_server_that_goes_after_saying_that_its_list_changed_is_asked_once_and_holds_up_nobody():
    async with two() as (a, b, over):
        await over.run(request("tools/list"))
        over.engine.offers.heed("a", TOLD, b"{}")
        await a.stop()
        await over.result(tool("progress", steps=1))  # nobody needs to look anew for b's own
        for _ in range(2):
            with pytest.raises(errors.UpstreamUnavailable):
                await over.run(tool("add", a=1, b=2))
        assert (b.count("tools/list"), b.count("tools/call")) == (1, 1)


@pytest.mark.covers("B-177", "B-183")
async def test_a_resource_that_moved_is_read_where_it_is_once_the_servers_said_so():
    async with two() as (a, b, over):
        b.catalogue.resources, moved = {}, a.catalogue.resources
        await over.result(request("resources/read", uri="fake://greeting"))
        a.catalogue.resources, b.catalogue.resources = {}, moved
        for server in ("a", "b"):
            over.engine.offers.heed(server, "notifications/resources/list_changed", b"{}")
        await over.result(request("resources/read", uri="fake://greeting"))
        assert (a.count("resources/read"), b.count("resources/read")) == (1, 1)
