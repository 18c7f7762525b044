"""How long to wait after so many failures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.outbound.backoff import Backoff


def plain(low: float, high: float) -> float:
    return 1.0


@pytest.mark.parametrize(("failures", "seconds"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (10_000, 30.0)])
def test_the_wait_doubles_up_to_the_longest(failures: int, seconds: float):
    assert Backoff(draw=plain).delay(failures) == seconds


@given(st.integers(1, 10**9), st.floats(0.001, 10), st.floats(1, 4), st.floats(10, 100))
def test_the_wait_never_leaves_its_bounds(failures: int, first: float, factor: float, longest: float):
    delay = Backoff(first, factor, longest).delay(failures)
    assert 0.8 * first <= delay <= 1.2 * longest


def test_waits_are_spread_so_that_not_everybody_comes_back_at_once():
    assert len({Backoff().delay(3) for _ in range(20)}) > 10
