"""Debian's Chromium, driven through chromedriver's HTTP; knows WebDriver and no page.

No library in between: WebDriver is JSON over HTTP, and a test needs ten of its words.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support import raw_http

SECONDS = 20.0
TAB, ENTER, SPACE, ESCAPE = "\ue004", "\ue007", " ", "\ue00c"
DELETE = "\ue017"
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_STARTED = re.compile(rb"started successfully on port (\d+)")
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    # Whatever the page or the browser would like to know of the world, there is only this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def missing() -> str:
    """What has to be installed before a browser can be driven, in one sentence; empty when nothing is missing."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if not absent:
        return ""
    return f"{' and '.join(absent)} not found: install Debian's packages chromium and chromium-driver"


class Browser:
    """One window; every method is one command to it."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def open(self, page: str) -> None:
        await self._tell("url", {"url": page})

    async def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns; it may `await`."""
        waiting = f"return (async function() {{ {script} }}).apply(null, arguments)"
        return await self._tell("execute/sync", {"script": waiting, "args": list(arguments)})

    async def text(self, css: str) -> str:
        """What an element shows; empty while there is none."""
        return str(await self.run("return document.querySelector(arguments[0])?.innerText ?? ''", css))

    async def until(self, script: str, *arguments: Any) -> Any:
        """The first true value of an expression. Raises `TimeoutError`, saying which."""
        try:
            async with asyncio.timeout(SECONDS):
                while not (found := await self.run(f"return {script}", *arguments)):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)  # what happens in a browser announces itself to nobody
                return found
        except TimeoutError as error:
            raise TimeoutError(f"never true: {script} {arguments}\n{await self.text('body')}") from error

    async def click(self, css: str) -> None:
        element = await self._tell("element", {"using": "css selector", "value": css})
        await self._tell(f"element/{element[_ELEMENT]}/click", {})

    async def press(self, css: str, words: str) -> None:
        """Press the button with these words inside an element."""
        buttons = "[...document.querySelector(arguments[0]).querySelectorAll('button')]"
        await self.run(f"{buttons}.find(one => one.textContent === arguments[1]).click()", css, words)

    async def type(self, text: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        pressed = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        await self._tell("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": pressed}]})

    async def fill(self, css: str, text: str) -> None:
        """Write into a field as a person does."""
        await self.run("const one = document.querySelector(arguments[0]); one.focus(); one.select?.()", css)
        await self.type(text)

    async def emulate(self, *, width: int = 1320, height: int = 900, dark: bool = False) -> None:
        """The size of the window, and what its owner prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self._cdp("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._cdp("Emulation.setEmulatedMedia", {"features": [scheme]})

    async def stop_scripts(self) -> None:
        """Run no script of any page that is opened from here on."""
        await self._cdp("Emulation.setScriptExecutionDisabled", {"value": True})

    async def before_each_page(self, script: str) -> None:
        """Run a script in every page that is opened from here on, before its own."""
        await self._cdp("Page.addScriptToEvaluateOnNewDocument", {"source": script})

    async def screenshot(self, place: Path) -> None:
        taken = await self._cdp("Page.captureScreenshot", {"format": "png"})
        _write(place, base64.b64decode(taken["data"]))

    async def complaints(self) -> list[str]:
        """What the console has said since the last time that is worse than information."""
        entries = await self._tell("se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in {"WARNING", "SEVERE"}]

    async def requested(self) -> list[str]:
        """The URLs that the page has asked for since the last time."""
        entries = await self._tell("se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in entries]
        return [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]

    async def end(self) -> None:
        await raw_http.request("DELETE", self._url)

    async def _cdp(self, command: str, params: dict[str, Any]) -> Any:
        return await self._tell("goog/cdp/execute", {"cmd": command, "params": params})

    async def _tell(self, command: str, params: dict[str, Any]) -> Any:
        return await _posted(f"{self._url}/{command}", params)


def _write(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


async def _posted(url: str, params: dict[str, Any]) -> Any:
    body = json.dumps(params).encode()
    reply = await raw_http.request("POST", url, body, {"Content-Type": "application/json"})
    value = json.loads(reply.body)["value"]
    assert reply.status == 200, f"{url}: {value['error']}: {value['message']}"
    return value


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser with an empty profile; it and its driver are gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        driver = await asyncio.create_subprocess_exec(
            "chromedriver",
            "--port=0",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
            start_new_session=True,
        )
        try:
            one = await _session(await _port(driver), profile)
            try:
                yield one
            finally:
                await one.end()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)  # the browser's processes are in the driver's group
            await driver.wait()


async def _port(driver: asyncio.subprocess.Process) -> int:
    assert driver.stdout is not None
    async with asyncio.timeout(SECONDS):
        while line := await driver.stdout.readline():
            if found := _STARTED.search(line):
                return int(found[1])
    raise AssertionError("chromedriver ended before it listened")


async def _session(port: int, profile: str) -> Browser:
    options = {
        "binary": shutil.which("chromium"),
        "args": [*_ARGUMENTS, f"--user-data-dir={profile}/profile"],
        "perfLoggingPrefs": {"enableNetwork": True},
    }
    wanted = {
        "browserName": "chrome",
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
    }
    url = f"http://127.0.0.1:{port}/session"
    started = await _posted(url, {"capabilities": {"alwaysMatch": wanted}})
    return Browser(f"{url}/{started['sessionId']}")
