"""Who may call the HTTP face at all: Host, Origin and what browsers can send (reliability reference, OR-1 to OR-8)."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from mcp_sidecar.settings import HttpSettings, ListenSettings
from tests.inbound.http.posts import exchanged, headers_of, message, post, written
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.sidecar import ON_ANY_PORT, Sidecar

CALL = message()

FOREIGN_ORIGINS = [
    "http://evil.example",
    "null",
    "http://LOCALHOST",
    "HTTP://LOCALHOST",
    "http://localhost.",
    "http://user@localhost",
    "http://localhost@evil.example",
    "http://localhost.evil.example",
    "http://127.0.0.1.nip.io",
    "http://127.0.0.1:",
    "http://127.0.0.2",
    "http://2130706433",
    "http://[::ffff:127.0.0.1]",
    "http://[::1",
    "http://localhost/",
    "http://localhost#x",
    "http://localhost:80:80",
    "http://local\thost",
    "file://",
    "chrome-extension://localhost",
    "ws://localhost",
    "localhost",
    "http://localhost, http://localhost",
    "",
]


@pytest.mark.covers("B-43")
@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
async def test_a_foreign_origin_is_refused(origin):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), CALL, origin=origin)
        assert answer.status == 403
        assert answer.headers["mcp-sidecar-execution"] == "none"
        assert up.connections == 0


@pytest.mark.covers("B-43")
@pytest.mark.parametrize(
    "origin", [None, "http://localhost", "http://localhost:3000", "https://127.0.0.1", "http://[::1]:1"]
)
async def test_no_origin_and_those_of_this_machine_are_welcome(origin):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), CALL, origin=origin)
        assert answer.facts == (200, None)


@pytest.mark.covers("B-43")
@pytest.mark.parametrize("second", ["http://evil.example", "null"])
async def test_a_second_origin_cannot_hide_behind_a_good_one(second):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        pairs = [*headers_of(CALL), ("origin", "http://localhost"), ("origin", second)]
        assert (await post(sidecar.url("up"), CALL, pairs)).status == 403
        assert up.connections == 0


@pytest.mark.covers("B-43")
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "localhost.",
        "127.0.0.1.nip.io",
        "[::1]x",
        "",
        "a:b",
    ],
)
async def test_a_foreign_host_is_refused(host):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        sent = written(sidecar.url("up"), CALL, headers_of(CALL), host=host)
        assert (await exchanged(sidecar.url("up"), sent)).status == 403
        assert up.connections == 0


@pytest.mark.covers("B-43")
@pytest.mark.parametrize("host", ["localhost", "LocalHost:1", "127.0.0.1:15080", "[::1]:15080"])
async def test_the_names_of_this_machine_are_hosts_of_ours(host):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        sent = written(sidecar.url("up"), CALL, headers_of(CALL), host=host)
        assert (await exchanged(sidecar.url("up"), sent)).facts == (200, None)


@pytest.mark.covers("B-43")
@pytest.mark.parametrize(("allowed", "status"), [("app.test", 200), ("*", 200), ("other.test", 403)])
async def test_the_settings_can_allow_more_hosts_and_origins(allowed, status):
    allow_origin = allowed if allowed == "*" else f"https://{allowed}"
    http = HttpSettings(allowed_hosts=(allowed,), allowed_origins=(allow_origin,))
    async with FakeServer() as up, Sidecar({"up": up.url}, http=http) as sidecar:
        sent = written(sidecar.url("up"), CALL, headers_of(CALL), host="app.test")
        assert (await exchanged(sidecar.url("up"), sent)).status == status
        assert (await post(sidecar.url("up"), CALL, origin="https://app.test")).status == status
        # What is allowed is the origin and nothing that begins or ends like it.
        if allowed != "*":
            assert (await post(sidecar.url("up"), CALL, origin="https://app.test.evil.example")).status == 403


@pytest.mark.covers("B-43")
@pytest.mark.parametrize(
    ("host", "origin", "line"),
    [
        ("localhost", None, b"HTTP/1.1 200 OK"),
        ("evil.example", None, b"HTTP/1.1 403 Forbidden"),
        ("localhost", "http://evil.example", b"HTTP/1.1 403 Forbidden"),
    ],
)
async def test_over_a_unix_socket_the_same_rules_hold(tmp_path, host, origin, line):
    listen = dataclasses.replace(ON_ANY_PORT, http=f"unix://{tmp_path}/http")
    async with FakeServer() as up, Sidecar({"up": up.url}, listen=listen) as sidecar:
        assert sidecar.address("http") == f"unix://{tmp_path}/http"
        reader, writer = await asyncio.open_unix_connection(tmp_path / "http")
        sent = written("http://x/mcp", CALL, [*headers_of(CALL, origin=origin), ("Connection", "close")], host=host)
        writer.write(sent)
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(line)
        writer.close()
        await writer.wait_closed()


@pytest.mark.covers("B-42", "B-43")
async def test_a_page_elsewhere_gets_no_permission_to_read():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        preflight = {"Origin": "http://localhost", "Access-Control-Request-Method": "POST"}
        asked = await raw_http.request("OPTIONS", sidecar.url("up"), headers=preflight)
        assert asked.status == 405
        answer = await post(sidecar.url("up"), CALL, origin="http://localhost")
        said = [name for name in (*asked.headers, *answer.headers) if name.startswith("access-control-")]
        assert said == []


@pytest.mark.covers("B-42", "B-43")
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None]
)
async def test_what_a_page_can_post_without_asking_is_refused(kind):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        assert (await post(sidecar.url("up"), CALL, content_type=kind)).status == 415
        assert up.connections == 0


def test_by_default_only_this_machine_reaches_the_api():
    listen = ListenSettings()
    assert listen.http.startswith("127.0.0.1:")
    assert all(address.startswith("127.0.0.1:") for address in listen.grpc)


async def test_the_probe_port_changes_nothing_and_tells_no_secret(tmp_path):
    secret = tmp_path / "token"
    secret.write_text("canary-7f3a")
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        where = f"http://{sidecar.address('metrics')}"
        for verb in ("POST", "PUT", "DELETE", "PATCH"):
            for path in ("/metrics", "/api/drain", "/mcp", "/"):
                assert (await raw_http.request(verb, where + path)).status == 405
        for path in ("/metrics", "/livez", "/readyz", "/startupz"):
            assert up.url.encode() not in (await raw_http.request("GET", where + path)).body
        assert (await raw_http.request("GET", where + "/api/drain")).status == 404
