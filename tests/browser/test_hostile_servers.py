"""What servers say of themselves at its worst: the page keeps its shape, and one server spoils nothing of another."""

from __future__ import annotations

import json

import pytest

from tests.browser.test_admin_page import ACTS, SHOTS, chosen, opened
from tests.inbound.http.posts import message, post
from tests.support.browser import ENTER
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

LONG = "x" * 3000
UNSPEAKABLE = {"toString": None, "valueOf": None}
"""A value that a script fails to make text of."""
OPTIONAL = {
    "$defs": {
        "Colour": {"type": "string", "enum": ["red", "green"]},
        "Tree": {"type": "object", "properties": {"child": {"$ref": "#/$defs/Tree"}}},
        "Round": {"$ref": "#/$defs/Round"},
        "with space": {"type": "string", "enum": ["p"]},
    },
    "type": "object",
    "required": ["colour"],
    "properties": {
        "text": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "description": "or nothing"},
        "colour": {"$ref": "#/$defs/Colour"},
        "often": {"anyOf": [{"type": "integer", "maximum": 9}, {"type": "null"}], "default": 3},
        "only": {"const": "this"},
        "tree": {"$ref": "#/$defs/Tree"},
        "round": {"$ref": "#/$defs/Round"},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "elsewhere": {"$ref": "http://127.0.0.1:9/schema.json"},
        "anything": True,
        "spaced": {"$ref": "#/$defs/with%20space"},
        "inherited": {"allOf": [{"$ref": "#/$defs/Colour"}], "default": "green"},
        "titled": {"type": "string", "oneOf": [{"const": "x", "title": "The X"}, {"const": "y"}]},
        "single": {"anyOf": [{"const": 7}, {"type": "null"}]},
    },
}
"""What Python's servers make of optional arguments, enumerations and models."""


@pytest.mark.covers("B-390")
async def test_a_server_whose_tools_are_no_tools_hides_those_of_no_other():
    async with FakeServer() as up, FakeServer() as bad:
        hint = {"default": UNSPEAKABLE, "minimum": UNSPEAKABLE, "format": UNSPEAKABLE, "description": UNSPEAKABLE}
        properties = {"a": {"type": "string", **hint}, "b": {"type": UNSPEAKABLE}, "c": {"enum": [UNSPEAKABLE]}}
        schema = {"type": "object", "properties": properties, "required": UNSPEAKABLE}
        odd = {"title": UNSPEAKABLE, "description": UNSPEAKABLE, "annotations": [None], "inputSchema": schema}
        bad.catalogue.tools[:] = [{"name": "odd", **odd}, {"name": "bare"}, {"name": "wrong", "inputSchema": [7]}]
        async with Sidecar({"bad": bad.url, "up": up.url}, admin=ACTS) as sidecar, opened(sidecar) as window:
            await chosen(window, "echo")
            for tool in ("odd", "bare", "wrong"):
                await chosen(window, tool)
                assert f"bad / {tool}" in await window.text("#tool-detail")
            await window.fill("#tool-filter", "ech")
            await window.until("document.querySelectorAll('#tool-list button').length === 1")


@pytest.mark.covers("B-390")
@pytest.mark.parametrize("width", [1320, 320])
async def test_long_and_reversing_names_do_not_stretch_the_page(width):
    async with FakeServer() as up:
        schema = {"type": "object", "properties": {LONG: {"type": "string", "description": LONG, "enum": [LONG, "b"]}}}
        up.catalogue.tools[:] = [{"name": LONG, "description": LONG, "inputSchema": schema}]
        up.catalogue.tools.append({"name": "\u202egnorw", "inputSchema": schema})
        async with Sidecar({"up": up.url}, admin=ACTS) as sidecar, opened(sidecar, width=width) as window:
            await post(sidecar.url("up"), message(params={"name": LONG, "arguments": {}}))
            await window.until("document.querySelectorAll('#call-rows tr').length === 1")
            await chosen(window, LONG)
            assert await window.run("return document.documentElement.scrollWidth <= window.innerWidth")
            await window.screenshot(SHOTS / f"long-{width}.png")
            boxes = "[...document.querySelectorAll('.scroll')].every(one => one.scrollWidth <= one.clientWidth + 1)"
            assert width < 600 or await window.run(f"return {boxes}")  # a small table may be moved sideways in its box


@pytest.mark.covers("B-391")
async def test_optional_arguments_and_references_have_fields_as_plain_ones_have():
    async with FakeServer() as up:
        up.catalogue.tools.append({"name": "echo2", "inputSchema": OPTIONAL})
        async with Sidecar({"up": up.url}, admin=ACTS) as sidecar, opened(sidecar) as window:
            await chosen(window, "echo2")
            kinds = (
                "[...document.querySelectorAll('#tool-detail .field:not(.off) label + *')].map(one => one.localName)"
            )
            fields = ["input", "select", "input", "select", *["textarea"] * 5, *["select"] * 4]
            assert await window.run(f"return {kinds}") == fields
            options = "[...document.querySelector(arguments[0]).options].map(one => one.text)"
            found = [await window.run(f"return {options}", f"#argument-{number}") for number in (9, 10, 11, 12)]
            words = [["p"], ["red", "green"], ["The X", "y"], ["7"]]
            assert found == [["leave out", *one] for one in words]
            await window.run("document.querySelector('#argument-11').value = '1'")
            assert "or nothing" in await window.text("#argument-0-hint")
            choices = "[...document.querySelector('#argument-1').options].map(one => one.text)"
            assert await window.run(f"return {choices}") == ["choose …", "red", "green"]
            await window.fill("#argument-2", "10")
            await window.run("document.querySelector('#argument-1').value = '2'")
            await window.run("document.querySelector('#argument-0').focus()")
            await window.type("hi" + ENTER)
            assert "is more than 9" in await window.text("#argument-2-hint")
            await window.fill("#argument-2", "9")
            await window.press("#tool-detail", "as JSON")
            written = await window.run("return document.querySelector('#arguments-json').value")
            assert json.loads(written) == {
                "text": "hi",
                "colour": "green",
                "often": 9,
                "inherited": "green",
                "titled": "x",
            }


async def test_thousands_of_tools_can_be_listed_and_filtered():
    async with FakeServer() as up:
        up.catalogue.tools[:] = [{"name": f"tool-{number}", "inputSchema": {}} for number in range(5000)]
        async with Sidecar({"up": up.url}) as sidecar, opened(sidecar) as window:
            await window.until("document.querySelectorAll('#tool-list button').length === 5000")
            await window.fill("#tool-filter", "tool-4999")
            await window.until("document.querySelectorAll('#tool-list button').length === 1")
