"""How long a failing API server is left in peace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.kube.pace import Pace

ATTEMPTS = st.lists(st.tuples(st.integers(1, 3), st.floats(0, 1), st.booleans(), st.floats(0, 59)), max_size=40)


@pytest.mark.covers("B-204")
@given(ATTEMPTS)
def test_there_is_a_second_for_every_request_and_half_a_minute_is_the_most(
    attempts: list[tuple[int, float, bool, float]],
):
    luck = 0.0
    pace = Pace(lambda low, high: low + luck * (high - low))
    requests, waited = 0, 0.0
    for made, drawn, failed, lived in attempts:
        luck = drawn
        for _ in range(made):
            pace.request()
            requests += 1
        pace.lived(lived)
        delay = pace.wait(failed=failed)
        assert delay <= 30.0
        waited += delay
        assert waited >= requests - 1e-6


@pytest.mark.covers("B-204")
def test_only_a_healthy_minute_ends_a_row_of_failures():
    pace = Pace(lambda _low, high: high)
    for _ in range(8):
        pace.request()
        pace.wait()
    pace.lived(59.0)
    assert pace.wait() == 30.0
    pace.lived(60.0)
    assert pace.wait() == 0.8


@pytest.mark.covers("B-204")
def test_a_server_may_ask_for_more_time_but_not_for_ever():
    pace = Pace(lambda low, _high: low)
    assert pace.wait(45.0) == 45.0
    assert pace.wait(86_400.0) == 300.0


def test_after_health_the_next_watch_begins_soon_and_not_with_everybody_elses():
    assert Pace(lambda low, high: (low + high) / 2).wait(failed=False) == 0.4
