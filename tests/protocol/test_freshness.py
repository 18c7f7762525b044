"""Caching hints of results: `protocol.freshness`."""

from __future__ import annotations

import pytest

from mcp_sidecar.protocol import freshness


@pytest.mark.parametrize(
    ("ttl", "ms"),
    [
        (b"1500", 1500),
        (b"1500.9", 1500),
        (b"0", 0),
        (b"-1", 0),
        (b'"60"', 0),
        (b"null", 0),
        (b"99999999999", freshness.LONGEST_MS),
        (None, 0),
    ],
)
def test_what_makes_no_sense_is_out_of_date_at_once(ttl: bytes | None, ms: int):
    assert freshness.read({} if ttl is None else {"ttlMs": ttl}).ttl_ms == ms


@pytest.mark.parametrize(
    ("scope", "private"), [(b'"public"', False), (b'"private"', True), (b'""', True), (None, True)]
)
def test_only_what_says_so_is_public(scope: bytes | None, private: bool):
    assert freshness.read({} if scope is None else {"cacheScope": scope}).private is private


def test_hints_are_read_as_they_were_written():
    assert freshness.read(freshness.hints(7, private=False)) == (7, False)
    assert freshness.without({"a": b"1", **freshness.hints(7, private=True)}) == {"a": b"1"}
