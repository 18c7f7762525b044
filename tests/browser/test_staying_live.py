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
from tests.support.raw_mcp import Modern
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


@pytest.mark.covers("B-435")
async def test_after_a_restart_the_page_shows_the_new_process_and_closes_no_connection_but_the_one_that_it_names():
    async with browser() as window, FakeServer() as up, FakeServer() as other:
        other.catalogue.tools[:] = [{"name": "another", "inputSchema": {"type": "object"}}]
        async with Sidecar({"beta": up.url}, admin=ACTS) as sidecar:
            await window.open(page(sidecar))
            await post(sidecar.url("beta"), message())
            await chosen(window, "echo")
            await window.until("document.querySelector('#connection-rows button')")
            await window.press("#connection-rows", "Close")
            await window.until("document.querySelector('#dialog').innerText.includes('Close connection c1 to beta?')")
            listen = dataclasses.replace(sidecar.settings.listen, http=sidecar.address("http"))
            sidecar.stop()
            await sidecar.stopped()
        async with Sidecar({"gamma": other.url}, listen=listen, admin=ACTS) as sidecar:
            await post(sidecar.url("gamma"), message(params={"name": "another", "arguments": {}}))
            await window.until("document.querySelector('#connection-rows').innerText.includes('gamma')")
            await window.press("#dialog", "Close it")
            await window.until("document.querySelector('#dialog').innerText.includes('c1 to beta was not closed')")
            await window.press("#dialog", "Close")
            await window.until("document.querySelector('#tool-list').innerText.includes('another')")
            assert "echo" not in await window.text("#tool-list")
            assert "beta" not in await window.text("#upstream-rows")
            assert "echo" not in await window.text("#call-rows")
            assert "beta does not offer echo any more" in await window.text("#tool-detail")
            await window.press("#connection-rows", "Close")
            await window.until("document.querySelector('#dialog').innerText.includes('Close connection c1 to gamma?')")
            await window.press("#dialog", "Close it")
            await window.until("document.querySelectorAll('#connection-rows tr').length === 0")


@pytest.mark.covers("B-436")
async def test_the_tools_of_a_server_are_there_while_others_hang():
    async with FakeServer() as up, FakeServer(script={"*": "never_answers"}) as hung:
        hanging = {f"hung{number}": hung.url for number in range(17)}
        async with Sidecar({**hanging, "up": up.url}) as sidecar, opened(sidecar) as window:
            await window.until("document.querySelector('#tool-list').innerText.includes('echo')")
            assert (await window.text("#tool-list")).count("asked, no answer yet") == 17


@pytest.mark.covers("B-437")
async def test_tools_that_come_and_go_are_listed_anew_and_what_was_typed_stays():
    listed = "document.querySelector('#tool-list').innerText"
    async with FakeServer() as up, Sidecar({"up": up.url}, admin=ACTS) as sidecar, opened(sidecar) as window:
        await chosen(window, "echo")
        await window.fill("#argument-0", "typed")
        wants = {"notifications": {"toolsListChanged": True}}
        async with Modern(sidecar.url("up")).opened("subscriptions/listen", wants) as heard:
            await anext(heard.events())
            up.catalogue.tools.append({"name": "brand_new", "inputSchema": {"type": "object"}})
            up.catalogue.tools[:] = [tool for tool in up.catalogue.tools if tool["name"] != "add"]
            up.push("notifications/tools/list_changed")
            await window.until(f"{listed}.includes('brand_new') && !{listed}.includes('add')")
            assert await window.run("return document.querySelector('#argument-0').value") == "typed"
            notice = "document.querySelector('#tool-detail .notice')"
            assert await window.run(f"return {notice}.hidden")
            (echo,) = [tool for tool in up.catalogue.tools if tool["name"] == "echo"]
            up.catalogue.tools[up.catalogue.tools.index(echo)] = {**echo, "description": "Says it again."}
            up.push("notifications/tools/list_changed")
            await window.until(f"{notice}.innerText.includes('in another way')")
            await window.press("#tool-detail", "Show it")
            assert "Says it again." in await window.text("#tool-detail")
            assert await window.run("return document.querySelector('#argument-0').value") == "typed"
