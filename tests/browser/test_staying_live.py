"""The page over time: drains, other tabs, sidecars that fall silent or come back, and where the focus is meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import pytest

from mcp_sidecar.admin.feed import MOST_READERS
from mcp_sidecar.settings import AdminSettings, DrainSettings
from tests.admin.visiting import page, watching
from tests.browser.test_admin_page import ACTS, SHOTS, chosen, opened
from tests.inbound.http.posts import message, post
from tests.support.browser import ENTER, browser
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

LIVE = "document.getElementById('live-text').textContent === 'live'"
LIVE_TEXT = "document.getElementById('live-text').textContent"
HIDE = (
    "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
    "document.dispatchEvent(new Event('visibilitychange'))"
)
SPED_UP = "const real = window.setTimeout; window.setTimeout = (then, wait) => real(then, wait / 100)"


@pytest.mark.covers("B-392")
async def test_a_drain_is_shown_for_as_long_as_it_takes():
    drain = DrainSettings(lame_duck=0.1, grace=60.0)
    async with FakeServer() as up, Sidecar({"up": up.url}, drain=drain, admin=ACTS) as sidecar:
        async with browser() as window, asyncio.TaskGroup() as tasks:
            await window.open(page(sidecar))
            await window.until(LIVE)
            hold = {"name": "hold", "arguments": {"gate": "g"}}
            held = tasks.create_task(post(sidecar.url("up"), message(params=hold)))
            await window.until("[...document.querySelectorAll('.tiles dd')][3].textContent === '1'")
            sidecar.stop()
            await window.until(f"{LIVE_TEXT} === 'draining'")
            notice = "document.querySelector('#notice').innerText"
            await window.until(f"{notice}.startsWith('The sidecar is leaving (draining): 1 call in flight, at most')")
            await post(sidecar.url("up"), message())
            await window.until(f"{notice}.includes('Refused since: 1 call.')")
            assert not await window.run("return document.querySelector('#main').classList.contains('stale')")
            await window.screenshot(SHOTS / "draining.png")
            up.release("g")
            await held
        await sidecar.stopped()


@pytest.mark.covers("B-393")
async def test_a_tab_that_nobody_looks_at_takes_no_stream_and_is_up_to_date_when_looked_at():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, opened(sidecar) as window:
        await post(sidecar.url("up"), message())
        await window.until("document.querySelectorAll('#call-rows tr').length === 1")
        await window.run("window.row = document.querySelector('#call-rows tr')")
        await window.run(HIDE, True)
        await window.until(f"{LIVE_TEXT} === 'waiting to be looked at'")
        async with contextlib.AsyncExitStack() as others:
            for _ in range(MOST_READERS):
                await others.enter_async_context(watching(sidecar))  # its place is free
        await post(sidecar.url("up"), message())
        await window.run(HIDE, False)
        await window.until("document.querySelectorAll('#call-rows tr').length === 2")
        assert await window.run("return window.row === document.querySelectorAll('#call-rows tr')[1]")


@pytest.mark.covers("B-393")
async def test_among_too_many_readers_the_state_is_seen_all_the_same():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, contextlib.AsyncExitStack() as others:
        for _ in range(MOST_READERS):
            await others.enter_async_context(watching(sidecar))
        async with browser() as window:
            await window.open(page(sidecar))
            await window.until(f"{LIVE_TEXT}.startsWith('too many readers')")
            assert "up" in await window.text("#upstream-rows")
            await others.aclose()
            await window.until(LIVE)


@pytest.mark.covers("B-394")
async def test_a_stream_that_falls_silent_is_not_called_live():
    async with Sidecar({}) as sidecar, browser() as window:
        await window.before_each_page(SPED_UP)  # the sidecar's next sign of life comes too late then
        await window.open(page(sidecar))
        await window.until(f"{LIVE_TEXT} === 'not reachable, trying again'")
        await window.until(LIVE)


@pytest.mark.covers("B-395")
async def test_what_was_paused_stays_when_the_sidecar_starts_again():
    async with browser() as window, FakeServer() as up:
        async with Sidecar({"up": up.url}) as sidecar:
            await window.open(page(sidecar))
            await window.until(LIVE)
            for tool in ("echo", "nothing"):
                await post(sidecar.url("up"), message(params={"name": tool, "arguments": {}}))
            await window.until("document.querySelectorAll('#call-rows tr').length === 2")
            await window.click("#call-pause")
            listen = dataclasses.replace(sidecar.settings.listen, http=sidecar.address("http"))
            sidecar.stop()
            await sidecar.stopped()
        async with Sidecar({"up": up.url}, listen=listen) as sidecar:
            await post(sidecar.url("up"), message(params={"name": "add", "arguments": {"a": 1, "b": 2}}))
            await window.until("document.querySelector('#call-count').textContent === '2 of 2, 1 new'")
            assert "nothing" in await window.text("#call-rows")
            await window.click("#call-pause")
            await window.until("document.querySelectorAll('#call-rows tr').length === 1")
            assert "add" in await window.text("#call-rows")


@pytest.mark.covers("B-396")
async def test_what_the_filter_found_is_read_out_and_the_calls_that_come_are_not():
    announced = "document.querySelector('#call-count').ariaLive"
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar, opened(sidecar) as window:
        await post(sidecar.url("up"), message())
        await window.until("document.querySelectorAll('#call-rows tr').length === 1")
        assert await window.run(f"return {announced}") == "off"
        await window.fill("#call-filter", "ech")
        assert await window.run(f"return {announced}") == "polite"


@pytest.mark.covers("B-396")
async def test_whoever_calls_a_tool_with_the_keyboard_keeps_the_place():
    focused = "document.activeElement.textContent"
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar, opened(sidecar) as window:
        await chosen(window, "hold")
        await window.press("#tool-detail", "as JSON")
        await window.run("document.querySelector('#arguments-json').value = '{\"gate\": \"g\"}'")
        await window.run("document.querySelector('#tool-detail button[type=submit]').focus()")
        await window.type(ENTER)
        await window.until("document.querySelector('.steps li')?.textContent.includes('held')")
        await window.type(ENTER)  # once is enough
        assert await window.run(f"return {focused}") == "Call"
        buttons = "[...document.querySelectorAll('#tool-detail button')]"
        await window.run(f"{buttons}.find(one => one.textContent === 'Cancel').focus()")
        await window.type(ENTER)
        await window.until("document.querySelector('#tool-detail [role=status]').textContent === 'cancelled'")
        await window.until(f"{focused} === 'Call'")
        assert len(up.executions) == 1
        await window.run("document.querySelector('#tools-refresh').focus()")
        await window.type(ENTER)
        await window.until("!document.querySelector('#tools-refresh').ariaDisabled")
        assert await window.run(f"return {focused}") == "Refresh"


async def test_without_scripts_the_page_says_where_the_same_is_to_be_had_and_shows_nothing_empty():
    async with Sidecar({}) as sidecar, browser() as window:
        await window.stop_scripts()
        await window.open(page(sidecar))
        shown = await window.text("body")
        assert "mcp-sidecar status --watch" in shown
        assert "No calls yet" not in shown
        assert "connecting" not in shown


@pytest.mark.covers("B-397")
async def test_the_details_of_a_call_say_why_there_are_no_payloads():
    for payloads in (False, True):
        async with FakeServer() as up, Sidecar({"up": up.url}, admin=AdminSettings(payloads=payloads)) as sidecar:
            async with opened(sidecar) as window:
                await post(sidecar.url("up"), message())
                await window.until("document.querySelectorAll('#call-rows tr').length === 1")
                await window.run("document.querySelector('#call-rows button').click()")
                assert ("admin.payloads: true" in await window.text("#dialog")) is not payloads
