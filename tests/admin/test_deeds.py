"""Calling a tool and closing a connection from the page."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sidecar.settings import AdminSettings
from tests.admin.visiting import JSON, called, page, post, state_of
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

ACTS = AdminSettings(actions=True)
SECONDS = 20.0


@pytest.mark.covers("B-331")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_call_shows_its_progress_and_then_its_result(era):
    async with FakeServer(era=era) as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar:
        *before, last = await called(sidecar, "up", "progress", steps=3)
        steps = [event.message["params"]["progress"] for event in before if event.event == "progress"]
        assert steps == [1, 2, 3]
        assert last.event == "result"
        assert last.message["result"]["content"][0]["text"] == "3 steps"
        (line,) = sidecar.calls(rpc="admin/call")
        assert (line["method"], line["server"], line["name"], line["code"]) == ("tools/call", "up", "progress", "OK")
        assert last.message["request_id"] == line["request_id"]
        assert up.violations == []


@pytest.mark.covers("B-331")
async def test_progress_is_shown_while_the_call_runs_and_who_leaves_cancels_it():
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar, asyncio.timeout(SECONDS):
        body = b'{"server":"up","tool":"hold","arguments":{"gate":"g"}}'
        async with raw_http.opened("POST", page(sidecar, "/api/call"), body, JSON) as running:
            first = await anext(running.events())
            assert first.message["params"]["message"] == "held"
            assert up.cancelled == []
        await up.until(lambda server: server.cancelled)


@pytest.mark.covers("B-331")
async def test_failures_say_what_happened_and_whether_the_call_may_have_run():
    async with FakeServer() as up, Sidecar({"up": up.url, "down": "http://127.0.0.1:9/mcp"}, admin=ACTS) as sidecar:
        (tool_error,) = await called(sidecar, "up", "fail")
        assert tool_error.message["result"]["isError"] is True
        (refused,) = await called(sidecar, "up", "crash")
        assert (refused.event, refused.message["error"]["message"]) == ("result", "the tool crashed")
        (failed,) = await called(sidecar, "down", "echo", text="x")
        assert (failed.event, failed.message["execution"]) == ("failed", "none")
        assert failed.message["reason"] == "UPSTREAM_UNAVAILABLE"


@pytest.mark.covers("B-331")
async def test_numbers_of_arguments_and_results_keep_their_spelling():
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar:
        wish = b'{"server":"up","tool":"echo","arguments":{"text":"x","n":12345678901234567890.10}}'
        await post(sidecar, "/api/call", wish)
        assert b"12345678901234567890.10" in up.requests[-1].body


@pytest.mark.covers("B-331")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"server":"up"}',
        b'{"server":"","tool":"echo"}',
        b'{"server":"up","tool":""}',
        b'{"server":"up","tool":"echo","arguments":[]}',
        b'{"server":"up","tool":"echo","arguments":{"a":1,"a":2}}',
        b'{"server":"up","tool":"\xff"}',
        b'{"server":"up","tool":"echo","arguments":' + b"[" * 1000,
    ],
)
async def test_what_is_no_wish_is_refused(body):
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar:
        assert (await post(sidecar, "/api/call", body)).status == 400
        assert up.executions == []


@pytest.mark.covers("B-331")
async def test_an_unknown_server_is_not_found_and_a_draining_sidecar_calls_nothing():
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar:
        wish = {"server": "nobody", "tool": "echo", "arguments": {}}
        assert (await post(sidecar, "/api/call", wish)).status == 404
        await raw_http.request("POST", page(sidecar, "/api/drain"), b"{}")
        assert (await post(sidecar, "/api/call", {**wish, "server": "up"})).status == 503
        assert up.executions == []


@pytest.mark.covers("B-332")
async def test_a_connection_is_closed_and_the_next_call_opens_another():
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar:
        await called(sidecar, "up", "echo", text="x")
        (row,) = (await state_of(sidecar))["connections"]
        closed = await post(sidecar, f"/api/connections/{row['id']}/close", {})
        assert closed.messages == [{"id": row["id"], "state": "closed"}]
        await called(sidecar, "up", "echo", text="x")
        (line,) = sidecar.calls(rpc="admin/close")
        assert (line["name"], line["server"], line["code"]) == (row["id"], "up", "OK")
        again = await post(sidecar, f"/api/connections/{row['id']}/close", {})
        assert again.status == 404


@pytest.mark.covers("B-332")
@pytest.mark.parametrize("path", ["", "c1", "c1/open", "../close", "c%201/close"])
async def test_other_paths_below_connections_are_not_found(path):
    async with Sidecar({}, admin=ACTS) as sidecar:
        assert (await post(sidecar, f"/api/connections/{path}", {})).status == 404


@pytest.mark.covers("B-435")
async def test_a_connection_that_is_not_what_the_visitor_takes_it_for_stays_open():
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar:
        await called(sidecar, "up", "echo", text="hi")
        state = await state_of(sidecar)
        (row,) = state["connections"]
        path = f"/api/connections/{row['id']}/close"
        for aim in ({"process": "another"}, {"process": state["process"], "server": "other"}):
            refused = await post(sidecar, path, aim)
            assert refused.status == 404
        assert (await post(sidecar, path, [])).status == 400
        assert len((await state_of(sidecar))["connections"]) == 1
        assert (await post(sidecar, path, {"process": state["process"], "server": "up"})).status == 200
