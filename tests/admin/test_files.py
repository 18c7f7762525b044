"""The page's files: served with headers that let nothing else run, and free of what those headers forbid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mcp_sidecar.admin
from mcp_sidecar.settings import AdminSettings
from tests.admin.visiting import get, page
from tests.support import raw_http
from tests.support.sidecar import Sidecar

STATIC = Path(mcp_sidecar.admin.__file__).with_name("static")
FILES = sorted(STATIC.iterdir())
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@pytest.mark.covers("B-320")
async def test_every_file_is_served_with_its_type_and_a_policy_that_allows_the_sidecar_alone():
    async with Sidecar({}) as sidecar:
        for path in FILES:
            reply = await get(sidecar, "/" if path.name == "index.html" else f"/static/{path.name}")
            assert (reply.status, reply.body) == (200, path.read_bytes())
            assert reply.headers["content-type"].startswith(TYPES[path.suffix])
            policy = reply.headers["content-security-policy"].split("; ")
            assert policy[:5] == [
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "connect-src 'self'",
                "img-src 'self' data:",
            ]
            assert {"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} < set(policy)
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["referrer-policy"] == "no-referrer"


@pytest.mark.covers("B-320")
def test_nothing_inline_and_nothing_from_elsewhere_is_in_the_page():
    html = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))
    for path in FILES:
        found = re.findall(r"https?://[^\s\"')]+", path.read_text())
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path.name


@pytest.mark.covers("B-321")
def test_no_script_makes_markup_of_text():
    for path in STATIC.glob("*.js"):
        sinks = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc",
            path.read_text(),
        )
        assert sinks == [], path.name


@pytest.mark.covers("B-320", "B-422")
async def test_only_get_and_head_are_answered():
    async with Sidecar({}) as sidecar:
        async with raw_http.opened("HEAD", page(sidecar)) as head:
            assert head.status == 200
        for path in ("/", "/static/app.js", "/api/state"):
            reply = await raw_http.request("PUT", page(sidecar, path), b"x")
            assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
            assert reply.body == b"only GET and HEAD\n"


@pytest.mark.covers("B-320")
@pytest.mark.parametrize("path", ["/static/", "/static/../pages.py", "/static/%2e%2e/pages.py", "/index.html", "/api/"])
async def test_no_other_path_is_a_file(path):
    async with Sidecar({}) as sidecar:
        assert (await get(sidecar, path)).status in {404, 405}


@pytest.mark.covers("B-322")
async def test_a_page_that_is_switched_off_is_not_there():
    async with Sidecar({}, admin=AdminSettings(enabled=False)) as sidecar:
        for path in ("/", "/static/app.js", "/api/state", "/api/events"):
            assert (await get(sidecar, path)).status == 404
