"""What is shown of words that others chose: `mcp_sidecar.shown`."""

from __future__ import annotations

import pytest

from mcp_sidecar.shown import shown_name, uri


@pytest.mark.covers("B-427")
@pytest.mark.parametrize(
    ("whole", "shown"),
    [
        ("https://x/y?token=canary", "https://x/y?…"),
        ("https://x/y#canary", "https://x/y#…"),
        ("https://x/y#canary?canary", "https://x/y#…"),
        ("https://x/y?canary\ncanary", "https://x/y?…"),
        ("memo:key?canary", "memo:key?…"),
        ("postgres://me:canary@db:5432/t", "postgres://…@db:5432/t"),
        ("postgres://me:can@ary@db/t?canary@x", "postgres://…@db/t?…"),
        ("https://x/people/me@x", "https://x/people/me@x"),
        ("file:///a/b", "file:///a/b"),
        ("", ""),
    ],
)
def test_of_a_uri_keys_are_not_shown(whole: str, shown: str):
    assert uri(whole) == shown
    assert shown_name("resources/read", whole) == shown


def test_names_that_are_no_uris_are_shown_as_they_are():
    assert shown_name("tools/call", "what?") == "what?"


@pytest.mark.covers("B-425")
def test_what_is_shown_is_short():
    assert shown_name("resources/read", f"x://{'u' * 4000}@host/{'p' * 4000}") == f"x://…@host/{'p' * 117}"
