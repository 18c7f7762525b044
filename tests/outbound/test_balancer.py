"""Which endpoint a call goes to: `mcp_sidecar.outbound.balancer`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.directory import AnyEndpoint, Endpoint, Upstream
from mcp_sidecar.outbound.backoff import Backoff
from mcp_sidecar.outbound.balancer import Balancer
from mcp_sidecar.settings import UpstreamSettings

ONE_SECOND = Backoff(first=1.0, factor=2.0, draw=lambda low, high: 1.0)


def endpoints(count: int) -> tuple[Endpoint, ...]:
    return tuple(Endpoint("up", "http", f"10.0.0.{index}", 80, "up", "/mcp") for index in range(count))


def upstream(ready: tuple[AnyEndpoint, ...], leaving: tuple[AnyEndpoint, ...] = ()) -> Upstream:
    return Upstream("up", UpstreamSettings("up"), ready, leaving)


def balancer(busy: Mapping[AnyEndpoint, int] | None = None) -> Balancer:
    loads = busy or {}
    return Balancer(lambda endpoint: loads.get(endpoint, 0), random.Random(7), ONE_SECOND)


def test_of_two_the_less_busy_one_is_always_chosen():
    a, b = endpoints(2)
    chooser = balancer({a: 3, b: 1})
    assert {chooser.choose(upstream((a, b)), 0.0) for _ in range(50)} == {b}


def test_the_busiest_of_many_gets_nothing_and_the_others_their_share():
    many = endpoints(10)
    chooser = balancer({many[0]: 9})
    chosen = Counter(chooser.choose(upstream(many), 0.0) for _ in range(2000))
    assert chosen[many[0]] == 0
    assert set(chosen) == set(many[1:])
    assert max(chosen.values()) < 2 * min(chosen.values())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.data())
def test_whatever_is_broken_or_tried_a_choice_is_a_fresh_candidate_if_there_is_one(loads, data):
    ready = endpoints(len(loads))
    chooser = balancer(dict(zip(ready, loads, strict=True)))
    for endpoint in data.draw(st.sets(st.sampled_from(ready))):
        chooser.failed(endpoint, 0.0)
    tried = list(data.draw(st.sets(st.sampled_from(ready))))
    choice = chooser.choose(upstream(ready), 0.5, tried)
    fresh = [endpoint for endpoint in ready if endpoint not in tried]
    assert (choice in fresh) if fresh else (choice is None)
    sound = [endpoint for endpoint in fresh if not chooser.is_avoided(endpoint, 0.5)]
    assert not sound or choice in sound


def test_a_broken_endpoint_is_avoided_longer_every_time_and_forgiven_when_it_works():
    a, b = endpoints(2)
    chooser = balancer()
    chooser.failed(a, 0.0)
    chooser.failed(a, 0.1)  # failed together with the first
    assert chooser.is_avoided(a, 0.9) and not chooser.is_avoided(a, 1.0)
    chooser.failed(a, 1.0)
    assert chooser.is_avoided(a, 2.9) and not chooser.is_avoided(a, 3.0)
    assert chooser.choose(upstream((a, b)), 2.0) is b
    chooser.worked(a)
    assert not chooser.is_avoided(a, 2.0)


def test_when_all_are_broken_one_is_tried_all_the_same():
    both = endpoints(2)
    chooser = balancer()
    for endpoint in both:
        chooser.failed(endpoint, 0.0)
    assert {chooser.choose(upstream(both), 0.5) for _ in range(50)} == set(both)


@pytest.mark.covers("B-226")
def test_a_session_stays_at_its_home_until_that_serves_no_sessions_or_was_tried():
    a, b, c = endpoints(3)
    chooser = balancer({a: 50})
    assert chooser.choose(upstream((a, b)), 0.0, home=a) is a
    assert chooser.choose(upstream((b,), (a,)), 0.0, home=a) is a
    assert chooser.choose(upstream((b,)), 0.0, home=a) is b
    assert chooser.choose(upstream((a, b)), 0.0, (a,), home=a) is b
    assert chooser.choose(upstream((b,), (c,)), 0.0, home=a) is b


def test_those_that_are_leaving_get_calls_only_when_nobody_else_is_there():
    a, b = endpoints(2)
    assert {balancer().choose(upstream((a,), (b,)), 0.0) for _ in range(20)} == {a}
    assert balancer().choose(upstream((), (b,)), 0.0) is b
    assert balancer().choose(upstream(()), 0.0) is None


def test_nothing_is_kept_of_endpoints_that_are_gone():
    chooser = balancer()
    for endpoint in endpoints(250):
        chooser.failed(endpoint, 0.0)
        chooser.retire(endpoint)
    assert not chooser.broken
