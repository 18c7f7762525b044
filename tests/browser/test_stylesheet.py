"""The page's stylesheet, as the browser reads it: what it does not understand it leaves out without a word."""

from __future__ import annotations

import re

import pytest

from tests.admin.test_sources import STATIC
from tests.browser.test_admin_page import opened
from tests.support.sidecar import Sidecar

DECLARATION = re.compile(r"([a-z-]+)\s*:\s*([^;{}]+)")


def declared(css: str) -> list[list[str]]:
    """Every property with its value; variables and conditions of media are no properties."""
    blocks = re.findall(r"\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL))
    found = [list(one) for block in blocks for one in DECLARATION.findall(block)]
    return [[name, value.strip()] for name, value in found if not name.startswith("--")]


@pytest.mark.covers("B-398")
async def test_the_browser_understands_every_line_of_the_stylesheet():
    css = (STATIC / "style.css").read_text()
    async with Sidecar({}) as sidecar, opened(sidecar) as window:
        unknown = "arguments[0].filter(([name, value]) => !CSS.supports(name, value))"
        assert len(declared(css)) > 100
        assert await window.run(f"return {unknown}", declared(css)) == []
        kept = "[...document.styleSheets[0].cssRules].flatMap(one => [one, ...(one.media ? one.cssRules : [])]).length"
        assert await window.run(f"return {kept}") == len(re.findall(r"[^{}]+\{", re.sub(r"@keyframes.*", "@k {", css)))
