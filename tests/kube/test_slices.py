"""From EndpointSlices to instances."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.discovery.source import Address
from mcp_sidecar.kube import slices
from mcp_sidecar.kube.objects import Slice, read_slice
from mcp_sidecar.kube.slices import Instances, by_service, instances
from tests.kube.objects import endpoint, piece, port


def parsed(*pieces: dict[str, Any]) -> list[Slice]:
    return [read_slice(json.dumps(one).encode()) for one in pieces]


def of(*pieces: dict[str, Any], zone: str = "", name: str = "") -> Instances:
    return instances(by_service(parsed(*pieces)).get("weather", []), name, zone)


def hosts(addresses: tuple[Address, ...]) -> list[str]:
    return [address.host for address in addresses]


@pytest.mark.covers("B-201")
def test_an_endpoint_whose_readiness_is_not_said_is_ready():
    assert hosts(of(piece(endpoints=[endpoint("10.0.0.1", ready=None)])).ready) == ["10.0.0.1"]


@pytest.mark.covers("B-201")
def test_one_that_leaves_gets_no_new_sessions_while_another_is_ready():
    leaving = endpoint("10.0.0.2", ready=False, serving=True, terminating=True)
    gone = endpoint("10.0.0.3", ready=False, serving=False, terminating=True)
    unready = endpoint("10.0.0.4", ready=False, serving=False, terminating=False)
    found = of(piece(endpoints=[endpoint("10.0.0.1"), leaving, gone, unready]))
    assert (hosts(found.ready), hosts(found.leaving)) == (["10.0.0.1"], ["10.0.0.2"])


@pytest.mark.covers("B-201")
def test_those_that_leave_take_sessions_when_nobody_is_ready():
    leaving = endpoint("10.0.0.2", ready=False, serving=True, terminating=True)
    found = of(piece(endpoints=[leaving, endpoint("10.0.0.3", ready=False)]))
    assert (hosts(found.ready), hosts(found.leaving)) == (["10.0.0.2"], [])


@pytest.mark.covers("B-201")
def test_hints_count_when_all_have_them_and_one_is_for_us():
    both = [endpoint("10.0.0.1", zones=["a"]), endpoint("10.0.0.2", zones=["b"])]
    assert hosts(of(piece(endpoints=both), zone="a").ready) == ["10.0.0.1"]
    assert hosts(of(piece(endpoints=both), zone="a").leaving) == ["10.0.0.2"]  # it still serves
    assert len(of(piece(endpoints=both), zone="c").ready) == 2
    assert len(of(piece(endpoints=both)).ready) == 2
    assert len(of(piece(endpoints=[*both, endpoint("10.0.0.3")]), zone="a").ready) == 3


@pytest.mark.covers("B-201")
def test_slices_are_joined_and_the_newest_word_on_an_endpoint_counts():
    old = piece(name="a", endpoints=[endpoint("10.0.0.1"), endpoint("10.0.0.2")], version=7)
    new = piece(name="b", endpoints=[endpoint("10.0.0.2", ready=False), endpoint("10.0.0.3")], version=12)
    assert hosts(of(new, old).ready) == ["10.0.0.1", "10.0.0.3"]


@pytest.mark.covers("B-201")
def test_a_pod_of_both_families_is_one_instance():
    four = piece(name="4", endpoints=[endpoint("10.0.0.1", uid="p1")])
    six = piece(name="6", endpoints=[endpoint("fd00::1", uid="p1"), endpoint("fd00::2", uid="p2")], family="IPv6")
    assert hosts(of(six, four).ready) == hosts(of(four, six).ready) == ["10.0.0.1", "fd00::2"]


def test_names_in_the_place_of_addresses_are_ignored():
    assert of(piece(endpoints=[endpoint("weather.example")], family="FQDN")) == Instances()


def test_each_slice_has_its_own_number_for_a_port():
    one = piece(name="a", endpoints=[endpoint("10.0.0.1")], ports=[port(8080, "mcp"), port(9090, "metrics")])
    two = piece(name="b", endpoints=[endpoint("10.0.0.2")], ports=[port(8081, "mcp")])
    assert of(one, two, name="mcp").ready == (Address("10.0.0.1", 8080), Address("10.0.0.2", 8081))


def test_what_the_api_writes_as_null_is_nothing():
    empty = piece() | {"endpoints": None, "ports": None}
    no_address = piece(name="x", endpoints=[{"addresses": None, "conditions": None}])
    assert of(empty, no_address) == Instances()


ENDPOINTS = st.builds(
    endpoint,
    st.integers(1, 5).map(lambda number: f"10.0.0.{number}"),
    ready=st.sampled_from([True, False, None]),
    serving=st.sampled_from([True, False, None]),
    terminating=st.sampled_from([True, False, None]),
    zones=st.lists(st.sampled_from("ab"), max_size=1),
)
PIECES = st.lists(st.lists(ENDPOINTS, max_size=4), max_size=5)


@pytest.mark.covers("B-202")
@given(PIECES, st.data())
def test_the_order_of_slices_does_not_matter(contents: list[list[dict[str, Any]]], data: st.DataObject):
    pieces = [
        piece(name=f"s{number}", endpoints=content, version=100 + number) for number, content in enumerate(contents)
    ]
    shuffled = data.draw(st.permutations(pieces))
    assert of(*shuffled, zone="a") == of(*pieces, zone="a")


@given(PIECES)
def test_nobody_is_both_ready_and_leaving_and_somebody_is_ready_if_anybody_serves(contents: list[list[dict[str, Any]]]):
    found = of(*(piece(name=f"s{n}", endpoints=one, version=n) for n, one in enumerate(contents)), zone="a")
    assert not set(found.ready) & set(found.leaving)
    assert found.ready or not found.leaving
    assert slices.service_of(parsed(piece())[0]) == "weather"
