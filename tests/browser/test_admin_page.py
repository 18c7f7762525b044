"""The admin page as people see it, in Chromium: live, usable from the keyboard, quiet, and on this machine alone.

Screenshots are left in `build/screenshots` whether a test passes or fails.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mcp_sidecar.demo.server import serving
from mcp_sidecar.settings import AdminSettings, AuthSettings
from tests.admin.visiting import page
from tests.inbound.http.posts import message, post
from tests.support.browser import DELETE, ENTER, ESCAPE, SPACE, TAB, Browser, browser
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
ACTS = AdminSettings(actions=True, payloads=True)
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>"&gt;'
_FOCUSED = (
    "[document.activeElement].filter(one => one !== document.body).map(one =>"
    " [one.id || one.textContent.slice(0, 20), getComputedStyle(one).outlineStyle !== 'none'])[0]"
)
_CHOOSE = "[...document.querySelectorAll('#tool-list button')].find(one => one.textContent === arguments[0])"


@contextlib.asynccontextmanager
async def opened(sidecar: Sidecar, **look: Any) -> AsyncIterator[Browser]:
    """A browser that shows the page; when it ends, the console was silent and nothing but the sidecar was asked."""
    async with browser() as window:
        await window.emulate(**look)
        await window.requested()  # what the browser's own first page is made of
        await window.open(page(sidecar))
        yield window
        assert await window.complaints() == []
        wanted = {url for url in await window.requested() if not url.startswith(("data:", "chrome"))}
        assert {url for url in wanted if not url.startswith(page(sidecar))} == set()
        assert await window.run("return performance.getEntriesByType('resource').length") > 0


async def chosen(window: Browser, tool: str) -> None:
    await window.until(_CHOOSE, tool)
    await window.press("#tool-list", tool)


@pytest.mark.covers("B-335")
async def test_servers_and_a_call_appear_while_one_looks():
    async with FakeServer() as up, Sidecar({"up": up.url, "down": "http://127.0.0.1:9/mcp"}, admin=ACTS) as sidecar:
        async with opened(sidecar) as window:
            await window.until("document.querySelectorAll('#upstream-rows tr').length === 2")
            assert "No calls yet" in await window.text("#calls")
            await window.until("document.getElementById('live-text').textContent === 'live'")
            await post(sidecar.url("up"), message())
            await post(sidecar.url("down"), message())
            await window.until("document.querySelectorAll('#call-rows tr').length === 2")
            assert "UNAVAILABLE" in await window.text("#call-rows tr:first-child")
            await window.until("document.querySelector('#upstream-rows tr:nth-child(2) .dot').className === 'dot bad'")
            await window.until("document.querySelectorAll('#connection-rows tr').length === 1")
            await window.until(_CHOOSE, "echo")
            assert "cannot be reached" in await window.text("#tool-list")
            await window.screenshot(SHOTS / "light.png")


async def test_a_server_with_several_endpoints_has_a_row_for_each():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, opened(sidecar) as window:
        await post(sidecar.url("up"), message())
        await window.until("document.querySelectorAll('#call-rows tr').length === 1")
        # The state with another endpoint in it, handed to the module that shows it.
        seen = await window.run(
            "const state = await (await fetch('/api/state')).json();"
            "const [server] = state.servers;"
            "server.endpoints.push({...server.endpoints[0], address: '10.0.0.2:80', state: 'disconnected'});"
            "(await import('/static/upstreams.js')).showUpstreams(state);"
            "return [...document.querySelectorAll('#upstream-rows tr')].map(row => row.innerText)"
        )
        assert len(seen) == 3
        assert "2 endpoints" in seen[0]
        assert "10.0.0.2:80" in seen[2]
        await window.screenshot(SHOTS / "endpoints.png")


async def test_the_form_of_a_tool_calls_it_and_progress_is_live():
    async with serving(pace=0.2) as url, Sidecar({"demo": url}, admin=ACTS) as sidecar, opened(sidecar) as window:
        await chosen(window, "countdown")
        await window.fill("#argument-0", "many")
        await window.type(ENTER)
        await window.until("document.querySelector('#argument-0').ariaInvalid === 'true'")
        assert "is no whole number" in await window.text("#argument-0-hint")
        await window.fill("#argument-0", "6")
        await window.type(ENTER)
        await window.until("document.querySelector('#tool-detail progress')?.value > 0")
        assert "running" in await window.text("#tool-detail [role=status]")
        await window.screenshot(SHOTS / "progress.png")
        await window.until("document.querySelector('#tool-detail [role=status]').textContent.startsWith('done')")
        assert "counted down from 6" in await window.text("#tool-detail pre")
        assert await window.run("return document.querySelectorAll('.steps li').length") == 7
        await window.until("document.querySelector('#call-rows')?.innerText.includes('countdown')")


async def test_a_form_has_a_field_for_each_property_of_the_schema():
    async with serving() as url, Sidecar({"demo": url}, admin=ACTS) as sidecar, opened(sidecar) as window:
        await chosen(window, "forecast")
        await window.fill("#argument-0", "Oslo")
        assert await window.run("return document.querySelector('#argument-1').value") == "3"
        await window.fill("#argument-1", "9")
        await window.type(ENTER)
        await window.until("document.querySelector('#argument-1-hint').textContent.includes('is more than 7')")
        await window.press("#tool-detail", "as JSON")
        await window.run('document.querySelector(\'#arguments-json\').value = \'{"city": "Lima", "days": 1}\'')
        await window.run("document.querySelector('#tool-detail form').requestSubmit()")
        await window.until("document.querySelector('#tool-detail')?.innerText.includes('\"Lima\"')")


async def test_a_running_call_can_be_cancelled():
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar, opened(sidecar) as window:
        await chosen(window, "hold")
        await window.press("#tool-detail", "as JSON")
        await window.run("document.querySelector('#arguments-json').value = '{\"gate\": \"g\"}'")
        await window.run("document.querySelector('#tool-detail form').requestSubmit()")
        await window.until("document.querySelector('.steps li')?.textContent.includes('held')")
        await window.press("#tool-detail", "Cancel")
        await window.until("document.querySelector('#tool-detail [role=status]').textContent === 'cancelled'")
        await up.until(lambda server: server.cancelled)


async def test_calls_are_filtered_and_paused():
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar, opened(sidecar) as window:
        for name in ("echo", "echo", "add", "nothing"):
            arguments = {"a": 1, "b": 2} if name == "add" else {"text": "hi"}
            await post(sidecar.url("up"), message(params={"name": name, "arguments": arguments}))
        await window.until("document.querySelectorAll('#call-rows tr').length === 4")
        await window.fill("#call-filter", "ech tools/call")
        await window.until("document.querySelectorAll('#call-rows tr').length === 2")
        assert await window.text("#call-count") == "2 of 4"
        await window.fill("#call-filter", "zzz")
        await window.until("document.querySelector('#calls-empty').innerText === 'No call matches the filter.'")
        await window.fill("#call-filter", DELETE)
        await window.click("#call-pause")
        await post(sidecar.url("up"), message())
        await window.until("document.querySelector('#call-count').textContent === '4 of 4, 1 new'")
        await window.click("#call-pause")
        await window.until("document.querySelectorAll('#call-rows tr').length === 5")
        await post(sidecar.url("up"), message(params={"name": "fail", "arguments": {}}))
        await window.click("#call-failed")
        await window.until("document.querySelector('#call-rows')?.innerText.includes('tool error')")
        assert "fail" in await window.text("#call-rows")


@pytest.mark.covers("B-335")
async def test_everything_can_be_reached_and_done_with_the_keyboard():
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar, opened(sidecar) as window:
        await post(sidecar.url("up"), message())
        await window.until("document.querySelectorAll('#call-rows tr').length === 1")
        await window.until(_CHOOSE, "echo")
        await window.type(TAB)
        assert await window.run("return document.activeElement.className") == "skip"
        seen = []
        for _ in range(60):
            await window.type(TAB)
            one = await window.run(f"return {_FOCUSED}")
            if one is None:
                break  # once round
            seen.append(one)
        names = [name for name, _ in seen]
        fields = {"tool-filter", "tools-refresh", "call-filter", "call-failed", "call-pause"}
        assert {"Upstreams", "Close", "echo", *fields} <= set(names)
        assert [name for name, visible in seen if not visible] == []
        await window.run("document.querySelector('#call-rows button').focus()")
        await window.type(ENTER)
        await window.until("document.querySelector('#dialog').open")
        details = await window.text("#dialog")
        for fact in ("Request id", "Execution", "Timing", '"text": "hi"'):
            assert fact in details
        await window.screenshot(SHOTS / "detail.png")
        await window.type(ESCAPE)
        await window.until("document.activeElement === document.querySelector('#call-rows button')")
        await window.run("document.querySelector('#connection-rows button').focus()")
        await window.type(ENTER)
        await window.until("document.querySelector('#dialog')?.innerText.includes('Close connection c1')")
        await window.type(ESCAPE)
        await window.until("document.activeElement === document.querySelector('#connection-rows button')")
        await window.type(SPACE)
        await window.until("document.activeElement.textContent === 'Cancel'")
        await window.press("#dialog", "Close it")
        await window.until("document.querySelectorAll('#connection-rows tr').length === 0")


@pytest.mark.covers("B-335")
async def test_dark_and_small_screens_are_served_as_well():
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar, opened(sidecar, dark=True) as window:
        await post(sidecar.url("up"), message())
        await window.until("document.querySelectorAll('#call-rows tr').length === 1")
        dark = await window.run("return getComputedStyle(document.body).backgroundColor")
        await window.screenshot(SHOTS / "dark.png")
        await window.emulate(width=390, height=1400)
        assert await window.run("return getComputedStyle(document.body).backgroundColor") != dark
        await chosen(window, "echo")
        await window.screenshot(SHOTS / "phone.png")
        assert await window.run("return document.documentElement.scrollWidth <= window.innerWidth")
        boxes = "[...document.querySelectorAll('.scroll')].every(one => one.scrollWidth <= one.clientWidth + 1)"
        assert await window.run(f"return {boxes}")


@pytest.mark.covers("B-321")
async def test_names_that_look_like_markup_stay_names():
    async with FakeServer() as up:
        schema = {
            "type": "object",
            "properties": {HOSTILE: {"type": "string", "description": HOSTILE, "enum": [HOSTILE]}},
        }
        up.catalogue.tools.append({"name": HOSTILE, "title": HOSTILE, "description": HOSTILE, "inputSchema": schema})
        async with Sidecar({"up": up.url}, admin=ACTS) as sidecar, opened(sidecar) as window:
            await post(sidecar.url("up"), message(params={"name": HOSTILE, "arguments": {"text": HOSTILE}}))
            await window.until("document.querySelector('#call-rows')?.innerText.includes('onerror')")
            await chosen(window, HOSTILE)
            await window.run("document.querySelector('#call-rows button').click()")
            await window.until("document.querySelector('#dialog')?.innerText.includes('onerror')")
            assert await window.run("return [window.hacked, document.querySelectorAll('img').length]") == [None, 1]


async def test_a_token_is_asked_for_and_forgotten_by_a_reload(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("s3cret\n")
    auth = AuthSettings(mode="token", token_file=str(tokens))
    async with Sidecar({}, auth=auth) as sidecar, browser() as window:
        await window.open(page(sidecar))
        for token in ("wrong", "s3cret"):
            await window.until("document.querySelector('#dialog').open && document.activeElement.id === 'token'")
            await window.type(token + ENTER)
        await window.until("document.getElementById('live-text').textContent === 'live'")
        kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
        assert "s3cret" not in await window.run(f"return {kept}")
        await window.open(page(sidecar))
        await window.until("document.querySelector('#dialog').open")


@pytest.mark.covers("B-335")
async def test_the_page_says_that_the_sidecar_drains_and_is_gone_and_goes_on_with_the_next_one():
    async with browser() as window:
        async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar:
            await window.open(page(sidecar))
            await window.until("document.getElementById('live-text').textContent === 'live'")
            listen = sidecar.settings.listen
            where = sidecar.address("http")
            sidecar.stop()
            await window.until("document.getElementById('live-text').textContent !== 'live'")
            await sidecar.stopped()
        await window.until("document.getElementById('live-text').textContent.startsWith('not reachable')")
        async with Sidecar({}, listen=dataclasses.replace(listen, http=where)):
            await window.until("document.getElementById('live-text').textContent === 'live'")
            await window.until("!document.querySelector('#upstreams-empty').hidden")
