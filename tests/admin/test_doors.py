"""Who may see the page and use it: Host, Origin, tokens, addresses, and pages of others."""

from __future__ import annotations

import dataclasses

import pytest

from mcp_sidecar.settings import AdminSettings, AuthSettings, HttpSettings
from tests.admin.visiting import JSON, get, page, post
from tests.inbound.waiting import eventually
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.sidecar import ON_ANY_PORT, Sidecar

READS = ("/api/state", "/api/events", "/api/tools")
ACTS = AdminSettings(actions=True)
ECHO = {"server": "up", "tool": "echo", "arguments": {"text": "hi"}}


@pytest.mark.covers("B-323")
@pytest.mark.parametrize(
    "headers", [{"Host": "rebound.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]
)
async def test_other_hosts_and_origins_see_nothing(headers):
    async with Sidecar({}) as sidecar:
        for path in ("/", "/static/app.js", *READS):
            assert (await get(sidecar, path, headers)).status == 403


@pytest.mark.covers("B-420")
async def test_who_is_refused_the_page_for_host_or_origin_is_in_the_log():
    async with Sidecar({}) as sidecar:
        refused = await get(sidecar, "/", {"Host": "rebound.example"})
        await eventually(sidecar.calls)
        [line] = sidecar.calls()
        assert (line["code"], line["error"]) == ("PERMISSION_DENIED", refused.body.decode().strip())
        assert line["request_id"] == refused.headers["x-request-id"]


@pytest.mark.covers("B-323")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://127.0.0.1"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
async def test_a_page_of_another_program_on_this_machine_cannot_act(headers, status):
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar:
        for path in ("/api/call", "/api/connections/c1/close"):
            assert (await post(sidecar, path, ECHO, headers)).status == status
        assert up.executions == []
        own = {"Origin": f"http://{sidecar.address('http')}"}
        assert (await post(sidecar, "/api/call", ECHO, own)).status == 200


@pytest.mark.covers("B-323")
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_browser_that_says_it_asks_for_another_page_is_refused(site):
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar:
        headers = {"Sec-Fetch-Site": site}
        for path in READS:
            assert (await get(sidecar, path, headers)).status == 403
        assert (await post(sidecar, "/api/call", ECHO, headers)).status == 403
        assert (await get(sidecar, "/", headers)).status == 200  # a link may lead here
        assert up.requests == []


@pytest.mark.covers("B-323")
async def test_with_authentication_the_page_is_open_and_its_facts_need_the_token(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("s3cret\n")
    auth = AuthSettings(mode="token", token_file=str(tokens))
    async with FakeServer() as up, Sidecar({"up": up.url}, auth=auth, admin=ACTS) as sidecar:
        assert (await get(sidecar, "/")).status == 200
        for path in READS:
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                refused = await get(sidecar, path, headers)
                assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Bearer realm="mcp-sidecar"')
                assert "s3cret" not in refused.body.decode()
        assert (await post(sidecar, "/api/call", ECHO)).status == 401
        assert up.executions == []
        good = {"Authorization": "Bearer s3cret"}
        assert (await get(sidecar, "/api/state", good)).status == 200
        assert (await post(sidecar, "/api/call", ECHO, good)).status == 200
        lines = sidecar.calls(rpc="admin/state", code="UNAUTHENTICATED")
        assert len(lines) == 2


@pytest.mark.covers("B-322")
async def test_without_authentication_nothing_is_served_where_others_could_look_in():
    listen = dataclasses.replace(ON_ANY_PORT, http="0.0.0.0:0")
    async with FakeServer() as up, Sidecar({"up": up.url}, listen=listen, admin=ACTS) as sidecar:
        port = sidecar.address("http").rpartition(":")[2]
        for path in ("/", "/static/app.js", *READS, "/api/call", "/api/connections/c1/close"):
            refused = await raw_http.request("GET", f"http://127.0.0.1:{port}{path}")
            assert refused.status == 403
            assert b"auth.mode" in refused.body
        assert (await raw_http.request("POST", f"http://127.0.0.1:{port}/api/drain", b"{}", JSON)).status == 200


@pytest.mark.covers("B-322")
async def test_with_authentication_it_is_served_there_as_well(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("s3cret\n")
    listen = dataclasses.replace(ON_ANY_PORT, http="0.0.0.0:0")
    auth = AuthSettings(mode="token", token_file=str(tokens))
    async with Sidecar({}, listen=listen, auth=auth) as sidecar:
        port = sidecar.address("http").rpartition(":")[2]
        assert (await raw_http.request("GET", f"http://127.0.0.1:{port}/")).status == 200
        assert (await raw_http.request("GET", f"http://127.0.0.1:{port}/api/state")).status == 401


@pytest.mark.covers("B-399")
async def test_a_page_that_was_opened_by_an_allowed_name_may_act_and_pages_of_other_names_may_not():
    http = HttpSettings(allowed_hosts=("sidecar.test",))
    async with FakeServer() as up, Sidecar({"up": up.url}, http=http, admin=ACTS) as sidecar:
        port = sidecar.address("http").rpartition(":")[2]
        named = {"Host": f"sidecar.test:{port}"}
        for other in ("http://sidecar.test", f"http://evil.test:{port}", f"ftp://sidecar.test:{port}", "null", ""):
            assert (await post(sidecar, "/api/call", ECHO, named | {"Origin": other})).status == 403
        evil = {"Host": f"evil.test:{port}", "Origin": f"http://evil.test:{port}"}
        assert (await post(sidecar, "/api/call", ECHO, evil)).status == 403
        assert up.executions == []
        own = named | {"Origin": f"http://sidecar.test:{port}"}
        assert (await post(sidecar, "/api/call", ECHO, own)).status == 200
        body, mcp = b"{}", page(sidecar, "/servers/up/mcp")
        assert (await raw_http.request("POST", mcp, body, JSON | own)).status == 403  # MCP is for no web page


@pytest.mark.covers("B-399")
async def test_where_any_host_is_allowed_a_page_is_not_ours_because_it_says_so():
    http = HttpSettings(allowed_hosts=("*",))
    async with FakeServer() as up, Sidecar({"up": up.url}, http=http, admin=ACTS) as sidecar:
        rebound = {"Host": "rebound.example", "Origin": "http://rebound.example"}
        assert (await post(sidecar, "/api/call", ECHO, rebound)).status == 403
        assert up.executions == []


@pytest.mark.covers("B-326")
async def test_without_actions_the_page_looks_and_does_not_act():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        for path in ("/api/call", "/api/connections/c1/close"):
            refused = await post(sidecar, path, ECHO)
            assert refused.status == 403
            assert "admin.actions" in refused.messages[0]["error"]
        assert up.executions == []
        assert [line["code"] for line in sidecar.calls()] == ["PERMISSION_DENIED"] * 2
        reply = await raw_http.request("GET", page(sidecar, "/api/call"))
        assert (reply.status, reply.headers["allow"], reply.body) == (405, "POST", b"only POST\n")
