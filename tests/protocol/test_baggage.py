"""What of a caller's baggage may go on: `mcp_sidecar.protocol.baggage`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.protocol.baggage import MOST_BYTES, NOTHING, Allowed

TENANT = Allowed(["tenant", "stage"])


@pytest.mark.covers("B-377")
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("tenant=7", "tenant=7"),
        ("user=ann,tenant=7", "tenant=7"),
        (" user=ann , tenant=7 ;ttl=1; sealed , stage = b ", "tenant=7 ;ttl=1; sealed,stage = b"),
        ("tenant=a,tenant=b", "tenant=a,tenant=b"),
        ("tenant=a=b/c:%20d", "tenant=a=b/c:%20d"),
        ("tenant=", "tenant="),
        ("Tenant=7", ""),
        ("tenants=7", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_members_that_are_named_go_on_as_they_are_written(text: str | None, kept: str):
    assert TENANT.of(text) == kept
    assert NOTHING.of(text) == ""


@pytest.mark.covers("B-378")
@pytest.mark.parametrize(
    "text",
    [
        "tenant", "=7", "tenant=7,", ",tenant=7", "tenant=7,,stage=b", "ten ant=7,tenant=7", "tenant=a b", 'tenant="7"',
        "tenant=a\\b", "tenant=é", "tenant=7\r\nx-evil: 1", "tenant=7\n", "tenant=7;", "tenant=7;=1", "tenant=7;p=a b",
        "x" * 300 + "=1,tenant=7", ",".join(f"k{number}=1" for number in range(64)) + ",tenant=7",
        "tenant=" + "7" * MOST_BYTES,
    ],
)  # fmt: skip
def test_of_a_list_that_is_malformed_or_too_long_nothing_goes_on(text: str):
    assert TENANT.of(text) == ""


@pytest.mark.covers("B-378")
@given(st.text())
def test_whatever_is_given_what_goes_on_is_fit_for_a_header_and_goes_on_again(text: str):
    for whole in (text, f"tenant={text}", f"tenant=7;{text}", f"{text},stage=1"):
        kept = TENANT.of(whole)
        assert kept.isascii() and not set("\r\n\0") & set(kept)
        assert TENANT.of(kept) == kept
