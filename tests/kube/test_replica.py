"""What is known of a collection, whatever lines come and however they are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.kube.failures import Garbled, Refused
from mcp_sidecar.kube.objects import Slice, read_slice
from mcp_sidecar.kube.replica import Ask, Replica
from mcp_sidecar.protocol.lines import Lines
from tests.kube.objects import endpoint, piece

END = {"metadata": {"resourceVersion": "50", "annotations": {"k8s.io/initial-events-end": "true"}}}


def line(kind: str, item: Any) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode()


def versioned(name: str, version: int) -> dict[str, Any]:
    return piece(name, [endpoint(f"10.0.0.{version % 250}")], name=name, version=version)


def synced(*names: str) -> Replica[Slice]:
    replica: Replica[Slice] = Replica(read_slice)
    replica.begin(Ask.STREAM)
    for name in names:
        replica.feed(line("ADDED", versioned(name, 10)))
    replica.feed(line("BOOKMARK", END))
    return replica


def state(replica: Replica[Slice]) -> dict[str, str]:
    return {name: item.metadata.resource_version for name, item in replica.known.items()}


def test_a_streaming_list_counts_when_its_end_has_come():
    replica: Replica[Slice] = Replica(read_slice)
    assert replica.ask() is Ask.STREAM
    replica.begin(Ask.STREAM)
    replica.feed(line("ADDED", versioned("one", 10)))
    replica.feed(line("BOOKMARK", {"metadata": {"resourceVersion": "11"}}))
    assert not replica.synced and not replica.known
    replica.feed(line("BOOKMARK", END))
    assert replica.synced and state(replica) == {"one": "10"}
    assert replica.query(replica.ask(), 300)["resourceVersion"] == "50"


def test_a_streaming_list_that_is_cut_off_leaves_what_was_known():
    replica = synced("one")
    with pytest.raises(Refused, match="410"):
        replica.feed(line("ERROR", {"code": 410, "message": "too old"}))
    assert replica.ask() is Ask.STREAM
    replica.begin(Ask.STREAM)
    replica.feed(line("ADDED", versioned("two", 60)))
    replica.end()
    assert state(replica) == {"one": "10"}


def test_a_new_whole_replaces_the_old_one_at_once():
    replica = synced("one", "two")
    before = replica.revision
    replica.begin(Ask.STREAM)
    replica.feed(line("ADDED", versioned("two", 60)))
    replica.feed(line("ADDED", versioned("three", 61)))
    assert replica.revision == before
    replica.feed(line("BOOKMARK", END))
    assert state(replica) == {"two": "60", "three": "61"}


def test_a_new_whole_that_says_nothing_new_is_no_change():
    replica = synced("one")
    before = replica.revision
    replica.take_list(json.dumps({"metadata": {"resourceVersion": "70"}, "items": [versioned("one", 10)]}).encode())
    assert replica.revision == before


def test_a_server_restored_from_a_backup_is_read_anew():
    replica = synced("one")
    replica.refuse(Ask.WATCH, Refused(504, "Too large resource version: 50, current: 7"))
    assert replica.ask() is Ask.STREAM


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_other_refusals_leave_the_place_to_go_on_from(status: int):
    replica = synced("one")
    assert not replica.refuse(Ask.WATCH, Refused(status, ""))
    assert replica.query(replica.ask(), 1)["resourceVersion"] == "50"


@pytest.mark.parametrize(
    "text", [b"", b"null", b"[]", b"{}", b"<html>", b'{"type":"ADDED"}', b'{"type":"NEWS","object":{}}', b"\xff"]
)
def test_what_is_no_event_is_said_to_be_none(text: bytes):
    with pytest.raises(Garbled):
        synced().feed(text)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"items":[]}', b'{"items":[],"metadata":{}}'])
def test_what_is_no_list_is_said_to_be_none(body: bytes):
    replica = synced("one")
    with pytest.raises(Garbled):
        replica.take_list(body)
    assert state(replica) == {"one": "10"}


def test_an_object_that_turns_unreadable_is_left_out_and_named():
    skipped: list[str] = []
    replica: Replica[Slice] = Replica(read_slice, lambda name, _why: skipped.append(name))
    replica.take_list(json.dumps({"metadata": {"resourceVersion": "9"}, "items": [versioned("one", 8)]}).encode())
    replica.feed(line("MODIFIED", versioned("one", 10) | {"endpoints": 5}))
    assert not replica.known
    assert skipped == ["one"]


HISTORY = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["PUT", "DELETED"])), max_size=12)


def events(history: list[tuple[str, str]]) -> list[bytes]:
    """The lines of a history, and versions that grow."""
    alive: set[str] = set()
    lines = []
    for version, (name, what) in enumerate(history, 100):
        if what == "PUT":
            lines.append(line("MODIFIED" if name in alive else "ADDED", versioned(name, version)))
            alive.add(name)
        elif name in alive:
            lines.append(line("DELETED", versioned(name, version)))
            alive.discard(name)
    return lines


@pytest.mark.covers("B-202")
@given(HISTORY, st.data())
def test_events_in_any_order_and_number_end_in_the_same_state(history: list[tuple[str, str]], data: st.DataObject):
    lines = events(history)
    in_order, shuffled = synced("a"), synced("a")
    for one in lines:
        in_order.feed(one)
    repeated = lines + data.draw(st.lists(st.sampled_from(lines), max_size=4)) if lines else []
    for one in data.draw(st.permutations(repeated)):
        shuffled.feed(one)
    assert state(shuffled) == state(in_order)


@pytest.mark.covers("B-202")
@given(HISTORY, st.lists(st.integers(0, 2000), max_size=6))
def test_lines_mean_the_same_wherever_they_are_cut(history: list[tuple[str, str]], cuts: list[int]):
    lines = events(history)
    text = b"".join(one + b"\n" for one in lines)
    whole, cut = synced("a"), synced("a")
    for one in lines:
        whole.feed(one)
    reader, at = Lines(10_000), 0
    for end in [*sorted(cuts), len(text)]:
        for one in reader.feed(text[at:end]):
            cut.feed(one)
        at = max(at, end)
    assert state(cut) == state(whole)
