"""Config and findings as one set of upstreams: `mcp_sidecar.discovery.blend`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.directory import AnyEndpoint, Endpoint, Upstream, configured, gone, is_name, renewed, served
from mcp_sidecar.discovery.blend import Blend, blend
from mcp_sidecar.discovery.source import Address, Found
from mcp_sidecar.settings import UpstreamAuthSettings, UpstreamSettings

NO_AUTH = UpstreamAuthSettings()
A, B, C = (Address(f"10.0.0.{number}", 8080) for number in (1, 2, 3))
EMPTY = Blend()


def one(name: str, *ready: Address, leaving: tuple[Address, ...] = (), **more: object) -> Found:
    facts = {"transport": "http", "secure": False, "path": "/mcp", "authority": "w.tools.svc:8080", **more}
    return Found(name=name, ready=ready, leaving=leaving, origin="Service tools/w", **facts)  # type: ignore[arg-type]


def addresses(endpoints: tuple[AnyEndpoint, ...]) -> list[str]:
    return [endpoint.address for endpoint in endpoints]


def test_what_was_found_becomes_an_upstream_with_default_settings():
    made = blend(EMPTY, (), [one("w", A, B, leaving=(C,))], NO_AUTH).upstreams["w"]
    assert addresses(made.endpoints) == ["10.0.0.1:8080", "10.0.0.2:8080"]
    assert addresses(made.leaving) == ["10.0.0.3:8080"]
    assert made.settings == UpstreamSettings("w", "http://w.tools.svc:8080/mcp")
    assert made.origin == "Service tools/w"


@pytest.mark.parametrize(
    ("transport", "secure", "scheme", "protocol"),
    [("http", True, "https", "auto"), ("sse", False, "sse+http", "sse"), ("sse", True, "sse+https", "sse")],
)
def test_the_transport_is_that_of_the_endpoint(transport, secure, scheme, protocol):
    made = blend(EMPTY, (), [one("w", A, transport=transport, secure=secure)], NO_AUTH).upstreams["w"]
    (endpoint,) = made.endpoints
    assert isinstance(endpoint, Endpoint)
    assert (endpoint.scheme, endpoint.name, made.settings.protocol) == (scheme, "w.tools.svc", protocol)


def test_those_that_only_discovery_knows_are_shown_the_token_for_them():
    auth = UpstreamAuthSettings(bearer_file="/var/run/secrets/token")
    assert blend(EMPTY, (), [one("w", A)], auth).upstreams["w"].settings.auth == auth


@pytest.mark.covers("B-221")
def test_the_configuration_comes_first_and_wins_on_a_name():
    ours = configured(UpstreamSettings("w", "http://ours/mcp"))
    made = blend(EMPTY, (ours,), [one("z", B), one("w", A), one("a", C)], NO_AUTH)
    assert list(made.upstreams) == ["w", "a", "z"]
    assert made.upstreams["w"] is ours
    assert made.shadowed == {"w"}


@pytest.mark.covers("B-230")
def test_a_configured_upstream_without_an_address_is_filled_in_and_keeps_its_settings():
    settings = UpstreamSettings("w", "https://w.tools.svc/mcp", "2026-07-28")
    made = blend(EMPTY, (Upstream("w", settings, ()),), [one("w", A, B)], NO_AUTH)
    assert made.upstreams["w"].settings is settings
    assert len(made.upstreams["w"].endpoints) == 2
    assert not made.shadowed
    lost = blend(made, (Upstream("w", settings, ()),), [], NO_AUTH)
    assert lost.upstreams["w"].endpoints == ()


def test_an_address_that_stays_keeps_its_endpoint_also_when_it_begins_to_leave():
    before = blend(EMPTY, (), [one("w", A, B)], NO_AUTH)
    after = blend(before, (), [one("w", B, C, leaving=(A, B))], NO_AUTH)
    (a, b), upstream = before.upstreams["w"].endpoints, after.upstreams["w"]
    assert upstream.leaving == (a,)
    assert upstream.endpoints[0] is b
    assert gone(before.upstreams, after.upstreams) == []


@pytest.mark.parametrize("other", [{"path": "/other"}, {"authority": "x"}, {"secure": True}, {"transport": "sse"}])
def test_an_address_that_is_reached_in_another_way_is_another_endpoint(other):
    before = blend(EMPTY, (), [one("w", A)], NO_AUTH)
    after = blend(before, (), [one("w", A, **other)], NO_AUTH)
    assert gone(before.upstreams, after.upstreams) == list(before.upstreams["w"].endpoints)


def test_what_did_not_change_stays_the_same_object():
    before = blend(EMPTY, (), [one("w", A), one("x", B)], NO_AUTH)
    after = blend(before, (), [one("x", B, C), one("w", A)], NO_AUTH)
    assert after.upstreams["w"] is before.upstreams["w"]
    assert after.upstreams["x"] is not before.upstreams["x"]


finds = st.dictionaries(
    st.sampled_from("abcd"), st.tuples(st.sets(st.sampled_from((A, B, C))), st.sets(st.sampled_from((A, B, C))))
)


@given(st.lists(finds, min_size=1, max_size=6))
def test_any_chain_of_findings_ends_where_the_last_one_alone_would(chain):
    now, ever = EMPTY, EMPTY
    for step in chain:
        found = [one(name, *sorted(ready, key=str), leaving=tuple(leaving)) for name, (ready, leaving) in step.items()]
        ever, now = now, blend(now, (), found, NO_AUTH)
    fresh = blend(EMPTY, (), found, NO_AUTH)
    for name, upstream in fresh.upstreams.items():
        mine = now.upstreams[name]
        assert addresses(mine.endpoints) == addresses(upstream.endpoints)
        assert set(addresses(mine.leaving)) == set(addresses(upstream.leaving))
        assert set(addresses(mine.endpoints)).isdisjoint(addresses(mine.leaving))
    assert list(now.upstreams) == sorted(step)
    kept = {endpoint for upstream in now.upstreams.values() for endpoint in upstream.all}
    known = {endpoint for upstream in ever.upstreams.values() for endpoint in upstream.all}
    assert set(gone(ever.upstreams, now.upstreams)) == known - kept


def test_an_endpoint_more_may_offer_something_else_and_one_less_may_not():
    small = blend(EMPTY, (), [one("w", A)], NO_AUTH)
    large = blend(small, (), [one("w", A, B)], NO_AUTH)
    assert renewed(small.upstreams, large.upstreams) == ["w"]
    assert renewed(large.upstreams, blend(large, (), [one("w", A)], NO_AUTH).upstreams) == []
    assert renewed(large.upstreams, {}) == ["w"]


def test_served_are_those_that_have_an_endpoint_of_either_kind():
    made = blend(EMPTY, (), [one("a", A), one("b", leaving=(A,)), one("c")], NO_AUTH)
    assert served(made.upstreams) == {"a", "b"}


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://weather.tools.svc:8080/mcp", True),
        ("http://localhost/mcp", True),
        ("sse+http://weather/sse", True),
        ("http://127.0.0.1:80/mcp", False),
        ("http://[::1]/mcp", False),
        ("grpc://weather:15051/x", False),
    ],
)
def test_names_are_looked_up_and_addresses_and_grpc_are_not(url, named):
    assert is_name(configured(UpstreamSettings("w", url)).endpoints[0]) is named
    assert not is_name(configured(UpstreamSettings("w", command=("x",))).endpoints[0])
