"""What a traced call sends is seen span by span, and the server is told which one asks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_sidecar import errors
from mcp_sidecar.call import trace
from mcp_sidecar.sampling import Sampler
from tests.engine.engines import ERAS, bench, request, tool
from tests.engine.test_hold import BO, answered, asking
from tests.engine.test_unfold import BO as GIVEN
from tests.engine.test_unfold import Asked, client
from tests.engine.test_unfold import tool as old_tool
from tests.support.fake_server import FakeServer

IDS = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
PARENT = trace(f"00-{IDS}-01", "vendor=1", "")
ALWAYS = Sampler(1.0)


def told(up: FakeServer, rpc: str = "tools/call") -> list[tuple[str, str]]:
    """The parents that the server heard of: in the headers, and in the message."""
    return [
        (received.headers["traceparent"], received.message["params"]["_meta"]["traceparent"])
        for received in up.requests
        if received.rpc == rpc
    ]


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_hears_of_the_leg_and_of_nobody_else(era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}, sampler=ALWAYS) as over:
        await over.run(tool("echo", text="x"), trace=PARENT)
        span = over.call.span
        assert span is not None
        (leg,) = span.legs
        assert told(up) == [(leg.traceparent, leg.traceparent)]
        assert leg.trace_id == span.trace_id == IDS[:32]
        assert (span.parent_id, leg.parent_id) == (IDS[33:], span.span_id)
        assert span.started <= leg.started <= leg.ended
        assert leg.attributes["server.address"] == up.url.split("/")[2]
        assert over.call.trace == PARENT


async def test_the_messages_own_context_wins_and_is_replaced():
    async with FakeServer() as up, bench({"up": up.url}, sampler=ALWAYS) as over:
        own = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
        asked = tool("echo", text="x").with_meta({"traceparent": json.dumps(own).encode()})
        await over.run(asked, trace=PARENT)
        span = over.call.span
        assert span is not None
        assert (span.trace_id, span.parent_id, span.link) == ("ab" * 16, "cd" * 8, PARENT.traceparent)
        assert told(up) == [(span.legs[0].traceparent, span.legs[0].traceparent)]
        (sent,) = [received for received in up.requests if received.rpc == "tools/call"]
        assert sent.body.count(b"traceparent") == 1


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_is_not_sampled_passes_on_what_it_brought(era: Any):
    async with FakeServer(era) as up, bench({"up": up.url}, sampler=Sampler(0.0)) as over:
        await over.run(tool("echo", text="x"), trace=trace(f"00-{IDS}-00", None, None))
        assert over.call.span is None
        assert told(up) == [(f"00-{IDS}-00",) * 2]


async def test_each_attempt_is_a_leg():
    async with FakeServer() as up, bench({"up": up.url}, sampler=ALWAYS) as over:
        await over.run(tool("echo", text="x"))
        up.next_reply("closes_before_reply", on="tools/list")
        await over.run(request("tools/list"))
        span = over.call.span
        assert span is not None
        assert [(leg.name, leg.error) for leg in span.legs] == [("tools/list", "UPSTREAM_LOST"), ("tools/list", "")]


@pytest.mark.covers("B-379")
async def test_the_rounds_that_a_bridge_needs_for_an_answer_are_legs_of_one_trace():
    async with FakeServer("modern", "sse") as up, bench({"up": up.url}, sampler=ALWAYS) as over:
        await over.result(old_tool("ask_elicitation"), heard=Asked(GIVEN), client=client(), trace=PARENT)
        span = over.call.span
        assert span is not None
        assert [leg.name for leg in span.legs] == ["tools/call", "tools/call"]
        assert {leg.parent_id for leg in span.legs} == {span.span_id}
        assert told(up) == [(leg.traceparent, leg.traceparent) for leg in span.legs]


@pytest.mark.parametrize(("name", "error"), [("fail", "tool_error"), ("no_such_tool", "-32602")])
async def test_a_leg_says_how_the_server_failed(name: str, error: str):
    async with FakeServer() as up, bench({"up": up.url}, sampler=ALWAYS) as over:
        await over.run(tool(name))
        assert over.call.span is not None
        assert [leg.error for leg in over.call.span.legs] == [error]


async def test_a_server_that_is_not_there_leaves_a_leg_that_says_so():
    async with FakeServer() as up:
        url = up.url
    async with bench({"up": url}, sampler=ALWAYS, attempts=1) as over:
        with pytest.raises(errors.UpstreamUnavailable):
            await over.run(tool("echo", text="x"))
        assert over.call.span is not None


async def test_the_parts_of_a_call_to_several_servers_are_legs_of_one_trace():
    async with FakeServer() as one, FakeServer("legacy") as other:
        async with bench({"one": one.url, "other": other.url}, sampler=ALWAYS) as over:
            await over.run(request("tools/list"))
            span = over.call.span
            assert span is not None
            assert {leg.trace_id for leg in span.legs} == {span.trace_id}
            assert len(span.legs) == 2


@pytest.mark.covers("B-314")
async def test_what_goes_on_with_a_held_call_is_in_the_trace_of_the_retry_and_linked_to_the_first():
    async with FakeServer("legacy") as up, bench({"up": up.url}, sampler=Sampler(1.0)) as over:
        asked = asking("ask_elicitation")
        result = await over.result(asked)
        first = over.call.span
        assert first is not None
        assert [leg.ended for leg in first.legs] == [0.0], "it goes on"
        await answered(over, asked, result, BO)
        again = over.call.span
        assert again is not None
        (leg,) = again.legs
        assert (leg.link, leg.error) == (first.traceparent, "")
        assert again.started <= leg.started <= leg.ended
        assert again.trace_id != first.trace_id


@pytest.mark.covers("B-304")
@pytest.mark.parametrize(("name", "fault"), [("echo", ""), ("fail", "tool_error"), ("no such tool", "-32602")])
async def test_a_call_knows_what_its_server_found_wrong_and_how_long_it_took(name: str, fault: str):
    async with FakeServer() as up, bench({"up": up.url}) as over:
        await over.run(tool(name, text="x"))
        assert over.call.fault == fault
        assert 0 < over.call.waited < 10
