"""Which URIs a template may stand for: `protocol.uri_templates`."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.protocol.uri_templates import matches


@pytest.mark.parametrize(
    ("template", "uri", "fits"),
    [
        ("fake://item/{name}", "fake://item/x", True),
        ("fake://item/{name}", "fake://item/", True),  # an empty value
        ("fake://item/{name}", "fake://item/x/y", False),
        ("fake://item/{name}", "fake://other/x", False),
        ("file:///{+path}", "file:///a/b?c#d", True),
        ("db://{table}/{id}/row", "db://t/7/row", True),
        ("db://{table}/{id}/row", "db://t/7", False),
        ("a{/path*}", "a/b/c", True),
        ("a{/path*}", "a", True),
        ("a{?q,r}", "a?q=1&r=2", True),
        ("a{?q}", "ab", False),
        ("a{#part}", "a#x/y", True),
        ("a{.ext}", "a.tar.gz", True),
        ("plain://x", "plain://x", True),
        ("plain://x", "plain://xy", False),
        ("{x}", "a" * 4000, False),
        ("a{b", "a{b", True),
    ],
)
def test_a_template_fits_the_shape_of_a_uri(template: str, uri: str, fits: bool):
    assert matches(template, uri) is fits


@given(st.lists(st.text("ab", max_size=3), min_size=2, max_size=6), st.data())
def test_a_template_fits_what_it_expands_to(literals, data):
    values = data.draw(st.lists(st.text("ab", max_size=3), min_size=len(literals) - 1, max_size=len(literals) - 1))
    template = literals[0] + "".join(f"{{v{n}}}{literal}" for n, literal in enumerate(literals[1:]))
    uri = literals[0] + "".join(value + literal for value, literal in zip(values, literals[1:], strict=True))
    assert matches(template, uri)


def test_no_template_takes_long():
    began = time.process_time()
    assert not matches("{+a}x" * 300, "x" * 2000 + "y")
    assert time.process_time() - began < 5
