"""What the log and the metrics call the requests of a 2025-era session, those without a request of MCP in them too."""

from __future__ import annotations

import json

import pytest

from tests.inbound.http.conversing import first, served
from tests.inbound.waiting import eventually
from tests.support import raw_http
from tests.support.raw_http import JSON_AND_EVENTS
from tests.support.sidecar import Sidecar

ASKED = {"name": "ask_elicitation", "arguments": {}}


async def pages_of(sidecar: Sidecar) -> str:
    return (await raw_http.request("GET", f"http://{sidecar.address('metrics')}/metrics", b"", {})).body.decode()


@pytest.mark.covers("B-136")
async def test_every_request_of_a_session_is_named_in_its_line():
    async with served("legacy", capabilities={"elicitation": {}}) as (up, sidecar, client):
        async with client.listening() as stream:
            await up.until(lambda up: up.streams == 1)
            up.push("notifications/tools/list_changed")
            await first(stream)
        async with client.opened("tools/call", ASKED) as stream:
            _, event = await first(stream)
            await client.answer(event.message["id"], {"action": "decline"})
            await up.until(lambda up: up.answers)
        await client.notify("notifications/roots/list_changed")
        await client.notify("notifications/acme")
        await client.close()
        named = {"initialize", "notifications/initialized", "tools/call", "session/answer", "notifications/acme"}
        named |= {"notifications/roots/list_changed", "session/stream", "session/end"}
        await eventually(lambda: named == {line["method"] for line in sidecar.calls()})
        assert {line["code"] for line in sidecar.calls()} == {"OK"}
        assert [line["server"] for line in sidecar.calls(method="session/end")] == ["up"]


@pytest.mark.covers("B-136")
async def test_a_batch_has_a_line_and_each_request_in_it_another():
    async with served("legacy", "2025-03-26") as (_, sidecar, client):
        parts = [json.loads(client.compose("ping")), json.loads(client.compose("tools/list"))]
        await raw_http.request("POST", client.url, json.dumps(parts).encode(), client.headers)
        await eventually(lambda: sidecar.calls(method="session/batch"))
        assert len(sidecar.calls(method="ping")) == len(sidecar.calls(method="tools/list")) == 1


@pytest.mark.covers("B-136")
async def test_what_is_refused_is_named_too_and_names_that_clients_make_up_share_one_series():
    async with served("legacy") as (_, sidecar, client):
        strange = {**JSON_AND_EVENTS, "Mcp-Session-Id": "nobody's"}
        assert (await raw_http.request("GET", client.url, b"", strange)).status == 404
        assert (await raw_http.request("DELETE", client.url, b"", strange)).status == 404
        for number in range(20):
            await client.notify(f"notifications/made/up/{number}")
        await eventually(lambda: len(sidecar.calls(code="NOT_FOUND")) == 2)
        assert {line["method"] for line in sidecar.calls(code="NOT_FOUND")} == {"session/stream", "session/end"}
        page = await pages_of(sidecar)
        assert 'method="session/stream"' in page and 'method="_OTHER"' in page
        assert "made/up" not in page


@pytest.mark.covers("B-421")
@pytest.mark.parametrize("verb", ["GET", "DELETE"])
async def test_a_request_for_a_path_that_is_not_there_is_not_taken_for_one_of_a_session(verb):
    async with served("legacy") as (_, sidecar, _client):
        assert (await raw_http.request(verb, f"http://{sidecar.address('http')}/favicon.ico")).status == 404
        await eventually(lambda: sidecar.calls(code="NOT_FOUND"))
        assert [line["method"] for line in sidecar.calls(code="NOT_FOUND")] == [""]
